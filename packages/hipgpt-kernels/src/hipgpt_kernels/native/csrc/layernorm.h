// LayerNorm over rows (Ba, Kiros and Hinton 2016, equation 4): two passes in the cache, no temporaries.
#pragma once

#include "vector.h"

struct Piece {  // the lanes of a row that a vector covers
    int64_t n;
    Vec get(const float* p) const { return n == W ? load(p) : load_some(p, n); }
    void put(float* p, Vec x) const { n == W ? store(p, x) : store_some(p, x, n); }
};
static inline Piece piece(int64_t j, int64_t N) { return {N - j < W ? N - j : W}; }

static void layernorm_forward_rows(const float* x, const float* weight, const float* bias, float epsilon,
                                   float* out, float* mean, float* rstd, int64_t rows, int64_t E) {
    for (int64_t r = 0; r < rows; ++r, x += E, out += E) {
        Vec total{};
        for (int64_t j = 0; j < E; j += W) total += piece(j, E).get(x + j);
        const float average = sum(total) / E;
        Vec squares{};
        for (int64_t j = 0; j < E; j += W) {
            const Piece p = piece(j, E);
            const Vec d = p.n == W ? load(x + j) - average : load_some(x + j, p.n, average) - average;
            squares += d * d;
        }
        const float scale = 1.0f / sqrtf(sum(squares) / E + epsilon);
        if (mean) mean[r] = average;
        if (rstd) rstd[r] = scale;
        for (int64_t j = 0; j < E; j += W) {
            const Piece p = piece(j, E);
            p.put(out + j, (p.get(x + j) - average) * scale * p.get(weight + j) + p.get(bias + j));
        }
    }
}

// dx += …; sum_weight, sum_bias (E,) += this span's sums over rows.
static void layernorm_backward_rows(const float* dout, const float* x, const float* weight,
                                    const float* mean, const float* rstd, float* dx,
                                    float* sum_weight, float* sum_bias, int64_t rows, int64_t E) {
    for (int64_t r = 0; r < rows; ++r, dout += E, x += E, dx += E) {
        const float average = mean[r], scale = rstd[r];
        Vec total{}, product{};
        for (int64_t j = 0; j < E; j += W) {
            const Piece p = piece(j, E);
            const Vec d = p.get(dout + j), normal = (p.get(x + j) - average) * scale;
            const Vec g = d * p.get(weight + j);
            total += g;
            product += g * normal;  // lanes past the row hold g = 0
            p.put(sum_weight + j, p.get(sum_weight + j) + d * normal);
            p.put(sum_bias + j, p.get(sum_bias + j) + d);
        }
        const float mean_gradient = sum(total) / E, mean_product = sum(product) / E;
        for (int64_t j = 0; j < E; j += W) {
            const Piece p = piece(j, E);
            const Vec normal = (p.get(x + j) - average) * scale;
            const Vec g = p.get(dout + j) * p.get(weight + j);
            p.put(dx + j, p.get(dx + j) + scale * (g - mean_gradient - normal * mean_product));
        }
    }
}
