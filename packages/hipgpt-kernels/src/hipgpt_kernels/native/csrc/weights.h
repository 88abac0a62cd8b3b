// Matrices for decoding in three kinds: float32, bf16, and int8 in groups of 32 with a scale.
//
// One token reads every weight once, so fewer bytes are fewer milliseconds; sums are float32 in any
// case. The odd thing: an output is the same dot product in the same order whatever the number of
// rows, so a row of a batch gets the bits that it would get alone.
#pragma once

#include "vector.h"

enum Weights : int32_t { FLOAT32 = 0, BF16 = 1, INT8 = 2 };

constexpr int GROUP = 32;  // weights with one scale
struct Group {
    float scale;
    int8_t values[GROUP];
};

typedef uint16_t Halves __attribute__((vector_size(W * 2), aligned(2), may_alias));
typedef uint32_t Words __attribute__((vector_size(W * 4)));
typedef int16_t Shorts __attribute__((vector_size(W * 2)));
typedef int8_t Bytes __attribute__((vector_size(W), aligned(1), may_alias));

// By way of int16: GCC turns each doubling into one instruction, and both at once into dozens.
static inline Vec widen(Bytes x) {
    const VecInt whole = __builtin_convertvector(__builtin_convertvector(x, Shorts), VecInt);
    return __builtin_convertvector(whole, Vec);
}

// A matrix (…, K) of a kind: `vector(r, k)` is W weights of row r from column k.
struct Floats {
    const float* data;
    int64_t K;
    Floats from(int64_t row) const { return {data + row * K, K}; }
    Vec vector(int r, int64_t k) const { return load(data + r * K + k); }
    Vec some(int r, int64_t k, int64_t n) const { return load_some(data + r * K + k, n); }
};

struct Bfloats {
    const uint16_t* data;
    int64_t K;
    Bfloats from(int64_t row) const { return {data + row * K, K}; }
    static Vec widen(Halves x) {
        const Words bits = __builtin_convertvector(x, Words) << 16;
        Vec result;
        memcpy(&result, &bits, sizeof result);
        return result;
    }
    Vec vector(int r, int64_t k) const {
        return widen(*reinterpret_cast<const Halves*>(data + r * K + k));
    }
    Vec some(int r, int64_t k, int64_t n) const {
        Halves x{};
        memcpy(&x, data + r * K + k, n * sizeof(uint16_t));
        return widen(x);
    }
};

#if HIPGPT_WIDTH == 16
constexpr int DOT_ROWS = 4;  // with two rows of x: 16 accumulators of 32 registers
#else
constexpr int DOT_ROWS = 2;  // 8 of 16
#endif

// out[b·ld + r] = x[b]·w[r] for R rows of w (K each) and N rows of x, each in the same order.
template <int R, int N, class Matrix>
static inline void dots(Matrix w, const float* x, int64_t K, float* out, int64_t ld) {
    Vec s0[R][N], s1[R][N];
    for (int r = 0; r < R; ++r)
        for (int b = 0; b < N; ++b) s0[r][b] = s1[r][b] = Vec{};
    int64_t k = 0;
    for (; k + 2 * W <= K; k += 2 * W)
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
            const Vec w0 = w.vector(r, k), w1 = w.vector(r, k + W);
#pragma GCC unroll 2
            for (int b = 0; b < N; ++b) {
                s0[r][b] += load(x + b * K + k) * w0;
                s1[r][b] += load(x + b * K + k + W) * w1;
            }
        }
    for (int r = 0; r < R; ++r)
        for (int b = 0; b < N; ++b) {
            int64_t j = k;
            if (j + W <= K) {
                s0[r][b] += load(x + b * K + j) * w.vector(r, j);
                j += W;
            }
            if (j < K) s1[r][b] += load_some(x + b * K + j, K - j) * w.some(r, j, K - j);
            out[b * ld + r] = sum(s0[r][b] + s1[r][b]);
        }
}

// Rows of groups; the last group of a row is filled up with zeros.
struct Groups {
    const Group* data;
    int64_t K;
    int64_t count() const { return (K + GROUP - 1) / GROUP; }
    Groups from(int64_t row) const { return {data + row * count(), K}; }
};

// total[r][b] += x[b]·group g of row r: the values are added up as they are, and the sum is scaled.
template <int R, int N>
static inline void add_group(Groups w, int64_t g, const float* x, int64_t stride, Vec total[R][N]) {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
        const Group& group = w.data[r * w.count() + g];
        Vec part[N];
        for (int b = 0; b < N; ++b) part[b] = Vec{};
#pragma GCC unroll 8
        for (int k = 0; k < GROUP; k += W) {
            const Vec values = widen(*reinterpret_cast<const Bytes*>(group.values + k));
            for (int b = 0; b < N; ++b) part[b] += values * load(x + b * stride + k);
        }
        for (int b = 0; b < N; ++b) total[r][b] += part[b] * splat(group.scale);
    }
}

