// C = A·B for any strides: packed panels, a register tile, blocks for each level of cache.
//
// The scheme is Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication",
// section 4: a panel of B stays in the first-level cache, a block of A in the second. Every call is
// one thread's work; the Python side shares rows or columns out. The odd thing: what follows the
// product (bias, activation, residual) is applied to a block right after its last step over K,
// while the block is still in the cache.
#pragma once

#include <stdlib.h>

#include <algorithm>

#include "activation.h"
#include "vector.h"

#if HIPGPT_WIDTH == 16
constexpr int MR = 14, NV = 2;  // 28 accumulators of 32 registers
#elif HIPGPT_WIDTH == 8
constexpr int MR = 6, NV = 2;  // 12 of 16
#elif defined(__aarch64__)
constexpr int MR = 8, NV = 2;  // 16 of 32
#else
constexpr int MR = 4, NV = 2;  // 8 of 16
#endif
constexpr int NR = NV * W;

constexpr int64_t KC = 320;        // a panel of B: KC·NR floats, 40 KB at most
constexpr int64_t MC = 24 * MR;    // a block of A: MC·KC floats, 430 KB at most
constexpr int64_t NC = 64 * NR;    // B is packed NC columns at a time

// What follows a product. Rows and columns count from the C that the call was given.
struct Epilogue {
    const float* bias;          // (N,) or null
    int32_t activation;         // NONE, GELU or RELU
    int32_t backward;           // 1: multiply by the slope of the activation at `before`
    float* before;              // (M, ld_before): preactivation, written (forward) or read
    int64_t ld_before;
    const float* residual;      // (M, ld_residual) or null
    int64_t ld_residual;
};

struct Matrix {
    const float* data;
    int64_t row, column;  // strides in elements
};

// Scratch of a thread; grows and is kept.
struct Scratch {
    float* data = nullptr;
    int64_t size = 0;
    float* get(int64_t count) {
        if (count > size) {
            free(data);
            size = (count + 1023) / 1024 * 1024;
            data = static_cast<float*>(aligned_alloc(64, size * sizeof(float)));
            if (data == nullptr) size = 0;
        }
        return data;
    }
    ~Scratch() { free(data); }
};

// panel[k·MR + i] = A[i, k]; rows past m are zero.
static void pack_a(Matrix a, int64_t m, int64_t K, float* panel) {
    if (m == MR && a.row == 1) {
        for (int64_t k = 0; k < K; ++k) memcpy(panel + k * MR, a.data + k * a.column, MR * 4);
        return;
    }
    if (m == MR) {
        for (int64_t k = 0; k < K; ++k, panel += MR)
            for (int i = 0; i < MR; ++i) panel[i] = a.data[i * a.row + k * a.column];
        return;
    }
    for (int64_t k = 0; k < K; ++k)
        for (int i = 0; i < MR; ++i)
            panel[k * MR + i] = i < m ? a.data[i * a.row + k * a.column] : 0.0f;
}

// panel[k·NR + j] = B[k, j]; columns past n are zero.
static void pack_b(Matrix b, int64_t K, int64_t n, float* panel) {
    if (n == NR && b.column == 1) {
        for (int64_t k = 0; k < K; ++k) memcpy(panel + k * NR, b.data + k * b.row, NR * 4);
        return;
    }
    if (n == NR) {
        // Eight rows of K at a time, so that each line of B is read whole while it is near.
        int64_t k = 0;
        for (; k + 8 <= K; k += 8)
            for (int j = 0; j < NR; ++j)
                for (int i = 0; i < 8; ++i)
                    panel[(k + i) * NR + j] = b.data[(k + i) * b.row + j * b.column];
        for (; k < K; ++k)
            for (int j = 0; j < NR; ++j) panel[k * NR + j] = b.data[k * b.row + j * b.column];
        return;
    }
    for (int64_t k = 0; k < K; ++k)
        for (int j = 0; j < NR; ++j)
            panel[k * NR + j] = j < n ? b.data[k * b.row + j * b.column] : 0.0f;
}

