// The functions that Python calls, one thread's share each. Compiled once for every instruction set
// (see hatch_build.py); library.py loads the widest that the processor executes.
#include "activation.h"
#include "adamw.h"
#include "attention.h"
#include "cross_entropy.h"
#include "dropout.h"
#include "gemm.h"
#include "layernorm.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

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

// Floats of a vector of this library.
EXPORT int32_t hipgpt_own_width() { return W; }

EXPORT void hipgpt_gemm(int64_t M, int64_t N, int64_t K, const float* a, int64_t a_row,
                        int64_t a_column, const float* b, int64_t b_row, int64_t b_column, float* c,
                        int64_t ldc, int32_t add, const Epilogue* epilogue) {
    gemm(M, N, K, {a, a_row, a_column}, {b, b_row, b_column}, c, ldc, add != 0, epilogue);
}

// out[n] += Σ_m x[m, n], the gradient of a bias, for columns that begin at x and out.
EXPORT void hipgpt_add_rows(const float* x, int64_t ldx, float* out, int64_t M, int64_t N) {
    for (int64_t j = 0; j < N; j += 4 * W) {
        const int64_t stop = std::min<int64_t>(N, j + 4 * W);
        Vec total[4] = {};
        for (int64_t m = 0; m < M; ++m)
            for (int64_t i = j, v = 0; i < stop; i += W, ++v)
                total[v] += piece(i, stop).get(x + m * ldx + i);
        for (int64_t i = j, v = 0; i < stop; i += W, ++v) {
            const Piece p = piece(i, stop);
            p.put(out + i, p.get(out + i) + total[v]);
        }
    }
}

EXPORT void hipgpt_activation_forward(const float* x, float* out, int64_t rows, int64_t N,
                                      int32_t kind) {
    activation_forward_rows(x, out, rows, N, kind);
}

EXPORT void hipgpt_activation_backward(const float* dout, const float* x, float* dx, int64_t rows,
                                       int64_t N, int32_t kind) {
    activation_backward_rows(dout, x, dx, rows, N, kind);
}

EXPORT void hipgpt_layernorm_forward(const float* x, const float* weight, const float* bias,
                                     float epsilon, float* out, float* mean, float* rstd,
                                     int64_t rows, int64_t E) {
    layernorm_forward_rows(x, weight, bias, epsilon, out, mean, rstd, rows, E);
}

EXPORT void hipgpt_layernorm_backward(const float* dout, const float* x, const float* weight,
                                      const float* mean, const float* rstd, float* dx,
                                      float* sum_weight, float* sum_bias, int64_t rows, int64_t E) {
    layernorm_backward_rows(dout, x, weight, mean, rstd, dx, sum_weight, sum_bias, rows, E);
}

EXPORT void hipgpt_cross_entropy(float* logits, const int32_t* targets, float* losses, float* correct,
                                 int64_t rows, int64_t V, int32_t backward, float scale) {
    cross_entropy_rows(logits, targets, losses, correct, rows, V, backward, scale);
}

EXPORT void hipgpt_adamw(float* weights, const float* gradients, float* m, float* v, int64_t n,
                         float beta1, float beta2, float clip, float first, float second,
                         float step_size, float small, float keep) {
    adamw_span(weights, gradients, m, v, n, beta1, beta2, clip, first, second, step_size, small,
               keep);
}

EXPORT double hipgpt_squares(const float* x, int64_t n) { return squares_span(x, n); }

EXPORT void hipgpt_dropout(const float* x, const float* residual, float* out, int64_t start,
                           int64_t stop, uint64_t threshold, float scale, uint64_t seed,
                           uint64_t stream) {
    dropout_span(x, residual, out, start, stop, threshold, scale, seed, stream);
}

// table[tokens[m], first … last − 1] += dout[m, first … last − 1], row after row.
EXPORT void hipgpt_embedding_backward(const float* dout, const int32_t* tokens, float* table,
                                      int64_t M, int64_t E, int64_t first, int64_t last) {
    for (int64_t m = 0; m < M; ++m) {
        const float* from = dout + m * E;
        float* to = table + tokens[m] * E;
        for (int64_t j = first; j < last; j += W) {
            const Piece p = piece(j, last);
            p.put(to + j, p.get(to + j) + p.get(from + j));
        }
    }
}

// A (B, T, H, D) view: strides in elements of its first three dimensions.
struct View {
    float* data;
    int64_t b, t, h;
    Rows rows(int64_t batch, int64_t head) const { return {data + batch * b + head * h, t}; }
};

// Units first … last − 1 of B·H pairs of batch row and head. k and v hold position + T rows.
EXPORT void hipgpt_attention_forward(const View* q, const View* k, const View* v, const View* out,
                                     float* lse, int64_t H, int64_t T, int64_t D, int64_t position,
                                     float scale, int64_t first, int64_t last) {
    for (int64_t unit = first; unit < last; ++unit) {
        const int64_t b = unit / H, h = unit % H;
        attend(q->rows(b, h), k->rows(b, h), v->rows(b, h), out->rows(b, h),
               lse ? lse + unit * T : nullptr, T, D, position, scale);
    }
}

EXPORT void hipgpt_attention_backward(const View* dout, const View* q, const View* k, const View* v,
                                      const View* out, const float* lse, const View* dq,
                                      const View* dk, const View* dv, int64_t H, int64_t T, int64_t D,
                                      float scale, int64_t first, int64_t last) {
    for (int64_t unit = first; unit < last; ++unit) {
        const int64_t b = unit / H, h = unit % H;
        attend_backward(dout->rows(b, h), q->rows(b, h), k->rows(b, h), v->rows(b, h),
                        out->rows(b, h), lse + unit * T, dq->rows(b, h), dk->rows(b, h),
                        dv->rows(b, h), T, D, scale);
    }
}
