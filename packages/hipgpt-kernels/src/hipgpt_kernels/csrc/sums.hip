/*
The two small sums of the contract: out = x + y, and the mean of an array summed in double.

The odd thing: the mean takes two kernels and no atomic. A fixed number of blocks each write one
partial sum, and one block adds those in order: the same array gives the same bits.
*/

#include "parts.h"

constexpr int THREADS = 256;

// out = x + y, 16 bytes of each a thread; out may be x or y. grid: ceil(n / (256 · PACK<T>)).
template <typename T>
DEVICE void add(const T* x, const T* y, T* out, i64 n) {
  constexpr int N = PACK<T>;
  const i64 first = (static_cast<i64>(block_index()) * THREADS + thread_index()) * N;
  if (first >= n) return;
  const i64 count = n - first;
  const bool vector = count >= N && aligned(x) && aligned(y) && aligned(out);
  const auto a = to_float(load_part<N>(x + first, count, vector));
  const auto b = to_float(load_part<N>(y + first, count, vector));
  Pack<float, N> sum;
#pragma unroll
  for (int i = 0; i < N; i++) sum[i] = a[i] + b[i];
  store_part(out + first, from_float<T>(sum), count, vector);
}

// partials[block] = the sum of the block's share of x: elements block · 256 + thread + i · 256 · blocks.
template <typename T>
DEVICE void sum(const T* x, double* partials, i64 n, int blocks) {
  double total = 0.0;
  const i64 step = static_cast<i64>(blocks) * THREADS;
  for (i64 i = static_cast<i64>(block_index()) * THREADS + thread_index(); i < n; i += step) {
    total += static_cast<double>(to_float(x[i]));
  }
  total = block_sum<THREADS>(total);
  if (thread_index() == 0) partials[block_index()] = total;
}

#define INSTANTIATE(T)                                                                             \
  KERNEL(THREADS) void add_##T(const T* x, const T* y, T* out, i64 n) { add(x, y, out, n); }       \
  KERNEL(THREADS) void mean_partials_##T(const T* x, double* partials, i64 n, int blocks) {        \
    sum(x, partials, n, blocks);                                                                   \
  }
INSTANTIATE(f32)
INSTANTIATE(bf16)
INSTANTIATE(f16)

// out[0] = Σ partials / n. grid: 1.
KERNEL(THREADS) void mean_combine(const double* partials, double* out, i64 n, int blocks) {
  double total = 0.0;
  for (int i = thread_index(); i < blocks; i += THREADS) total += partials[i];
  total = block_sum<THREADS>(total);
  if (thread_index() == 0) out[0] = total / static_cast<double>(n);
}