// c (MR, NR) (+)= panel_a · panel_b.
static inline void tile(int64_t K, const float* a, const float* b, float* c, int64_t ldc, bool add) {
    Vec total[MR][NV];
    for (int i = 0; i < MR; ++i)
        for (int j = 0; j < NV; ++j) total[i][j] = Vec{};
    for (int64_t k = 0; k < K; ++k, a += MR, b += NR) {
        Vec column[NV];
        for (int j = 0; j < NV; ++j) column[j] = load(b + j * W);
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i)
            for (int j = 0; j < NV; ++j) total[i][j] += splat(a[i]) * column[j];
    }
    for (int i = 0; i < MR; ++i)
        for (int j = 0; j < NV; ++j) {
            float* p = c + i * ldc + j * W;
            store(p, add ? load(p) + total[i][j] : total[i][j]);
        }
}

// Apply the epilogue to rows × columns of C.
static void finish(const Epilogue& e, int64_t row, int64_t rows, int64_t column, int64_t columns,
                   float* c, int64_t ldc) {
    for (int64_t i = row; i < row + rows; ++i) {
        float* out = c + i * ldc;
        float* before = e.before ? e.before + i * e.ld_before : nullptr;
        const float* residual = e.residual ? e.residual + i * e.ld_residual : nullptr;
        for (int64_t j = column; j < column + columns; j += W) {
            const int64_t n = std::min<int64_t>(W, column + columns - j);
            const bool whole = n == W;
            Vec x = whole ? load(out + j) : load_some(out + j, n);
            if (e.backward) {
                const Vec z = whole ? load(before + j) : load_some(before + j, n);
                x = activation_backward_vec(x, z, e.activation);
            } else {
                if (e.bias) x += whole ? load(e.bias + j) : load_some(e.bias + j, n);
                if (before) whole ? store(before + j, x) : store_some(before + j, x, n);
                if (e.activation != NONE) x = activation_forward_vec(x, e.activation);
                if (residual) x += whole ? load(residual + j) : load_some(residual + j, n);
            }
            whole ? store(out + j, x) : store_some(out + j, x, n);
        }
    }
}

static bool finishes(const Epilogue* e) {
    return e && (e->bias || e->activation != NONE || e->before || e->residual);
}

// Floats ahead that the weights of a few rows are fetched: 8 KB. One long stream is bound by memory
// alone, and asking for it early was worth 15 to 30 per cent on a Zen 5 server (69 → 80 GB/s).
constexpr int64_t AHEAD = 2048;

// Few rows: c[m, n] = Σ_k a[m, k]·b[k, n], reading B once, without packing it.
static void few_rows(int64_t M, int64_t N, int64_t K, Matrix a, Matrix b, float* c, int64_t ldc,
                     bool add) {
    if (b.row == 1 && a.column == 1) {  // each output is a product of two contiguous rows
        for (int64_t n = 0; n < N; ++n) {
            const float* w = b.data + n * b.column;
            for (int64_t m = 0; m < M; ++m) {
                const float* x = a.data + m * a.row;
                Vec s0{}, s1{};
                int64_t k = 0;
                for (; k + 2 * W <= K; k += 2 * W) {
                    if (m == 0) {
                        __builtin_prefetch(w + k + AHEAD);
                        __builtin_prefetch(w + k + AHEAD + W);
                    }
                    s0 += load(x + k) * load(w + k);
                    s1 += load(x + k + W) * load(w + k + W);
                }
                for (; k + W <= K; k += W) s0 += load(x + k) * load(w + k);
                if (k < K) s1 += load_some(x + k, K - k) * load_some(w + k, K - k);
                const float value = sum(s0 + s1);
                float* out = c + m * ldc + n;
                *out = add ? *out + value : value;
            }
        }
        return;
    }
    for (int64_t m = 0; m < M; ++m) {  // the rows of B are contiguous: add them up
        float* out = c + m * ldc;
        for (int64_t j = 0; j < N; j += 4 * W) {
            const int64_t n = std::min<int64_t>(4 * W, N - j);
            if (n == 4 * W) {
                Vec s[4];
                for (int v = 0; v < 4; ++v) s[v] = add ? load(out + j + v * W) : Vec{};
                for (int64_t k0 = 0; k0 < K; k0 += KC) {  // runs of KC, so that rounding stays small
                    Vec run[4] = {};
                    for (int64_t k = k0; k < std::min(K, k0 + KC); ++k) {
                        const Vec x = splat(a.data[m * a.row + k * a.column]);
                        for (int v = 0; v < 4; ++v)
                            run[v] += x * load(b.data + k * b.row + j + v * W);
                    }
                    for (int v = 0; v < 4; ++v) s[v] += run[v];
                }
                for (int v = 0; v < 4; ++v) store(out + j + v * W, s[v]);
            } else {
                for (int64_t i = j; i < j + n; ++i) {
                    float s = add ? out[i] : 0.0f;
                    for (int64_t k0 = 0; k0 < K; k0 += KC) {
                        float run = 0.0f;
                        for (int64_t k = k0; k < std::min(K, k0 + KC); ++k)
                            run += a.data[m * a.row + k * a.column] * b.data[k * b.row + i];
                        s += run;
                    }
                    out[i] = s;
                }
            }
        }
    }
}

