// Causal attention by tiles of queries, for one (batch row, head) at a time.
//
// A tile's scores stay in the cache; keys after its last query are never touched. The backward makes
// the probabilities again from the log-sum-exp (Dao et al. 2022, algorithm 4). The same forward
// serves the KV cache, where the first query stands at a position above 0.
#pragma once

#include "gemm.h"
#include "layernorm.h"

struct Rows {  // (T, D) with a stride between rows
    float* data;
    int64_t stride;
    Matrix matrix(int64_t first = 0) const { return {data + first * stride, stride, 1}; }
    Matrix transposed(int64_t first = 0) const { return {data + first * stride, 1, stride}; }
};

// Queries of a tile: enough for the product, few enough to skip most of the masked half and to keep
// the scores (at 1,024 keys: 256 KB) in a second-level cache.
constexpr int64_t TILE = 64;

static void attend(Rows q, Rows k, Rows v, Rows out, float* lse, int64_t T, int64_t D,
                   int64_t position, float scale) {
    static thread_local Scratch scratch;
    for (int64_t a = 0; a < T; a += TILE) {
        const int64_t rows = std::min(TILE, T - a), keys = position + a + rows;
        float* scores = scratch.get(TILE * (position + T) + TILE);
        float* totals = scores + TILE * (position + T);
        gemm(rows, keys, D, q.matrix(a), k.transposed(), scores, keys, false, nullptr);
        for (int64_t i = 0; i < rows; ++i) {
            float* s = scores + i * keys;
            const int64_t seen = position + a + i + 1;
            Vec top = splat(s[0]);
            int64_t j = 0;
            for (; j + W <= seen; j += W) top = maximum(top, load(s + j));
            float most = largest(top);
            for (; j < seen; ++j) most = s[j] > most ? s[j] : most;
            const float shift = most * scale;
            Vec total{};
            for (j = 0; j < seen; j += W) {
                const Piece p = piece(j, seen);
                const Vec x = p.n == W ? load(s + j) : load_some(s + j, p.n, -INFINITY);
                const Vec e = exponential(x * scale - shift);
                total += e;
                p.put(s + j, e);
            }
            memset(s + seen, 0, (keys - seen) * sizeof(float));
            totals[i] = sum(total);
            if (lse) lse[a + i] = shift + logf(totals[i]);
        }
        float* result = out.data + a * out.stride;
        gemm(rows, D, keys, {scores, keys, 1}, v.matrix(), result, out.stride, false, nullptr);
        for (int64_t i = 0; i < rows; ++i)
            for (int64_t d = 0; d < D; ++d) result[i * out.stride + d] /= totals[i];
    }
}

static void attend_backward(Rows dout, Rows q, Rows k, Rows v, Rows out, const float* lse, Rows dq,
                            Rows dk, Rows dv, int64_t T, int64_t D, float scale) {
    static thread_local Scratch scratch;
    const int64_t tiles = (T + TILE - 1) / TILE;
    for (int64_t t = tiles - 1; t >= 0; --t) {  // the last tile sees all keys: it writes dk and dv
        const int64_t a = t * TILE, rows = std::min(TILE, T - a), keys = a + rows;
        float* p = scratch.get(2 * TILE * T);
        float* ds = p + TILE * T;
        gemm(rows, keys, D, q.matrix(a), k.transposed(), p, keys, false, nullptr);
        gemm(rows, keys, D, dout.matrix(a), v.transposed(), ds, keys, false, nullptr);
        for (int64_t i = 0; i < rows; ++i) {
            const float *g = dout.data + (a + i) * dout.stride, *o = out.data + (a + i) * out.stride;
            Vec product{};
            for (int64_t d = 0; d < D; d += W)
                product += piece(d, D).get(g + d) * piece(d, D).get(o + d);
            const float delta = sum(product), shift = lse[a + i];
            const int64_t seen = a + i + 1;
            float *pi = p + i * keys, *di = ds + i * keys;
            for (int64_t j = 0; j < seen; j += W) {
                const Piece part = piece(j, seen);
                const Vec e = exponential(part.get(pi + j) * scale - shift);
                part.put(di + j, e * (part.get(di + j) - delta) * scale);
                part.put(pi + j, e);
            }
            memset(pi + seen, 0, (keys - seen) * sizeof(float));
            memset(di + seen, 0, (keys - seen) * sizeof(float));
        }
        const bool add = t != tiles - 1;
        gemm(rows, D, keys, {ds, keys, 1}, k.matrix(), dq.data + a * dq.stride, dq.stride, false, nullptr);
        gemm(keys, D, rows, {ds, 1, keys}, q.matrix(a), dk.data, dk.stride, add, nullptr);
        gemm(keys, D, rows, {p, 1, keys}, dout.matrix(a), dv.data, dv.stride, add, nullptr);
    }
}
