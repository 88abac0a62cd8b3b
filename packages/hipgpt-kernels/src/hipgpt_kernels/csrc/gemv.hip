/*
Few rows times a matrix: out(M, N) = activation(x(M, K) · weight(N, K)ᵀ + bias) + residual, M <= 8.

Decoding reads every weight for a handful of multiplications each, so only the reading counts: a wave
walks along the rows of a few outputs with 16-byte loads, many in flight, and the x it multiplies with
comes from the cache. The odd thing: a block makes the same number of outputs on every GPU; where
waves are 64 wide it has half as many, and each goes twice.
*/

#include "linear_activation.h"
#include "parts.h"

constexpr int THREADS = 128;
constexpr int WAVES = THREADS / WAVE;
constexpr int GROUPS = 4;  // of outputs in a block; hip/ops/linear.py knows this number

// Steps of the depth whose loads are in flight at once, against registers. With 4, nvcc keeps a
// register of two rows by two outputs in memory on sm_80.
#if HIPGPT_NVIDIA && defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
constexpr int IN_FLIGHT_2X2 = 2;
#else
constexpr int IN_FLIGHT_2X2 = 4;
#endif

// A wave makes O outputs of each of ROWS rows at once. grid: ceil(N / (GROUPS · O)); M <= ROWS.
// residual may be out.
template <int ROWS, int O, typename T>
DEVICE void gemv(const T* x, const T* weight, const T* bias, const T* residual, T* preactivation,
                 T* out, int M, int N, int K, int activation) {
  constexpr int W = PACK<T>;
  constexpr int UNROLL = ROWS * O >= 8 ? 1 : ROWS == 2 ? IN_FLIGHT_2X2 : 4;
  const bool vector = movable<W>(x, K) && movable<W>(weight, K);
  for (int group = wave_index(); group < GROUPS; group += WAVES) {
    const int first = (block_index() * GROUPS + group) * O;
    if (first >= N) return;
    // Rows past the end are read again from the last one and not written.
    int row_x[ROWS];  // 32 bits: M is small
    i64 row_weight[O];
#pragma unroll
    for (int m = 0; m < ROWS; m++) row_x[m] = minimum(m, M - 1) * K;
#pragma unroll
    for (int o = 0; o < O; o++) row_weight[o] = static_cast<i64>(minimum(first + o, N - 1)) * K;
    float sums[ROWS * O] = {};
    if (vector) {
#pragma unroll UNROLL
      for (int k = lane() * W; k < K; k += WAVE * W) {
        Pack<float, W> w[O];
#pragma unroll
        for (int o = 0; o < O; o++) w[o] = to_float(load_once<W>(weight + row_weight[o] + k));
#pragma unroll
        for (int m = 0; m < ROWS; m++) {
          const auto values = to_float(load<W>(x + row_x[m] + k));
#pragma unroll
          for (int o = 0; o < O; o++)
#pragma unroll
            for (int e = 0; e < W; e++)
              sums[m * O + o] = fmaf(values[e], w[o][e], sums[m * O + o]);
        }
      }
    } else {
      for (int k = lane(); k < K; k += WAVE) {
#pragma unroll
        for (int m = 0; m < ROWS; m++)
#pragma unroll
          for (int o = 0; o < O; o++)
            sums[m * O + o] =
                fmaf(to_float(x[row_x[m] + k]), to_float(weight[row_weight[o] + k]), sums[m * O + o]);
      }
    }
    // Lane i keeps result i = m · O + o and finishes it.
    static_assert(ROWS * O <= WAVE, "a lane for every result");
    float value = 0.0f;
#pragma unroll
    for (int i = 0; i < ROWS * O; i++) {
      const float sum = wave_sum(sums[i]);
      if (lane() == i) value = sum;
    }
    const int row = lane() / O, column = first + lane() % O;
    if (row >= M || row >= ROWS || column >= N) continue;
    const i64 offset = static_cast<i64>(row) * N + column;
    if (bias != nullptr) value += to_float(bias[column]);
    if (preactivation != nullptr) preactivation[offset] = from_float<T>(value);
    value = activate<T>(value, activation);
    if (residual != nullptr) value += to_float(residual[offset]);
    out[offset] = from_float<T>(value);
  }
}

#define VARIANT(ROWS, O, T, suffix)                                                               \
  KERNEL(THREADS)                                                                                 \
  void gemv_##suffix(const T* x, const T* weight, const T* bias, const T* residual,               \
                     T* preactivation, T* out, int M, int N, int K, int activation) {             \
    gemv<ROWS, O, T>(x, weight, bias, residual, preactivation, out, M, N, K, activation);         \
  }

#define VARIANTS(T, suffix)          \
  VARIANT(1, 1, T, 1x1_##suffix)     \
  VARIANT(1, 2, T, 1x2_##suffix)     \
  VARIANT(1, 4, T, 1x4_##suffix)     \
  VARIANT(2, 2, T, 2x2_##suffix)     \
  VARIANT(2, 4, T, 2x4_##suffix)     \
  VARIANT(4, 4, T, 4x4_##suffix)     \
  VARIANT(8, 4, T, 8x4_##suffix)

VARIANTS(float, f32)
VARIANTS(bf16, bf16)
VARIANTS(f16, f16)
