// AdamW (Loshchilov and Hutter 2019, algorithm 2) and the sum of squares over flat arrays.
#pragma once

#include "layernorm.h"
#include "vector.h"

// weights = weights·keep − step_size·m / (√v + small), after both moments took in gradients·scale.
static void adamw_span(float* weights, const float* gradients, float* m, float* v, int64_t n,
                       float scale, float beta1, float beta2, float step_size, float small,
                       float keep) {
    for (int64_t j = 0; j < n; j += W) {
        const Piece p = piece(j, n);
        const Vec g = p.get(gradients + j) * scale;
        const Vec first = beta1 * p.get(m + j) + (1.0f - beta1) * g;
        const Vec second = beta2 * p.get(v + j) + (1.0f - beta2) * g * g;
        Vec root = second;
        for (int i = 0; i < W; ++i) root[i] = sqrtf(second[i]);
        p.put(m + j, first);
        p.put(v + j, second);
        p.put(weights + j, keep * p.get(weights + j) - step_size * first / (root + small));
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
