// One vector type for every instruction set, and the few functions that the ops need on it.
//
// The compiler's own vector types carry all portability: W floats a vector, 16 with AVX-512, 8 with
// AVX2, 4 elsewhere (SSE2, NEON). No intrinsic is used anywhere.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define HIPGPT_WIDTH 16
#elif defined(__AVX2__)
#define HIPGPT_WIDTH 8
#else
#define HIPGPT_WIDTH 4
#endif

constexpr int W = HIPGPT_WIDTH;

typedef float Vec __attribute__((vector_size(W * 4)));
typedef int32_t VecInt __attribute__((vector_size(W * 4)));
typedef float VecUnaligned __attribute__((vector_size(W * 4), aligned(4), may_alias));

static inline Vec load(const float* p) { return *reinterpret_cast<const VecUnaligned*>(p); }
static inline void store(float* p, Vec x) { *reinterpret_cast<VecUnaligned*>(p) = x; }
static inline Vec splat(float x) { return x - Vec{}; }

// The first n < W floats; the rest is `fill`.
static inline Vec load_some(const float* p, int64_t n, float fill = 0.0f) {
    Vec x = splat(fill);
    memcpy(&x, p, n * sizeof(float));
    return x;
}
static inline void store_some(float* p, Vec x, int64_t n) { memcpy(p, &x, n * sizeof(float)); }

static inline Vec select(VecInt mask, Vec yes, Vec no) {
    VecInt a, b;
    memcpy(&a, &yes, sizeof a);
    memcpy(&b, &no, sizeof b);
    VecInt mixed = (a & mask) | (b & ~mask);
    Vec result;
    memcpy(&result, &mixed, sizeof result);
    return result;
}
static inline Vec maximum(Vec a, Vec b) { return select(a > b, a, b); }
// Where x is not a number it stays so: an overflow must be seen, not smoothed over.
static inline Vec clamp(Vec x, Vec low, Vec high) {
    return select(x < low, low, select(x > high, high, x));
}

static inline float sum(Vec x) {
    for (int half = W / 2; half > 0; half /= 2)
        for (int i = 0; i < half; ++i) x[i] += x[i + half];
    return x[0];
}
static inline float largest(Vec x) {
    for (int half = W / 2; half > 0; half /= 2)
        for (int i = 0; i < half; ++i) x[i] = x[i] > x[i + half] ? x[i] : x[i + half];
    return x[0];
}

// e^x to two units in the last place; 0 below −87.3, where float32 leaves its normal range.
// x = n·ln 2 + r with |r| <= ln 2 / 2, then e^r by the polynomial of the Cephes library (Moshier,
// expf.c) and 2^n by its bits. Adding 1.5·2^23 rounds to the nearest integer in the low bits.
static inline Vec exponential(Vec x) {
    const Vec lowest = splat(-87.3f), highest = splat(88.7f), magic = splat(12582912.0f);
    const Vec clamped = clamp(x, lowest, highest);
    const Vec shifted = clamped * 1.44269504088896341f + magic;
    const Vec n = shifted - magic;
    Vec r = clamped - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    Vec p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    VecInt bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = ((bits & 0x3FFFFF) - 0x400000 + 127) << 23;  // the mantissa of magic holds n + 2^22
    Vec scale;
    memcpy(&scale, &bits, sizeof scale);
    return select(x < lowest, Vec{}, p * scale);
}

static inline Vec sigmoid(Vec x) { return 1.0f / (1.0f + exponential(-x)); }
