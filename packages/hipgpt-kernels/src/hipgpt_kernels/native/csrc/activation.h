// GELU (tanh and erf form), ReLU and SwiGLU: on one vector for the products, on rows for themselves.
#pragma once

#include "vector.h"

enum Activation : int32_t { NONE = 0, GELU = 1, RELU = 2, SWIGLU = 3, GELU_ERF = 4 };

constexpr float GELU_SCALE = 0.7978845608028654f;  // √(2/π)
constexpr float GELU_CUBIC = 0.044715f;

// (1 + tanh u)/2 = sigmoid(2u) with u = √(2/π)·(x + 0.044715·x³)
static inline Vec gelu_half(Vec x) {
    return sigmoid(x * (2.0f * GELU_SCALE + (2.0f * GELU_SCALE * GELU_CUBIC) * x * x));
}

// Φ(x), the normal distribution, and its density in `density`. The tail Φ(−a) is e^(−a²/2) · P(t) with
// t = 1/(1 + a/4), the form of Abramowitz and Stegun 1964, 26.2.17; P is of degree 7 and was fitted
// by weighted least squares, with an error below 6e-9.
static inline Vec normal_cdf(Vec x, Vec& density) {
    const Vec power = exponential(-0.5f * x * x);
    density = 0.3989422804014327f * power;
    const Vec t = 1.0f / (1.0f + 0.25f * select(x < Vec{}, -x, x));
    Vec p = splat(-0.091070376516f);
    p = p * t + 0.338160640146f;
    p = p * t - 0.258173652778f;
    p = p * t + 0.269616290821f;
    p = p * t + 0.033042999479f;
    p = p * t + 0.10914643824f;
    p = p * t + 0.099277654782f;
    const Vec tail = p * t * power;
    return select(x < Vec{}, tail, 1.0f - tail);
}

static inline Vec activation_forward_vec(Vec x, int32_t kind) {
    if (kind == GELU_ERF) {
        Vec density;
        return x * normal_cdf(x, density);
    }
    return kind == GELU ? x * gelu_half(x) : select(x < Vec{}, Vec{}, x);
}

// dout · activation'(x); for gelu h + x·2h(1−h)·u', for gelu_erf Φ(x) + x·φ(x).
static inline Vec activation_backward_vec(Vec dout, Vec x, int32_t kind) {
    if (kind == RELU) return select(x > Vec{}, dout, Vec{});
    if (kind == GELU_ERF) {
        Vec density;
        const Vec cdf = normal_cdf(x, density);
        return dout * (cdf + x * density);
    }
    const Vec half = gelu_half(x);
    const Vec slope = GELU_SCALE + (3.0f * GELU_SCALE * GELU_CUBIC) * x * x;
    return dout * (half + 2.0f * x * half * (1.0f - half) * slope);
}

// out (rows, N) = activation(x (rows, N)); swiglu: x (rows, 2N).
static void activation_forward_rows(const float* x, float* out, int64_t rows, int64_t N,
                                    int32_t kind) {
    const int64_t count = kind == SWIGLU ? N : rows * N;
    for (int64_t r = 0; r < (kind == SWIGLU ? rows : 1); ++r, x += 2 * N, out += N)
        for (int64_t j = 0; j < count; j += W) {
            const int64_t n = count - j < W ? count - j : W;
            const Vec a = n == W ? load(x + j) : load_some(x + j, n);
            Vec y;
            if (kind == SWIGLU) {
                const Vec up = n == W ? load(x + N + j) : load_some(x + N + j, n);
                y = a * sigmoid(a) * up;
            } else {
                y = activation_forward_vec(a, kind);
            }
            n == W ? store(out + j, y) : store_some(out + j, y, n);
        }
}

// dx shaped like x. swiglu: dout (rows, N), x and dx (rows, 2N).
static void activation_backward_rows(const float* dout, const float* x, float* dx, int64_t rows,
                                     int64_t N, int32_t kind) {
    if (kind != SWIGLU) {
        const int64_t count = rows * N;
        for (int64_t j = 0; j < count; j += W) {
            const int64_t n = count - j < W ? count - j : W;
            const Vec g = n == W ? load(dout + j) : load_some(dout + j, n);
            const Vec a = n == W ? load(x + j) : load_some(x + j, n);
            const Vec y = activation_backward_vec(g, a, kind);
            n == W ? store(dx + j, y) : store_some(dx + j, y, n);
        }
        return;
    }
    for (int64_t r = 0; r < rows; ++r, dout += N, x += 2 * N, dx += 2 * N)
        for (int64_t j = 0; j < N; j += W) {
            const int64_t n = N - j < W ? N - j : W;
            const Vec g = n == W ? load(dout + j) : load_some(dout + j, n);
            const Vec gate = n == W ? load(x + j) : load_some(x + j, n);
            const Vec up = n == W ? load(x + N + j) : load_some(x + N + j, n);
            const Vec s = sigmoid(gate), silu = gate * s;
            const Vec dgate = g * up * (s + silu * (1.0f - s)), dup = g * silu;
            n == W ? store(dx + j, dgate) : store_some(dx + j, dgate, n);
            n == W ? store(dx + N + j, dup) : store_some(dx + N + j, dup, n);
        }
}
