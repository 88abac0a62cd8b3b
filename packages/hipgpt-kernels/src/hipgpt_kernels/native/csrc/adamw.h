// AdamW (Loshchilov and Hutter 2019, algorithm 2) and the sum of squares over flat arrays.
#pragma once

#include "layernorm.h"
#include "vector.h"

// m = beta1·m + first·g;  v = beta2·v + second·g²;  weights = keep·weights − step_size·m / (√v + small).
static void adamw_span(float* weights, const float* gradients, float* m, float* v, int64_t n,
                       float beta1, float beta2, float clip, float first, float second,
                       float step_size, float small, float keep) {
    for (int64_t j = 0; j < n; j += W) {
        const Piece p = piece(j, n);
        const Vec g = p.get(gradients + j) * clip;  // before the square, which might overflow
        const Vec moment1 = beta1 * p.get(m + j) + first * g;
        const Vec moment2 = beta2 * p.get(v + j) + second * (g * g);
        Vec root;
        for (int i = 0; i < W; ++i) root[i] = sqrtf(moment2[i]);
        p.put(m + j, moment1);
        p.put(v + j, moment2);
        p.put(weights + j, keep * p.get(weights + j) - step_size * (moment1 / (root + small)));
    }
}

// Σ x², in float32 over runs of 4,096 and in double between them.
static double squares_span(const float* x, int64_t n) {
    double total = 0.0;
    for (int64_t start = 0; start < n; start += 4096) {
        const int64_t stop = start + 4096 < n ? start + 4096 : n;
        Vec s{};
        for (int64_t j = start; j < stop; j += W) {
            const Vec a = piece(j, stop).get(x + j);
            s += a * a;
        }
        total += sum(s);
    }
    return total;
}
