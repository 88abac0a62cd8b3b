// The functions that Python calls: each shares its op out to the threads. Compiled once for every
// instruction set (see build.py); library.py loads the widest that the processor executes.
#include <vector>

#include "activation.h"
#include "adamw.h"
#include "attention.h"
#include "cross_entropy.h"
#include "decode.h"
#include "dropout.h"
#include "gemm.h"
#include "layernorm.h"
#include "pool.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

constexpr int64_t LINE = 16;       // floats of a cache line: no two threads write to one
constexpr int64_t FLAT = 1 << 14;  // spans of flat buffers end at multiples of this

// Widest vectors that this processor executes, in floats: 16, 8, or 4 where it cannot be told.
EXPORT int32_t hipgpt_width() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return 16;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 8;
#endif
    return 4;
}

// What the sources were that this library was made of; see build.py.
EXPORT const char* hipgpt_sources() { return HIPGPT_SOURCES; }

// Floats of a vector of this library.
EXPORT int32_t hipgpt_own_width() { return W; }

// The epilogue as seen from row r and column c.
static Epilogue shifted(const Epilogue& e, int64_t r, int64_t c) {
    Epilogue part = e;
    if (part.bias) part.bias += c;
    if (part.before) part.before += r * part.ld_before + c;
    if (part.residual) part.residual += r * part.ld_residual + c;
    return part;
}

// C (M, N) = A (M, K) · B (K, N), or += where `add`, then the epilogue. Threads get rows, or columns
// where those are more: each packs the whole of the other operand.
EXPORT void hipgpt_gemm(int32_t threads, int64_t M, int64_t N, int64_t K, const float* a,
                        int64_t a_row, int64_t a_column, const float* b, int64_t b_row,
                        int64_t b_column, float* c, int32_t add, const Epilogue* epilogue) {
    const bool by_rows = M >= N;
    parallel(threads, by_rows ? M : N, LINE, M * N * K, [&](int64_t start, int64_t stop) {
        const int64_t r = by_rows ? start : 0, j = by_rows ? 0 : start;
        const Epilogue part = epilogue ? shifted(*epilogue, r, j) : Epilogue{};
        gemm(by_rows ? stop - start : M, by_rows ? N : stop - start, K,
             {a + r * a_row, a_row, a_column}, {b + j * b_column, b_row, b_column}, c + r * N + j, N,
             add != 0, epilogue ? &part : nullptr);
    });
}

// out[n] += Σ_m x[m, n]: the gradient of a bias.
EXPORT void hipgpt_add_rows(int32_t threads, const float* x, float* out, int64_t M, int64_t N) {
    parallel(threads, N, LINE, M * N, [&](int64_t first, int64_t last) {
        for (int64_t j = first; j < last; j += 4 * W) {
            const int64_t stop = std::min<int64_t>(last, j + 4 * W);
            Vec total[4] = {};
            for (int64_t m = 0; m < M; ++m)
                for (int64_t i = j, v = 0; i < stop; i += W, ++v)
                    total[v] += piece(i, stop).get(x + m * N + i);
            for (int64_t i = j, v = 0; i < stop; i += W, ++v) {
                const Piece p = piece(i, stop);
                p.put(out + i, p.get(out + i) + total[v]);
            }
        }
    });
}

EXPORT void hipgpt_activation_forward(int32_t threads, const float* x, float* out, int64_t rows,
                                      int64_t N, int32_t kind) {
    const int64_t width = kind == SWIGLU ? 2 * N : N;
    parallel(threads, rows, 1, rows * width, [&](int64_t start, int64_t stop) {
        activation_forward_rows(x + start * width, out + start * N, stop - start, N, kind);
    });
}

EXPORT void hipgpt_activation_backward(int32_t threads, const float* dout, const float* x, float* dx,
                                       int64_t rows, int64_t N, int32_t kind) {
    const int64_t width = kind == SWIGLU ? 2 * N : N;
    parallel(threads, rows, 1, rows * width, [&](int64_t start, int64_t stop) {
        activation_backward_rows(dout + start * N, x + start * width, dx + start * width,
                                 stop - start, N, kind);
    });
}

EXPORT void hipgpt_layernorm_forward(int32_t threads, const float* x, const float* weight,
                                     const float* bias, float epsilon, float* out, float* mean,
                                     float* rstd, int64_t rows, int64_t E) {
    parallel(threads, rows, 1, rows * E, [&](int64_t start, int64_t stop) {
        layernorm_forward_rows(x + start * E, weight, bias, epsilon, out + start * E,
                               mean ? mean + start : nullptr, rstd ? rstd + start : nullptr,
                               stop - start, E);
    });
}

// The sums over rows are kept for each span and added in the order of the spans.
EXPORT void hipgpt_layernorm_backward(int32_t threads, const float* dout, const float* x,
                                      const float* weight, const float* mean, const float* rstd,
                                      float* dx, float* dweight, float* dbias, int64_t rows,
                                      int64_t E) {
    const int64_t share = (rows + threads - 1) / threads;
    std::vector<float> sums(2 * E * threads, 0.0f);
    parallel(threads, rows, 1, rows * E, [&](int64_t start, int64_t stop) {
        float* own = sums.data() + 2 * E * (start / share);
        layernorm_backward_rows(dout + start * E, x + start * E, weight, mean + start, rstd + start,
                                dx + start * E, own, own + E, stop - start, E);
    });
    for (int32_t i = 0; i < threads; ++i)
        for (int64_t j = 0; j < E; ++j) {
            dweight[j] += sums[2 * E * i + j];
            dbias[j] += sums[2 * E * i + E + j];
        }
}