// C (M, N) = A (M, K) · B (K, N), or += where `add`; then the epilogue. ldc >= N, C row-major.
static void gemm(int64_t M, int64_t N, int64_t K, Matrix a, Matrix b, float* c, int64_t ldc,
                 bool add, const Epilogue* epilogue) {
    const bool ends = finishes(epilogue);
    const bool unpacked = (b.row == 1 && a.column == 1) || b.column == 1;
    if (M <= 4 && unpacked) {
        few_rows(M, N, K, a, b, c, ldc, add);
        if (ends) finish(*epilogue, 0, M, 0, N, c, ldc);
        return;
    }
    static thread_local Scratch scratch_a, scratch_b;
    const int64_t depth = K <= KC ? K : (K + (K + KC - 1) / KC - 1) / ((K + KC - 1) / KC);
    const int64_t width = std::min((N + NR - 1) / NR * NR, NC);
    float* packed_b = scratch_b.get(depth * width);
    float* packed_a = scratch_a.get(depth * std::min((M + MR - 1) / MR * MR, MC));
    float edge[MR * NR];

    for (int64_t j0 = 0; j0 < N; j0 += NC) {
        const int64_t columns = std::min(NC, N - j0);
        for (int64_t k0 = 0; k0 < K; k0 += depth) {
            const int64_t steps = std::min(depth, K - k0);
            const bool adds = add || k0 > 0, last = k0 + steps == K;
            for (int64_t j = 0; j < columns; j += NR) {
                const Matrix part{b.data + k0 * b.row + (j0 + j) * b.column, b.row, b.column};
                pack_b(part, steps, std::min<int64_t>(NR, columns - j), packed_b + j * steps);
            }
            for (int64_t i0 = 0; i0 < M; i0 += MC) {
                const int64_t rows = std::min(MC, M - i0);
                for (int64_t i = 0; i < rows; i += MR) {
                    const Matrix part{a.data + (i0 + i) * a.row + k0 * a.column, a.row, a.column};
                    pack_a(part, std::min<int64_t>(MR, rows - i), steps, packed_a + i * steps);
                }
                for (int64_t j = 0; j < columns; j += NR)
                    for (int64_t i = 0; i < rows; i += MR) {
                        const int64_t m = std::min<int64_t>(MR, rows - i);
                        const int64_t n = std::min<int64_t>(NR, columns - j);
                        float* out = c + (i0 + i) * ldc + j0 + j;
                        const float *pa = packed_a + i * steps, *pb = packed_b + j * steps;
                        if (m == MR && n == NR) {
                            tile(steps, pa, pb, out, ldc, adds);
                            continue;
                        }
                        tile(steps, pa, pb, edge, NR, false);
                        for (int64_t r = 0; r < m; ++r)
                            for (int64_t s = 0; s < n; ++s)
                                out[r * ldc + s] = (adds ? out[r * ldc + s] : 0.0f) + edge[r * NR + s];
                    }
                if (last && ends) finish(*epilogue, i0, rows, j0, columns, c, ldc);
            }
        }
    }
    if (K == 0) {
        for (int64_t i = 0; i < M && !add; ++i) memset(c + i * ldc, 0, N * sizeof(float));
        if (ends) finish(*epilogue, 0, M, 0, N, c, ldc);
    }
}
