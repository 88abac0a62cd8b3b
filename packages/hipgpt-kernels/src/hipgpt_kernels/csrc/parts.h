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

// The same pack, of which the compiler does not know that it computed with it before: what it made of
// it need not stay in registers until it is wanted again, and 16-bit values stay packed in halves.
template <typename T, int N>
DEVICE Pack<T, N> afresh(const Pack<T, N>& pack) {
#if HIPGPT_AMD
  return pack;  // its compiler keeps registers low enough, and pays for the assembly with copies
#else
  constexpr int WORDS = N * static_cast<int>(sizeof(T)) / 4;
  auto words = bit_cast<Pack<u32, WORDS>>(pack);
#pragma unroll
  for (int i = 0; i < WORDS; i++) {
    asm volatile("" : "+r"(words[i]));
  }
  return bit_cast<Pack<T, N>>(words);
#endif
}
