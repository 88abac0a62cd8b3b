/*
Dropout whose mask is a function of (seed, stream, element): philox.py's, bit for bit.

The odd thing: there is no backward kernel. The backward is this op again on the gradient, with the
same seed and stream; no mask is ever stored.
*/

#include "parts.h"
#include "philox.h"

constexpr int THREADS = 256;

// The bits of the CPU: x · scale is rounded, then the sum. The compiler would fuse the two, and
// -ffp-contract=fast does not listen to clang's pragma; it cannot see through the empty assembly.
DEVICE float scaled_sum(float x, float scale, float residual) {
#if HIPGPT_AMD
  float product = x * scale;
  asm volatile("" : "+v"(product));
  return product + residual;
#else
  return __fadd_rn(__fmul_rn(x, scale), residual);
#endif
}

// A thread takes 16 bytes: one counter's words for f32, two counters' else.
// grid: ceil(n / (256 · PACK<T>)).
template <typename T>
DEVICE void dropout(const T* x,         // (n,)
                    const T* residual,  // (n,) or null
                    T* out,             // (n,), may be x or residual
                    i64 n,
                    u32 threshold,  // round(probability · 2³²)
                    float scale,    // 1 / (1 − probability)
                    u64 seed, u64 stream,
                    const u64* stream_pointer) {  // read instead of stream where not null
  constexpr int N = PACK<T>;
  const i64 first = (static_cast<i64>(block_index()) * THREADS + thread_index()) * N;
  if (first >= n) return;
  if (stream_pointer != nullptr) stream = *stream_pointer;
  const i64 count = n - first;
  const bool vector = count >= N && aligned(x) && aligned(out) && aligned(residual);
  const auto value = load_part<N>(x + first, count, vector);
  Pack<T, N> other{};
  if (residual != nullptr) other = load_part<N>(residual + first, count, vector);
  Pack<T, N> result;
#pragma unroll
  for (int part = 0; part < N; part += 4) {
    const Pack<u32, 4> words = philox(static_cast<u64>(first + part) / 4, seed, stream);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const float factor = words[i] >= threshold ? scale : 0.0f;
      const float one = to_float(value[part + i]);
      result[part + i] =
          from_float<T>(residual == nullptr ? one * factor
                                            : scaled_sum(one, factor, to_float(other[part + i])));
    }
  }
  store_part(out + first, result, count, vector);
}

#define INSTANTIATE(T)                                                                          \
  KERNEL(THREADS)                                                                               \
  void dropout_forward_##T(const T* x, const T* residual, T* out, i64 n, u32 threshold,         \
                           float scale, u64 seed, u64 stream, const u64* stream_pointer) {      \
    dropout(x, residual, out, n, threshold, scale, seed, stream, stream_pointer);               \
  }
INSTANTIATE(f32)
INSTANTIATE(bf16)
INSTANTIATE(f16)
