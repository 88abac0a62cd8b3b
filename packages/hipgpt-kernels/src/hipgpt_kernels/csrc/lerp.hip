/*
Linear interpolation between two float32 arrays: one pass, bound by the bandwidth of memory.

The odd thing: the running average of a model's weights is this op with `out` in the place of
`start`, so each element is read before its own is written, and by the same thread.
*/

#include "device.h"

constexpr int THREADS = 256;
constexpr int N = 4;  // floats that move as one

// out[i] = start[i] + weight · (end[i] − start[i]); vector: every address is a multiple of 16 bytes.
// grid: blocks, any number.
KERNEL(THREADS)
void lerp(float* out,          // (n,), may be start or end
          const float* start,  // (n,)
          const float* end,    // (n,)
          i64 n, float weight,
          const double* weight_pointer,  // read instead of weight where not null
          int blocks, int vector) {
  if (weight_pointer != nullptr) weight = static_cast<float>(*weight_pointer);
  const i64 threads = static_cast<i64>(blocks) * THREADS;
  const i64 mine = static_cast<i64>(block_index()) * THREADS + thread_index();
  const i64 packs = vector ? n / N : 0;
  for (i64 k = mine; k < packs; k += threads) {
    auto value = load<N>(start + k * N);
    const auto other = load<N>(end + k * N);
#pragma unroll
    for (int i = 0; i < N; i++) value[i] += weight * (other[i] - value[i]);
    store(out + k * N, value);
  }
  for (i64 i = packs * N + mine; i < n; i += threads) {
    out[i] = start[i] + weight * (end[i] - start[i]);
  }
}
