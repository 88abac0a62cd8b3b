/*
N values of a row at a time, whether or not they can move as one.

The odd thing: one loop serves every size and alignment. `vector` is the same for a whole launch: all
pointers are aligned and N divides the row. Where it is false the values go one by one, those past
the end of the row are never touched, and reads give 0 for them.
*/

#pragma once

#include "device.h"

// Values 0 … min(N, count) − 1 from source.
template <int N, typename T>
DEVICE Pack<T, N> load_part(const T* source, i64 count, bool vector) {
  if (vector) return load<N>(source);
  Pack<T, N> part;
#pragma unroll
  for (int i = 0; i < N; i++) part[i] = i < count ? source[i] : T{};
  return part;
}

template <int N, typename T>
DEVICE void store_part(T* destination, const Pack<T, N>& part, i64 count, bool vector) {
  if (vector) {
    store(destination, part);
    return;
  }
#pragma unroll
  for (int i = 0; i < N; i++) {
    if (i < count) destination[i] = part[i];
  }
}

// May rows of `columns` values from `pointer` on move N values at a time?
template <int N, typename T>
DEVICE bool movable(const T* pointer, i64 columns) {
  return columns % N == 0 && aligned(pointer, N * static_cast<int>(sizeof(T)));
}
