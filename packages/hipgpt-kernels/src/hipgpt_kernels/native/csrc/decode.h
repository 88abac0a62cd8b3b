// One token further for each of a few rows: a whole model in one call.
//
// A token reads every weight once, so memory decides its time, and what is lost is lost between the
// products: in handing over work and in Python. Here the threads stay together from the embedding to
// the logits and meet at a barrier after each part. The odd thing: an output is the same dot product
// in the same order whatever the number of rows and threads, so a row of a batch gets the bits that
// it would get alone.
#pragma once

#include "attention.h"
#include "pool.h"
#include "weights.h"

struct DecodeBlock {  // the four matrices are of the model's kind of weights
    const float *norm1_weight, *norm1_bias;
    const void* qkv_weight;
    const float* qkv_bias;
    const void* output_weight;
    const float *output_bias, *norm2_weight, *norm2_bias;
    const void* up_weight;
    const float* up_bias;
    const void* down_weight;
    const float* down_bias;
    float *keys, *values;  // (slots, H, S, D)
};

struct DecodeModel {
    int64_t V, S, E, L, H, F;
    int32_t activation, weights;  // of the matrices: FLOAT32, BF16 or INT8
    float epsilon;
    const float *token_table, *position_table;  // (V, E), (S, E)
    const float *norm_weight, *norm_bias;       // of the end; null: none
    const void* head_weight;                    // (V, E)
    const float* head_bias;                     // (V,) or null
    const DecodeBlock* blocks;
};

// All threads of a round wait here for each other. Work before it is seen by all after it.
class Barrier {
  public:
    void wait(int threads) {
        if (threads == 1) return;
        const int round = round_.load();
        if (waiting_.fetch_add(1) == threads - 1) {
            waiting_.store(0);
            round_.store(round + 1);
            return;
        }
        for (int spins = 0; round_.load() == round;)
            if (++spins < SPINS)
                pause();
            else
                std::this_thread::yield();
    }

  private:
    alignas(64) std::atomic<int> waiting_{0};
    alignas(64) std::atomic<int> round_{0};
};

// One query (D,) over `count` keys and values (count, D); `scores` has room for all of them.
static void attend_one(const float* q, const float* keys, const float* values, int64_t count,
                       int64_t D, float scale, float* scores, float* out) {
    for (int64_t s = 0; s < count; ++s) dots<1, 1>(Floats{keys + s * D, D}, q, D, scores + s, 0);
    float most = scores[0];
    for (int64_t s = 1; s < count; ++s) most = scores[s] > most ? scores[s] : most;
    Vec totals{};
    for (int64_t s = 0; s < count; s += W) {
        const Piece p = piece(s, count);
        const Vec x = p.n == W ? load(scores + s) : load_some(scores + s, p.n, -INFINITY);
        const Vec e = exponential((x - most) * scale);
        totals += e;
        p.put(scores + s, e);
    }
    const float part = 1.0f / sum(totals);
    constexpr int DEEP = 4;  // vectors of the result at a time
    for (int64_t d = 0; d < D; d += DEEP * W) {
        const int64_t left = D - d;
        if (left >= DEEP * W) {
            Vec total[DEEP] = {};
            for (int64_t s = 0; s < count; ++s) {
                const Vec p = splat(scores[s]);
                for (int v = 0; v < DEEP; ++v) total[v] += p * load(values + s * D + d + v * W);
            }
            for (int v = 0; v < DEEP; ++v) store(out + d + v * W, total[v] * part);
            continue;
        }
        for (int64_t e = d; e < D; e += W) {
            const Piece piece_of = piece(e, D);
            Vec total{};
            for (int64_t s = 0; s < count; ++s)
                total += splat(scores[s]) * piece_of.get(values + s * D + e);
            piece_of.put(out + e, total * part);
        }
    }
}

// The share of thread i in [0, count), its borders at multiples of `multiple`.
struct Share {
    int64_t first, last;
    Share(int64_t count, int64_t multiple, int i, int threads) {
        const int64_t units = (count + multiple - 1) / multiple;
        first = std::min(count, units * i / threads * multiple);
        last = std::min(count, units * (i + 1) / threads * multiple);
    }
    Share(Share other, int64_t by) : first(other.first + by), last(other.last + by) {}
};

constexpr int64_t SHARE = 16;  // floats of a cache line: no two threads write to one

// What is between two parts; floats.
struct DecodeSpace {
    int64_t size = 0;
    int64_t take(int64_t count) {
        const int64_t at = size;
        size += (count + SHARE - 1) / SHARE * SHARE;
        return at;
    }
};

// logits[b] (V,) after token tokens[b] at positions[b] of the text in slot slots[b] of the caches, no two
// rows in one slot. run is called by every thread of a round.
struct Decode {
    const DecodeModel& m;
    const int64_t rows;
    const int32_t *tokens, *positions, *slots;
    float* logits;
    float *x, *norm, *wide, *active, *scores;  // (rows, E), (rows, E), (rows, 3E or 2F or F), ...
    int64_t wide_size, scores_size;
    Barrier barrier;

