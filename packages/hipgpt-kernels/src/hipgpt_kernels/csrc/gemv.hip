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

// Outputs that a wave makes at once. More of them share each x that is read, fewer make more waves.
template <int ROWS>
constexpr int OUTPUTS = ROWS <= 2 ? 1 : ROWS == 4 ? 2 : 4;

// grid: ceil(N / (GROUPS · OUTPUTS)); M <= ROWS. residual may be out.
template <int ROWS, typename T>
DEVICE void gemv(const T* x, const T* weight, const T* bias, const T* residual, T* preactivation,
                 T* out, int M, int N, int K, int activation) {
  constexpr int O = OUTPUTS<ROWS>, W = PACK<T>;
  const bool vector = movable<W>(x, K) && movable<W>(weight, K);
  for (int group = wave_index(); group < GROUPS; group += WAVES) {
    const int first = (block_index() * GROUPS + group) * O;
    if (first >= N) return;
    // Rows past the end are read again from the last one and not written.
    const T* from_x[ROWS];
    const T* from_weight[O];
#pragma unroll
    for (int m = 0; m < ROWS; m++) from_x[m] = x + static_cast<i64>(minimum(m, M - 1)) * K;
#pragma unroll
    for (int o = 0; o < O; o++)
      from_weight[o] = weight + static_cast<i64>(minimum(first + o, N - 1)) * K;
    float sums[ROWS * O] = {};
    constexpr int UNROLL = ROWS >= 4 ? 1 : 4;  // enough loads in flight without running out of registers
    if (vector) {
#pragma unroll UNROLL
      for (int k = lane() * W; k < K; k += WAVE * W) {
        Pack<float, W> w[O];
#pragma unroll
        for (int o = 0; o < O; o++) w[o] = to_float(load_once<W>(from_weight[o] + k));
#pragma unroll
        for (int m = 0; m < ROWS; m++) {
          const auto values = to_float(load<W>(from_x[m] + k));
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
                fmaf(to_float(from_x[m][k]), to_float(from_weight[o][k]), sums[m * O + o]);
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

#define VARIANT(ROWS, T, suffix)                                                                  \
  KERNEL(THREADS)                                                                                 \
  void gemv_##suffix(const T* x, const T* weight, const T* bias, const T* residual,               \
                     T* preactivation, T* out, int M, int N, int K, int activation) {             \
    gemv<ROWS, T>(x, weight, bias, residual, preactivation, out, M, N, K, activation);            \
  }

VARIANT(1, float, 1_f32)
VARIANT(2, float, 2_f32)
VARIANT(4, float, 4_f32)
VARIANT(8, float, 8_f32)
VARIANT(1, bf16, 1_bf16)
VARIANT(2, bf16, 2_bf16)
VARIANT(4, bf16, 4_bf16)
VARIANT(8, bf16, 8_bf16)
VARIANT(1, f16, 1_f16)
VARIANT(2, f16, 2_f16)
VARIANT(4, f16, 4_f16)
VARIANT(8, f16, 8_f16)
