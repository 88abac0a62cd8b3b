/*
The activation that a product applies on its way out, and the slope that its gradient needs.

The odd thing: the activation is a number at run time, not a template. It is looked at once for eight
results, and a kernel less is compiled for each.
*/

#pragma once

#include "normal.h"

enum LinearActivation { LINEAR_NONE, LINEAR_GELU, LINEAR_RELU, LINEAR_GELU_ERF };

constexpr float GELU_SCALE = 0.7978845608028654f;  // √(2/π)
constexpr float GELU_CUBIC = 0.044715f;

// σ(2u) = (1 + tanh u) / 2 with u = √(2/π) · (x + 0.044715·x³). The 16-bit variants take the hardware's
// exp2 and reciprocal, whose errors are far below the rounding of the result.
template <typename T>
DEVICE float gelu_half(float x) {
  const float twice = x * (2.0f * GELU_SCALE + 2.0f * GELU_SCALE * GELU_CUBIC * x * x);
  if constexpr (sizeof(T) == 2)
    return fast_rcp(1.0f + fast_exp2(-1.4426950408889634f * twice));
  else
    return 1.0f / (1.0f + expf(-twice));
}

template <typename T>
DEVICE float activate(float x, int activation) {
  if (activation == LINEAR_GELU) return x * gelu_half<T>(x);
  if (activation == LINEAR_RELU) return x < 0.0f ? 0.0f : x;  // a NaN stays
  if (activation == LINEAR_GELU_ERF) {
    float density;
    return x * normal_cdf<T>(x, density);
  }
  return x;
}

// gelu' = h + 2x·h(1 − h)·u', h = σ(2u). Beyond ±20 h is 0 or 1 to every digit; the clamp keeps x²
// from becoming infinite there. gelu_erf' = Φ(x) + x·φ(x).
template <typename T>
DEVICE float slope(float x, int activation) {
  if (activation == LINEAR_GELU) {
    x = x < -20.0f ? -20.0f : x > 20.0f ? 20.0f : x;
    const float half = gelu_half<T>(x);
    const float inner = GELU_SCALE + 3.0f * GELU_SCALE * GELU_CUBIC * x * x;
    return half + 2.0f * x * half * (1.0f - half) * inner;
  }
  if (activation == LINEAR_RELU) return x > 0.0f ? 1.0f : 0.0f;
  if (activation == LINEAR_GELU_ERF) {
    float density;
    const float cdf = normal_cdf<T>(x, density);
    return cdf + x * density;
  }
  return 1.0f;
}

// Several at a time, with one look at which activation it is. GELU goes through its chain of operations in
// step for all of them, or the compiler would do one after another.
template <int ACTIVATION, typename T, int N>
DEVICE void activate_as(Pack<float, N>& x) {
#pragma unroll
  for (int e = 0; e < N; e++) x[e] = activate<T>(x[e], ACTIVATION);
}
template <int ACTIVATION, typename T, int N>
DEVICE void slope_as(Pack<float, N>& x) {
  if constexpr (ACTIVATION == LINEAR_GELU && sizeof(T) == 2) {
    Pack<float, N> half, inner;
#pragma unroll
    for (int e = 0; e < N; e++) {
      x[e] = fminf(fmaxf(x[e], -20.0f), 20.0f);
      inner[e] = x[e] * x[e];
    }
#pragma unroll
    for (int e = 0; e < N; e++) {
      constexpr float LINEAR = -1.4426950408889634f * 2.0f * GELU_SCALE;
      half[e] = fast_exp2(x[e] * (LINEAR + LINEAR * GELU_CUBIC * inner[e]));
    }
#pragma unroll
    for (int e = 0; e < N; e++) half[e] = fast_rcp(1.0f + half[e]);
#pragma unroll
    for (int e = 0; e < N; e++) {
      const float twice = 2.0f * GELU_SCALE + 6.0f * GELU_SCALE * GELU_CUBIC * inner[e];
      x[e] = half[e] + x[e] * twice * (half[e] - half[e] * half[e]);
    }
  } else {
#pragma unroll
    for (int e = 0; e < N; e++) x[e] = slope<T>(x[e], ACTIVATION);
  }
}
template <typename T, int N>
DEVICE void activate_all(Pack<float, N>& x, int activation) {
  if (activation == LINEAR_GELU) activate_as<LINEAR_GELU, T>(x);
  if (activation == LINEAR_RELU) activate_as<LINEAR_RELU, T>(x);
  if (activation == LINEAR_GELU_ERF) activate_as<LINEAR_GELU_ERF, T>(x);
}
template <typename T, int N>
DEVICE void slope_all(Pack<float, N>& x, int activation) {
  if (activation == LINEAR_GELU) return slope_as<LINEAR_GELU, T>(x);
  if (activation == LINEAR_RELU) return slope_as<LINEAR_RELU, T>(x);
  if (activation == LINEAR_GELU_ERF) return slope_as<LINEAR_GELU_ERF, T>(x);
#pragma unroll
  for (int e = 0; e < N; e++) x[e] = 1.0f;
}
