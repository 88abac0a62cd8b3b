// Softmax cross-entropy over rows of logits; with a scale the logits become their own gradient.
#pragma once

#include "layernorm.h"
#include "vector.h"

// Logits whose exponentials are summed before they join the rest: the many small ones of a large
// vocabulary would be lost one by one beside the few large ones.
constexpr int64_t RUN = 512;

static void cross_entropy_rows(float* logits, const int32_t* targets, float* losses, float* correct,
                               int64_t rows, int64_t V, int32_t backward, float scale) {
    for (int64_t r = 0; r < rows; ++r, logits += V) {
        const int32_t target = targets[r];
        if (target < 0) {
            losses[r] = 0.0f;
            if (correct) correct[r] = 0.0f;
            if (backward) memset(logits, 0, V * sizeof(float));
            continue;
        }
        Vec top = splat(logits[0]);
        int64_t j = 0;
        for (; j + W <= V; j += W) top = maximum(top, load(logits + j));
        float most = largest(top);
        for (; j < V; ++j) most = logits[j] > most ? logits[j] : most;
        const float chosen = logits[target] - most;
        if (correct) {  // the smallest id of the largest logit must be the target
            int64_t first = 0;
            while (first < target && logits[first] != most) ++first;
            correct[r] = first == target && logits[target] == most ? 1.0f : 0.0f;
        }
        float total = 0.0f;
        for (int64_t first = 0; first < V; first += RUN) {
            const int64_t last = first + RUN < V ? first + RUN : V;
            Vec s0{}, s1{};
            for (j = first; j + 2 * W <= last; j += 2 * W) {
                const Vec a = exponential(load(logits + j) - most);
                const Vec b = exponential(load(logits + j + W) - most);
                s0 += a;
                s1 += b;
                if (backward) {
                    store(logits + j, a);
                    store(logits + j + W, b);
                }
            }
            for (; j < last; j += W) {
                const int64_t n = last - j < W ? last - j : W;
                const Vec a = exponential(load_some(logits + j, n, -INFINITY) - most);
                s0 += a;
                if (backward) store_some(logits + j, a, n);
            }
            total += sum(s0 + s1);
        }
        losses[r] = logf(total) - chosen;
        if (backward) {
            const float factor = scale / total;
            for (j = 0; j + W <= V; j += W) store(logits + j, load(logits + j) * factor);
            for (; j < V; ++j) logits[j] *= factor;
            logits[target] -= scale;
        }
    }
}