template <int R, int N>
static inline void dots(Groups w, const float* x, int64_t K, float* out, int64_t ld) {
    Vec even[R][N], odd[R][N];  // two sums, so that one need not wait for the other
    for (int r = 0; r < R; ++r)
        for (int b = 0; b < N; ++b) even[r][b] = odd[r][b] = Vec{};
    const int64_t whole = K / GROUP;
    int64_t g = 0;
    for (; g + 2 <= whole; g += 2) {
        add_group<R, N>(w, g, x + g * GROUP, K, even);
        add_group<R, N>(w, g + 1, x + (g + 1) * GROUP, K, odd);
    }
    if (g < whole) add_group<R, N>(w, g, x + g * GROUP, K, even);
    if (whole < w.count()) {
        float edge[N][GROUP] = {};
        for (int b = 0; b < N; ++b)
            memcpy(edge[b], x + b * K + whole * GROUP, (K - whole * GROUP) * sizeof(float));
        add_group<R, N>(w, whole, edge[0], GROUP, odd);
    }
    for (int r = 0; r < R; ++r)
        for (int b = 0; b < N; ++b) out[b * ld + r] = sum(even[r][b] + odd[r][b]);
}

template <class Matrix>
static void project_kind(const float* x, int64_t rows, Matrix w, int64_t K, int64_t first,
                         int64_t last, float* out, int64_t ld) {
    if (rows == 1) {  // one long stream of weights is what memory gives out fastest
        for (int64_t n = first; n < last; ++n) dots<1, 1>(w.from(n), x, K, out + n, ld);
        return;
    }
    for (int64_t n = first; n < last;) {
        const bool block = n + DOT_ROWS <= last;
        for (int64_t b = 0; b < rows; b += 2) {
            float* to = out + b * ld + n;
            const float* from = x + b * K;
            const bool pair = b + 2 <= rows;
            if (block && pair)
                dots<DOT_ROWS, 2>(w.from(n), from, K, to, ld);
            else if (block)
                dots<DOT_ROWS, 1>(w.from(n), from, K, to, ld);
            else if (pair)
                dots<1, 2>(w.from(n), from, K, to, ld);
            else
                dots<1, 1>(w.from(n), from, K, to, ld);
        }
        n += block ? DOT_ROWS : 1;
    }
}

// out[b·ld + n] = x[b]·w[n] for n in [first, last) and all rows b.
static void project(int32_t kind, const float* x, int64_t rows, const void* w, int64_t K,
                    int64_t first, int64_t last, float* out, int64_t ld) {
    if (kind == INT8)
        project_kind(x, rows, Groups{static_cast<const Group*>(w), K}, K, first, last, out, ld);
    else if (kind == BF16)
        project_kind(x, rows, Bfloats{static_cast<const uint16_t*>(w), K}, K, first, last, out, ld);
    else
        project_kind(x, rows, Floats{static_cast<const float*>(w), K}, K, first, last, out, ld);
}

// Rows of float32 as rows of groups: the largest value of a group becomes ±127.
static void quantize_rows(const float* from, Group* to, int64_t rows, int64_t K) {
    const int64_t groups = (K + GROUP - 1) / GROUP;
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t g = 0; g < groups; ++g) {
            const float* x = from + r * K + g * GROUP;
            const int64_t n = K - g * GROUP < GROUP ? K - g * GROUP : GROUP;
            float most = 0.0f;
            for (int64_t i = 0; i < n; ++i) most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
            Group& group = to[r * groups + g];
            group.scale = most / 127.0f;
            const float inverse = most > 0.0f ? 127.0f / most : 0.0f;
            for (int64_t i = 0; i < GROUP; ++i)
                group.values[i] = i < n ? static_cast<int8_t>(nearbyintf(x[i] * inverse)) : 0;
        }
}

// float32 rounded to bf16, to nearest even; a NaN stays one.
static void shorten(const float* from, uint16_t* to, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
        uint32_t bits;
        memcpy(&bits, from + i, sizeof bits);
        const bool nan = (bits & 0x7FFFFFFF) > 0x7F800000;
        to[i] = static_cast<uint16_t>(nan ? bits >> 16 | 0x40
                                          : (bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
    }
}