EXPORT void hipgpt_cross_entropy(int32_t threads, float* logits, const int32_t* targets,
                                 float* losses, float* correct, int64_t rows, int64_t V,
                                 int32_t backward, float scale) {
    parallel(threads, rows, 1, rows * V, [&](int64_t start, int64_t stop) {
        cross_entropy_rows(logits + start * V, targets + start, losses + start,
                           correct ? correct + start : nullptr, stop - start, V, backward, scale);
    });
}

EXPORT void hipgpt_adamw(int32_t threads, float* weights, const float* gradients, float* m, float* v,
                         int64_t n, float beta1, float beta2, float clip, float first, float second,
                         float step_size, float small, float keep) {
    parallel(threads, n, FLAT, n, [&](int64_t start, int64_t stop) {
        adamw_span(weights + start, gradients + start, m + start, v + start, stop - start, beta1,
                   beta2, clip, first, second, step_size, small, keep);
    });
}

// Σ x², each run of FLAT by itself, so that the sum is the same for any number of threads.
EXPORT double hipgpt_squares(int32_t threads, const float* x, int64_t n) {
    std::vector<double> sums((n + FLAT - 1) / FLAT, 0.0);
    parallel(threads, n, FLAT, n, [&](int64_t start, int64_t stop) {
        for (int64_t i = start; i < stop; i += FLAT)
            sums[i / FLAT] = squares_span(x + i, std::min(FLAT, stop - i));
    });
    double total = 0.0;
    for (const double sum : sums) total += sum;
    return total;
}

EXPORT void hipgpt_dropout(int32_t threads, const float* x, const float* residual, float* out,
                           int64_t n, uint64_t threshold, float scale, uint64_t seed,
                           uint64_t stream) {
    parallel(threads, n, FLAT, n * 8, [&](int64_t start, int64_t stop) {
        dropout_span(x, residual, out, start, stop, threshold, scale, seed, stream);
    });
}

// table[tokens[m]] += dout[m] (E,), row after row; threads get columns.
EXPORT void hipgpt_embedding_backward(int32_t threads, const float* dout, const int32_t* tokens,
                                      float* table, int64_t M, int64_t E) {
    parallel(threads, E, LINE, M * E, [&](int64_t first, int64_t last) {
        for (int64_t m = 0; m < M; ++m) {
            const float* from = dout + m * E;
            float* to = table + tokens[m] * E;
            for (int64_t j = first; j < last; j += W) {
                const Piece p = piece(j, last);
                p.put(to + j, p.get(to + j) + p.get(from + j));
            }
        }
    });
}

// A (B, T, H, D) view: strides in elements of its first three dimensions.
struct View {
    float* data;
    int64_t b, t, h;
    Rows rows(int64_t batch, int64_t head) const { return {data + batch * b + head * h, t}; }
};

// Threads get pairs of batch row and head. k and v hold position + T rows.
EXPORT void hipgpt_attention_forward(int32_t threads, const View* q, const View* k, const View* v,
                                     const View* out, float* lse, int64_t B, int64_t H, int64_t T,
                                     int64_t D, int64_t position, float scale) {
    parallel(threads, B * H, 1, B * H * T * (position + T) * D, [&](int64_t first, int64_t last) {
        for (int64_t unit = first; unit < last; ++unit) {
            const int64_t b = unit / H, h = unit % H;
            attend(q->rows(b, h), k->rows(b, h), v->rows(b, h), out->rows(b, h),
                   lse ? lse + unit * T : nullptr, T, D, position, scale);
        }
    });
}

EXPORT void hipgpt_attention_backward(int32_t threads, const View* dout, const View* q, const View* k,
                                      const View* v, const View* out, const float* lse,
                                      const View* dq, const View* dk, const View* dv, int64_t B,
                                      int64_t H, int64_t T, int64_t D, float scale) {
    parallel(threads, B * H, 1, B * H * T * T * D, [&](int64_t first, int64_t last) {
        for (int64_t unit = first; unit < last; ++unit) {
            const int64_t b = unit / H, h = unit % H;
            attend_backward(dout->rows(b, h), q->rows(b, h), k->rows(b, h), v->rows(b, h),
                            out->rows(b, h), lse + unit * T, dq->rows(b, h), dk->rows(b, h),
                            dv->rows(b, h), T, D, scale);
        }
    });
}

// One token further for each of `rows` rows; see decode.h.
EXPORT void hipgpt_decode(int32_t threads, const DecodeModel* model, const int32_t* tokens,
                          const int32_t* positions, const int32_t* slots, float* logits,
                          int64_t rows) {
    static thread_local Scratch scratch;
    Decode decode(*model, rows, tokens, positions, slots, logits, scratch, threads);
    together(threads, [&](int i, int n) {
        decode.run(i, n);
    });
}

// Bytes of a matrix (rows, K) in a kind of weights.
EXPORT int64_t hipgpt_weight_bytes(int32_t kind, int64_t rows, int64_t K) {
    if (kind == INT8) return rows * ((K + GROUP - 1) / GROUP) * static_cast<int64_t>(sizeof(Group));
    return rows * K * (kind == BF16 ? 2 : 4);
}

// A float32 matrix (rows, K) in another kind of weights.
EXPORT void hipgpt_pack_weights(int32_t threads, int32_t kind, const float* from, void* to,
                                int64_t rows, int64_t K) {
    parallel(threads, rows, 1, rows * K, [&](int64_t start, int64_t stop) {
        if (kind == INT8)
            quantize_rows(from + start * K,
                          static_cast<Group*>(to) + start * ((K + GROUP - 1) / GROUP), stop - start, K);
        else
            shorten(from + start * K, static_cast<uint16_t*>(to) + start * K, (stop - start) * K);
    });
}
