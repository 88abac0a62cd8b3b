/*
The normal distribution, which the erf form of GELU multiplies its input with.

The odd thing: there is no erf. The tail Φ(−a) is e^(−a²/2) · P(t) with t = 1/(1 + a/4), the form of Abramowitz
and Stegun 1964, 26.2.17; P is of degree 7 and was fitted to it by weighted least squares. So one exponential
gives the distribution, to 6e-9, and its density.
*/

#pragma once

#include "device.h"

// Φ(x) and, in `density`, φ(x) = e^(−x²/2)/√(2π). For 16-bit values the hardware's exp2 and reciprocal do, whose
// errors are far below the rounding of the result.
template <typename T>
DEVICE float normal_cdf(float x, float& density) {
  const float scaled = 1.0f + 0.25f * fabsf(x);
  float t, power;
  if constexpr (sizeof(T) == 2) {
    t = fast_rcp(scaled);
    power = fast_exp2(-0.7213475204444817f * x * x);
  } else {
    t = 1.0f / scaled;
    power = expf(-0.5f * x * x);
  }
  density = 0.3989422804014327f * power;
  float p = fmaf(-0.091070376516f, t, 0.338160640146f);
  p = fmaf(p, t, -0.258173652778f);
  p = fmaf(p, t, 0.269616290821f);
  p = fmaf(p, t, 0.033042999479f);
  p = fmaf(p, t, 0.10914643824f);
  p = fmaf(p, t, 0.099277654782f);
  const float tail = p * t * power;
  return x < 0.0f ? tail : 1.0f - tail;
}