    Decode(const DecodeModel& model, int64_t B, const int32_t* tokens, const int32_t* positions,
           const int32_t* slots, float* logits, Scratch& scratch, int threads)
        : m(model), rows(B), tokens(tokens), positions(positions), slots(slots), logits(logits) {
        wide_size = std::max(3 * m.E, (m.activation == SWIGLU ? 2 : 1) * m.F);
        scores_size = (m.S + SHARE - 1) / SHARE * SHARE;
        DecodeSpace space;
        const int64_t parts[] = {space.take(rows * m.E), space.take(rows * m.E),
                                 space.take(rows * wide_size), space.take(rows * m.F),
                                 space.take(threads * scores_size)};
        float* start = scratch.get(space.size);
        x = start + parts[0], norm = start + parts[1], wide = start + parts[2];
        active = start + parts[3], scores = start + parts[4];
    }

    void run(int i, int threads) {
        const Share own(rows, 1, i, threads);
        for (int64_t b = own.first; b < own.last; ++b) {
            const float *token = m.token_table + tokens[b] * m.E,
                        *position = m.position_table + positions[b] * m.E;
            for (int64_t e = 0; e < m.E; e += W) {
                const Piece p = piece(e, m.E);
                p.put(x + b * m.E + e, p.get(token + e) + p.get(position + e));
            }
        }
        for (int64_t l = 0; l < m.L; ++l) block(m.blocks[l], i, threads);
        const float* last = x;
        if (m.norm_weight) {
            normalize(m.norm_weight, m.norm_bias, own);
            last = norm;
        }
        barrier.wait(threads);
        const Share v(m.V, SHARE, i, threads);
        project(m.weights, last, rows, m.head_weight, m.E, v.first, v.last, logits, m.V);
        if (m.head_bias) end(v, {m.head_bias}, logits, m.V);
    }

  private:
    void block(const DecodeBlock& w, int i, int threads) {
        const Share own(rows, 1, i, threads), e(m.E, SHARE, i, threads);
        normalize(w.norm1_weight, w.norm1_bias, own);
        barrier.wait(threads);
        const Share qkv(3 * m.E, SHARE, i, threads);
        project(m.weights, norm, rows, w.qkv_weight, m.E, qkv.first, qkv.last, wide, 3 * m.E);
        end(qkv, {w.qkv_bias}, wide, 3 * m.E);
        barrier.wait(threads);
        const Share units(rows * m.H, 1, i, threads);
        for (int64_t unit = units.first; unit < units.last; ++unit)
            attend_head(w, unit / m.H, unit % m.H, scores + i * scores_size);
        barrier.wait(threads);
        add_branch(norm, m.E, w.output_weight, w.output_bias, e);
        barrier.wait(threads);
        normalize(w.norm2_weight, w.norm2_bias, own);
        barrier.wait(threads);
        feed(w, Share(m.F, SHARE, i, threads));
        barrier.wait(threads);
        add_branch(active, m.F, w.down_weight, w.down_bias, e);
        barrier.wait(threads);
    }

    // norm[b] = LayerNorm(x[b]) for a share of the rows.
    void normalize(const float* weight, const float* bias, Share own) {
        layernorm_forward_rows(x + own.first * m.E, weight, bias, m.epsilon, norm + own.first * m.E,
                               nullptr, nullptr, own.last - own.first, m.E);
    }

    // What follows a product, on a share of its columns.
    void end(Share n, Epilogue epilogue, float* out, int64_t ld) {
        finish(epilogue, 0, rows, n.first, n.last - n.first, out, ld);
    }

    // Put a head's key and value into the cache and attend; the result takes the place of `norm`.
    void attend_head(const DecodeBlock& w, int64_t b, int64_t h, float* own_scores) {
        const int64_t D = m.E / m.H, at = positions[b], offset = b * 3 * m.E + h * D;
        const int64_t head = (slots[b] * m.H + h) * m.S * D;
        memcpy(w.keys + head + at * D, wide + offset + m.E, D * sizeof(float));
        memcpy(w.values + head + at * D, wide + offset + 2 * m.E, D * sizeof(float));
        attend_one(wide + offset, w.keys + head, w.values + head, at + 1, D,
                   1.0f / sqrtf(static_cast<float>(D)), own_scores, norm + b * m.E + h * D);
    }

    // x += from · weightᵀ + bias, on a share of the columns of x.
    void add_branch(const float* from, int64_t K, const void* weight, const float* bias, Share e) {
        project(m.weights, from, rows, weight, K, e.first, e.last, wide, m.E);
        Epilogue epilogue{bias};
        epilogue.residual = x;
        epilogue.ld_residual = m.E;
        end(e, epilogue, wide, m.E);
        for (int64_t b = 0; b < rows && e.first < e.last; ++b)
            memcpy(x + b * m.E + e.first, wide + b * m.E + e.first,
                   (e.last - e.first) * sizeof(float));
    }

    // active = activation(norm · upᵀ + bias), on a share of F.
    void feed(const DecodeBlock& w, Share f) {
        if (m.activation != SWIGLU) {
            project(m.weights, norm, rows, w.up_weight, m.E, f.first, f.last, active, m.F);
            end(f, {w.up_bias, m.activation}, active, m.F);
            return;
        }
        const Share up(f, m.F);
        for (const Share& half : {f, up}) {
            project(m.weights, norm, rows, w.up_weight, m.E, half.first, half.last, wide, 2 * m.F);
            end(half, {w.up_bias}, wide, 2 * m.F);
        }
        for (int64_t b = 0; b < rows; ++b)
            for (int64_t j = f.first; j < f.last; j += W) {
                const Piece p = piece(j, f.last);
                const Vec gate = p.get(wide + b * 2 * m.F + j);
                p.put(active + b * m.F + j, gate * sigmoid(gate) * p.get(wide + b * 2 * m.F + m.F + j));
            }
    }
};
