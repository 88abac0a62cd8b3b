// Causal attention by tiles: forward, and a backward in two passes, with nothing kept but lse.
//
//     S = scale * Q * K^T;  P = softmax of S over the keys s <= t;  out = P * V
//     dS = P o (dout * V^T - delta), delta = sum over D of dout o out
//     dQ = scale * dS * K;  dK = scale * dS^T * Q;  dV = P^T * dout
//
// Dao et al. 2022, "FlashAttention", algorithms 2 and 4. The odd thing: all three passes are one shape. A
// wave owns rows (queries in FORWARD and QUERIES, keys in KEYS) and streams the others through LDS;
// each makes scores against them and weighs them with the result. The backward has two passes, seven
// products where five would do, because then no sum crosses blocks: no atomics, the same bits always.
//
// q, k, v, out and the gradients are (B, T, H, D) views: strides of b, t, h in elements, D contiguous.
// lse and delta are (B, H, T) float32. Scores live in the domain of exp2: exponents are S * log2(e).
#include "attention_tiles.h"
#include "attention_unit.h"
#include "attention_stream.h"
#include "overlap.h"

constexpr float LOG2_E = 1.4426950408889634f;

// Everything that is fixed for one element type, head size and pass.
template <class T, int D, int PASS>
struct Plan {
    typedef typename AttentionUnit<T, D>::Type U;
    typedef Tile<AttentionUnit<T, D>::FAMILY, U::KIND, D, PASS> Sizes;
    static constexpr int WAVES = Sizes::WAVES, R = Sizes::TILES, OTHERS = Sizes::OTHERS, N = OTHERS / 16;
    static constexpr int THREADS = WAVES * WAVE;
    static constexpr int OWN = WAVES * R * 16;    // own rows of a block
    static constexpr int SLICE = Sizes::SLICE;
    // The next tiles are asked for while the unit makes the scores. (The backward, which starts two products
    // at once, is a little faster when it asks before.)
    static constexpr bool LATE = U::BEHIND && PASS == FORWARD;
    // Blocks a multiprocessor must have room for: the warpgroup unit needs others to fill its waits, and small
    // heads, which nvcc would give all registers there are, have few products between their waits.
    static constexpr bool SMALL = U::KIND == MATRIX && D == 32;
    static constexpr int BLOCKS = SMALL              ? (PASS == QUERIES ? 4 : 3)
                                  : U::TOGETHER == 1 ? 1
                                  : PASS == FORWARD  ? 4
                                  : PASS == QUERIES  ? 3
                                                     : 2;
    typedef typename U::template Own<D, R, Sizes::KEEP> Own;
    typedef typename U::Acc Acc;

    // First own row of the waves that go together: one wave, or the four of a warpgroup.
    static METHOD int leader() { return wave_index() / U::TOGETHER * U::TOGETHER * R * 16; }
    static METHOD int first() { return wave_index() * R * 16; }
    static constexpr int SPAN = U::TOGETHER * R * 16;  // rows from leader on
};

// Two buffers where NVIDIA's asynchronous copies can fill them and 48 KB hold them.
template <class P, class E, class T>
constexpr METHOD bool two_buffers(int bytes) {
    return HIPGPT_NVIDIA && sizeof(E) == sizeof(T) && 2 * bytes <= 48 * 1024;
}

// Largest of a row, or its sum, over the lanes that share it.
template <class U>
DEVICE float row_max(float x) {
#pragma unroll
    for (int m = U::FIRST; m <= U::LAST; m *= 2) x = fmaxf(x, shuffle_xor(x, m));
    return x;
}
template <class U>
DEVICE float row_sum(float x) {
#pragma unroll
    for (int m = U::FIRST; m <= U::LAST; m *= 2) x += shuffle_xor(x, m);
    return x;
}

// S[own][other] = -inf (or 0 where exponents are already taken) unless allowed.
template <class U, int R, int N, bool KEYS_OWN>
DEVICE void mask(typename U::Acc (&s)[R][N], int own, int other, int end) {
    const float never = -INFINITY_F;
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int r = 0; r < U::ACCS; r++) {
                const int o = own + 16 * i + U::own(r), x = other + 16 * n + U::other(r);
                const bool seen = KEYS_OWN ? (x >= o && x < end) : x <= o;
                s[i][n].v[r] = seen ? s[i][n].v[r] : never;
            }
}

template <class U, int R, int M>
DEVICE void clear(typename U::Acc (&x)[R][M]) {
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
        for (int n = 0; n < M; n++)
#pragma unroll
            for (int r = 0; r < U::ACCS; r++) x[i][n].v[r] = register_zero();
}

// Write the own rows of an output, row `slot` of tile i times factor[i][slot].
template <class U, class T, int R, int M>
DEVICE void write(const typename U::Acc (&x)[R][M], T* p, i64 stride, int own, int rows, int columns,
                  bool wide, const float (&factor)[R][U::ROWS]) {
#pragma unroll
    for (int i = 0; i < R; i++) {
        T* row[U::ROWS];
#pragma unroll
        for (int slot = 0; slot < U::ROWS; slot++) {
            const int at = own + 16 * i + U::own(2 * slot);
            row[slot] = at < rows ? p + at * stride : nullptr;
        }
#pragma unroll
        for (int t = 0; t < M; t++) U::store(x[i][t], row, t, columns, wide, factor[i]);
    }
}

#if defined(ATTENTION_WGMMA)
// The same for whole rows of 64 columns, through LDS, so that a row leaves as 128 bytes: nobody reads
// the panels any more, and each wave takes 2 KB of their place.
template <class U, class T>
DEVICE void write_whole(unsigned char* lds, const typename U::Acc (&x)[1][4], T* p, i64 stride, int own, int rows,
                        const float (&factor)[1][U::ROWS]) {
    const Panel<T, 64> strip{(T*)lds + wave_index() * 16 * 64};
    const int l = lane();
    wave_barrier();  // the last that was written here has been read
#pragma unroll
    for (int t = 0; t < 4; t++) {
        typename U::Acc scaled;
#pragma unroll
        for (int r = 0; r < U::ACCS; r++) scaled.v[r] = x[0][t].v[r] * factor[0][U::slot(r)];
        Operand a;
        U::rounded(a, scaled);
        asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                         shared_address(strip.at(l % 16, 16 * t + 8 * (l / 16)))),
                     "r"(a.w[0]), "r"(a.w[1]), "r"(a.w[2]), "r"(a.w[3])
                     : "memory");
    }
    wave_barrier();
    p += (own + l / 8) * stride + l % 8 * 8;
#pragma unroll
    for (int turn = 0; turn < 4; turn++) {
        const int row = 4 * turn + l / 8;
        if (own + row < rows) store((u32*)p, read<4>((const u32*)strip.at(row, l % 8 * 8)));
        p += 4 * stride;
    }
}
#endif

// One step of the online softmax: s becomes exp2(s * unit - the row's maximum). The maximum only keeps exp2 in
// range, so it stays as it is until a row passes it by 2^8: then `grown`, and all sums so far take `factor`.
template <class U, int R, int N>
DEVICE void soften(typename U::Acc (&s)[R][N], float (&most)[R][U::ROWS], float (&sum)[R][U::ROWS], float unit,
                   float (&factor)[R][U::ROWS], bool (&grown)[R]) {
#pragma unroll
    for (int i = 0; i < R; i++) {
        float largest[U::ROWS];
        bool larger = false;
#pragma unroll
        for (int slot = 0; slot < U::ROWS; slot++) {
            float of_tile[N];  // separate, so that they do not wait for one another
#pragma unroll
            for (int n = 0; n < N; n++) {
                of_tile[n] = s[i][n].v[U::first_of(slot)];
#pragma unroll
                for (int r = U::first_of(slot) + 1; r < U::ACCS; r++)
                    if (U::slot(r) == slot) of_tile[n] = fmaxf(of_tile[n], s[i][n].v[r]);
            }
#pragma unroll
            for (int m = 1; m < N; m *= 2)
#pragma unroll
                for (int n = 0; n + m < N; n += 2 * m) of_tile[n] = fmaxf(of_tile[n], of_tile[n + m]);
            largest[slot] = row_max<U>(of_tile[0]);
            larger = larger || (largest[slot] - most[i][slot]) * unit > 8.0f;
        }
        grown[i] = wave_any(larger);
        if (grown[i]) {
#pragma unroll
            for (int slot = 0; slot < U::ROWS; slot++) {
                // By row, so that no bit of a row depends on what its neighbours are.
                const float before = most[i][slot];
                const bool passed = (largest[slot] - before) * unit > 8.0f;
                most[i][slot] = passed ? largest[slot] : before;
                factor[i][slot] = passed ? fast_exp2((before - largest[slot]) * unit) : 1.0f;
                sum[i][slot] *= factor[i][slot];
            }
        }
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int r = 0; r < U::ACCS; r++)
                s[i][n].v[r] = U::power(s[i][n].v[r], unit, most[i][U::slot(r)]);
    }
}

// sum += the rows of p. A sum a tile, so that they do not wait for one another.
template <class U, int R, int N>
DEVICE void add_rows(float (&sum)[R][U::ROWS], const typename U::Acc (&p)[R][N]) {
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int slot = 0; slot < U::ROWS; slot++) {
                float of_tile = p[i][n].v[U::first_of(slot)];
#pragma unroll
                for (int r = U::first_of(slot) + 1; r < U::ACCS; r++)
                    if (U::slot(r) == slot) of_tile += p[i][n].v[r];
                sum[i][slot] += of_tile;
            }
}

template <class U, int R, int M>
DEVICE void rescale(typename U::Acc (&x)[R][M], const float (&factor)[R][U::ROWS], const bool (&grown)[R]) {
#pragma unroll
    for (int i = 0; i < R; i++)
        if (grown[i]) {
#pragma unroll
            for (int t = 0; t < M; t++)
#pragma unroll
                for (int r = 0; r < U::ACCS; r++) x[i][t].v[r] *= factor[i][U::slot(r)];
        }
}

// --- forward ---------------------------------------------------------------------------------------

template <class T, int D>
DEVICE void forward(unsigned char* lds, const T* q, const T* k, const T* v, T* out, float* lse, i64 q_b,
                    int q_t, int q_h, i64 k_b, int k_t, int k_h, i64 v_b, int v_t, int v_h, i64 out_b,
                    int out_t, int out_h, int rows, int H, int columns, int position, float scale,
                    int wide) {
    typedef Plan<T, D, FORWARD> Q;
    typedef typename Q::U U;
    constexpr int R = Q::R, N = Q::N, ROWS = U::ROWS;
    typedef Stream<T, U, Q::OTHERS, D, Q::THREADS, true, false> Keys;
    typedef Stream<T, U, Q::OTHERS, D, Q::THREADS, false, true> Values;
    constexpr int BYTES = Keys::BYTES + Values::BYTES;
    constexpr bool DOUBLE = two_buffers<Q, typename U::Element, T>(BYTES);

    // The last tile of queries sees the most keys: it starts first.
    const int tiles = ceil_div(rows, Q::OWN), id = block_index();
    const int tile = tiles - 1 - id % tiles, b = id / tiles / H, h = id / tiles % H;
    const int own = tile * Q::OWN + Q::first(), leader = tile * Q::OWN + Q::leader();
    const int end = minimum(position + rows, position + (tile + 1) * Q::OWN);  // keys

    Keys keys{{k + b * k_b + h * (i64)k_h, k_t, end, columns, (bool)wide}, 0};
    Values values{{v + b * v_b + h * (i64)v_h, v_t, end, columns, (bool)wide}, 0};
    keys.template fetch<DOUBLE>(lds, 0);
    values.template fetch<DOUBLE>(lds + Keys::BYTES, 0);
    typename Q::Own mine;
    mine.load(q + b * q_b + h * (i64)q_h, q_t, own, rows, columns, wide);

    typename Q::Acc sum_of_values[R][D / 16];
    clear<U>(sum_of_values);
    float most[R][ROWS], sum[R][ROWS];
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
        for (int slot = 0; slot < ROWS; slot++) most[i][slot] = -INFINITY_F, sum[i][slot] = 0.0f;
    const float unit = scale * LOG2_E;

// Unrolled where products run behind, so that the addresses of both buffers are constants.
#pragma unroll U::BEHIND ? 2 : 1
    for (int other = 0, turn = 0; other < end; other += Q::OTHERS, turn ^= DOUBLE) {
        unsigned char* buffer = lds + turn * BYTES;
        keys.template land<DOUBLE>(buffer, other);
        values.template land<DOUBLE>(buffer + Keys::BYTES, other);
        U::published();
        local_barrier();
        const auto ahead = [&] {
            if (other + Q::OTHERS >= end) return;
            unsigned char* next = lds + (DOUBLE ? (turn ^ 1) * BYTES : 0);
            keys.template fetch<DOUBLE>(next, other + Q::OTHERS);
            values.template fetch<DOUBLE>(next + Keys::BYTES, other + Q::OTHERS);
        };
        const bool sees = other < position + leader + Q::SPAN;
        if (!Q::LATE || !sees) ahead();
        if (sees) {
            typename Q::Acc s[R][N];
            U::template scores<D>(s, mine, Keys::plain(buffer));
            if (Q::LATE) ahead();
            U::template wait<0>(s);
            if (other + Q::OTHERS > position + leader + 1) mask<U, R, N, false>(s, position + own, other, 0);
            float factor[R][ROWS];
            bool grown[R];
            soften<U>(s, most, sum, unit, factor, grown);
            rescale<U>(sum_of_values, factor, grown);
            if (!U::BEHIND) add_rows<U>(sum, s);
            U::template weigh<D>(sum_of_values, s, Values::turned(buffer + Keys::BYTES), 0);
            if (U::BEHIND) add_rows<U>(sum, s);
            U::template wait<0>(sum_of_values);
        }
        if (!DOUBLE) local_barrier();
    }

    float factor[R][ROWS];
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
        for (int slot = 0; slot < ROWS; slot++) {
            const float total = row_sum<U>(sum[i][slot]);
            factor[i][slot] = 1.0f / total;
            const int row = own + 16 * i + U::own(2 * slot);
            if (lse != nullptr && row < rows && U::writes_row())
                lse[(i64)(b * H + h) * rows + row] = fmaf(most[i][slot], scale, logf(total));
        }
#if defined(ATTENTION_WGMMA)
    if constexpr (U::BEHIND) {
        if (wide && columns == D) {
            local_barrier();
            return write_whole<U>(lds, sum_of_values, out + b * out_b + h * (i64)out_h, out_t, own, rows, factor);
        }
    }
#endif
    write<U, T>(sum_of_values, out + b * out_b + h * (i64)out_h, out_t, own, rows, columns, wide, factor);
}

// --- backward, queries: delta and dQ ---------------------------------------------------------------

// Sum over D of dout o out for the own rows of this lane; the lanes that share a row share its columns.
template <class U, int D, class T>
DEVICE float row_dot(const T* x, const T* y, int columns, bool wide) {
    constexpr int PIECE = 16 / (int)sizeof(T);
    float sum = 0.0f;
    constexpr int STEP = U::SHARERS * PIECE;
    const int first = U::sharer() * PIECE;
    if (wide) {
#pragma unroll
        for (int n = 0; n < (D + STEP - 1) / STEP; n++) {
            if (n * STEP + first >= columns) continue;
            const Pack<float, PIECE> a = to_float(read<PIECE>(x + n * STEP + first));
            const Pack<float, PIECE> d = to_float(read<PIECE>(y + n * STEP + first));
#pragma unroll
            for (int e = 0; e < PIECE; e++) sum = fmaf(a[e], d[e], sum);
        }
    } else {
        for (int c = U::sharer(); c < columns; c += U::SHARERS) sum = fmaf(to_float(x[c]), to_float(y[c]), sum);
    }
    return row_sum<U>(sum);
}

template <class T, int D>
DEVICE void backward_queries(unsigned char* lds, const T* dout, const T* q, const T* k, const T* v,
                             const T* out, const float* lse, float* delta, T* dq, i64 dout_b, int dout_t,
                             int dout_h, i64 q_b, int q_t, int q_h, i64 k_b, int k_t, int k_h, i64 v_b,
                             int v_t, int v_h, i64 out_b, int out_t, int out_h, i64 dq_b, int dq_t,
                             int dq_h, int rows, int H, int columns, float scale, int wide) {
    typedef Plan<T, D, QUERIES> Q;
    typedef typename Q::U U;
    constexpr int R = Q::R, N = Q::N, ROWS = U::ROWS;
    typedef Stream<T, U, Q::OTHERS, D, Q::THREADS, true, true> Keys;
    typedef Stream<T, U, Q::OTHERS, D, Q::THREADS, true, false> Values;
    constexpr int BYTES = Keys::BYTES + Values::BYTES;
    constexpr bool DOUBLE = two_buffers<Q, typename U::Element, T>(BYTES);

    const int tiles = ceil_div(rows, Q::OWN), id = block_index();
    const int tile = tiles - 1 - id % tiles, b = id / tiles / H, h = id / tiles % H;
    const int own = tile * Q::OWN + Q::first(), leader = tile * Q::OWN + Q::leader();
    const int end = minimum(rows, (tile + 1) * Q::OWN);
    const T* gradient = dout + b * dout_b + h * (i64)dout_h;
    const T* result = out + b * out_b + h * (i64)out_h;

    Keys keys{{k + b * k_b + h * (i64)k_h, k_t, end, columns, (bool)wide}, 0};
    Values values{{v + b * v_b + h * (i64)v_h, v_t, end, columns, (bool)wide}, 0};
    keys.template fetch<DOUBLE>(lds, 0);
    values.template fetch<DOUBLE>(lds + Keys::BYTES, 0);
    typename Q::Own mine, mine_gradient;
    mine.load(q + b * q_b + h * (i64)q_h, q_t, own, rows, columns, wide);
    mine_gradient.load(gradient, dout_t, own, rows, columns, wide);

    float log2_sum[R][ROWS], row_delta[R][ROWS];  // of the own rows
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
        for (int slot = 0; slot < ROWS; slot++) {
            const int row = own + 16 * i + U::own(2 * slot), at = minimum(row, rows - 1);
            const i64 place = (i64)(b * H + h) * rows + at;
            log2_sum[i][slot] = lse[place] * LOG2_E;
            row_delta[i][slot] = row_dot<U, D>(gradient + at * (i64)dout_t, result + at * (i64)out_t, columns, wide);
            if (row < rows && U::writes_row()) delta[place] = row_delta[i][slot];
        }
    typename Q::Acc sum[R][D / 16];
    clear<U>(sum);
    const float unit = scale * LOG2_E;

#pragma unroll U::BEHIND ? 2 : 1
    for (int other = 0, turn = 0; other < end; other += Q::OTHERS, turn ^= DOUBLE) {
        unsigned char* buffer = lds + turn * BYTES;
        keys.template land<DOUBLE>(buffer, other);
        values.template land<DOUBLE>(buffer + Keys::BYTES, other);
        U::published();
        local_barrier();
        const auto ahead = [&] {
            if (other + Q::OTHERS >= end) return;
            unsigned char* next = lds + (DOUBLE ? (turn ^ 1) * BYTES : 0);
            keys.template fetch<DOUBLE>(next, other + Q::OTHERS);
            values.template fetch<DOUBLE>(next + Keys::BYTES, other + Q::OTHERS);
        };
        const bool sees = other < leader + Q::SPAN;
        if (!Q::LATE || !sees) ahead();
        if (sees) {
            typename Q::Acc s[R][N], ds[R][N];
            U::template scores<D>(s, mine, Keys::plain(buffer));
            U::template scores<D>(ds, mine_gradient, Values::plain(buffer + Keys::BYTES));
            if (Q::LATE) ahead();
            U::template wait<1>(s);
            if (other + Q::OTHERS > leader + 1) mask<U, R, N, false>(s, own, other, 0);
#pragma unroll
            for (int i = 0; i < R; i++)
#pragma unroll
                for (int n = 0; n < N; n++)
#pragma unroll
                    for (int r = 0; r < U::ACCS; r++)
                        s[i][n].v[r] = fast_exp2(fmaf(s[i][n].v[r], unit, -log2_sum[i][U::slot(r)]));
            U::template wait<0>(ds);
#pragma unroll
            for (int i = 0; i < R; i++)
#pragma unroll
                for (int n = 0; n < N; n++)
#pragma unroll
                    for (int r = 0; r < U::ACCS; r++)
                        ds[i][n].v[r] = s[i][n].v[r] * (ds[i][n].v[r] - row_delta[i][U::slot(r)]);
            U::template weigh<D>(sum, ds, Keys::turned(buffer), 0);
            U::template wait<0>(sum);
        }
        if (!DOUBLE) local_barrier();
    }

    float factor[R][ROWS];
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
        for (int slot = 0; slot < ROWS; slot++) factor[i][slot] = scale;
#if defined(ATTENTION_WGMMA)
    if constexpr (U::BEHIND) {
        if (wide && columns == D) {
            local_barrier();
            return write_whole<U>(lds, sum, dq + b * dq_b + h * (i64)dq_h, dq_t, own, rows, factor);
        }
    }
#endif
    write<U, T>(sum, dq + b * dq_b + h * (i64)dq_h, dq_t, own, rows, columns, wide, factor);
}

// --- backward, keys: dK and dV ---------------------------------------------------------------------

template <class T, int D>
DEVICE void backward_keys(unsigned char* lds, const T* dout, const T* q, const T* k, const T* v,
                          const float* lse, const float* delta, T* dk, T* dv, i64 dout_b, int dout_t,
                          int dout_h, i64 q_b, int q_t, int q_h, i64 k_b, int k_t, int k_h, i64 v_b,
                          int v_t, int v_h, i64 dk_b, int dk_t, int dk_h, i64 dv_b, int dv_t, int dv_h,
                          int rows, int H, int columns, float scale, int wide) {
    typedef Plan<T, D, KEYS> Q;
    typedef typename Q::U U;
    constexpr int R = Q::R, N = Q::N, ROWS = U::ROWS, SLICE = Q::SLICE, SLICES = D / SLICE;
    typedef Stream<T, U, Q::OTHERS, D, Q::THREADS, true, true, SLICE> Others;
    constexpr int BYTES = 2 * Others::BYTES;
    constexpr bool DOUBLE = two_buffers<Q, typename U::Element, T>(BYTES);
    float* statistics = (float*)(lds + (DOUBLE ? 2 : 1) * BYTES);  // (2, OTHERS): lse * log2(e), delta

    // The first keys are seen by the most queries: they start first.
    const int tiles = ceil_div(rows, Q::OWN), id = block_index() / SLICES;
    const int from = block_index() % SLICES * SLICE;
    const int tile = id % tiles, b = id / tiles / H, h = id / tiles % H;
    const int own = tile * Q::OWN + Q::first(), leader = tile * Q::OWN + Q::leader();
    const int begin = tile * Q::OWN / Q::OTHERS * Q::OTHERS;  // queries
    const i64 place = (i64)(b * H + h) * rows;

    Others queries{{q + b * q_b + h * (i64)q_h, q_t, rows, columns, (bool)wide}, from};
    Others gradients{{dout + b * dout_b + h * (i64)dout_h, dout_t, rows, columns, (bool)wide}, from};

    queries.template fetch<DOUBLE>(lds, begin);
    gradients.template fetch<DOUBLE>(lds + Others::BYTES, begin);
    const int row = minimum(begin + thread_index() % Q::OTHERS, rows - 1);  // whose statistics this thread brings
    float row_sum_log = lse[place + row], row_delta = delta[place + row];
    typename Q::Own mine_keys, mine_values;
    mine_keys.load(k + b * k_b + h * (i64)k_h, k_t, own, rows, columns, wide);
    mine_values.load(v + b * v_b + h * (i64)v_h, v_t, own, rows, columns, wide);

    typename Q::Acc sum_keys[R][SLICE / 16], sum_values[R][SLICE / 16];
    clear<U>(sum_keys);
    clear<U>(sum_values);
    const float unit = scale * LOG2_E;
    static_assert(Q::OTHERS <= Q::THREADS, "a thread brings one row's statistics");

#pragma unroll U::BEHIND ? 2 : 1
    for (int other = begin, turn = 0; other < rows; other += Q::OTHERS, turn ^= DOUBLE) {
        unsigned char* buffer = lds + turn * BYTES;
        float* numbers = statistics + turn * 2 * Q::OTHERS;
        if (thread_index() < Q::OTHERS) {
            numbers[thread_index()] = row_sum_log * LOG2_E;
            numbers[Q::OTHERS + thread_index()] = row_delta;
        }
        queries.template land<DOUBLE>(buffer, other);
        gradients.template land<DOUBLE>(buffer + Others::BYTES, other);
        U::published();
        local_barrier();
        const auto ahead = [&] {
            if (other + Q::OTHERS >= rows) return;
            unsigned char* next = lds + (DOUBLE ? (turn ^ 1) * BYTES : 0);
            queries.template fetch<DOUBLE>(next, other + Q::OTHERS);
            gradients.template fetch<DOUBLE>(next + Others::BYTES, other + Q::OTHERS);
            const int row = minimum(other + Q::OTHERS + thread_index() % Q::OTHERS, rows - 1);
            row_sum_log = lse[place + row], row_delta = delta[place + row];
        };
        const bool sees = other + Q::OTHERS > leader;
        if (!Q::LATE || !sees) ahead();
        if (sees) {
            typename Q::Acc s[R][N], ds[R][N];
            U::template scores<D>(s, mine_keys, Others::plain(buffer));
            U::template scores<D>(ds, mine_values, Others::plain(buffer + Others::BYTES));
            if (Q::LATE) ahead();
            U::template wait<1>(s);
            if (other < leader + Q::SPAN || other + Q::OTHERS > rows)
                mask<U, R, N, true>(s, own, other, rows);
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int r = 0; r < U::ACCS; r++) {
                    const float most = numbers[16 * n + U::other(r)];
#pragma unroll
                    for (int i = 0; i < R; i++)
                        s[i][n].v[r] = fast_exp2(fmaf(s[i][n].v[r], unit, -most));
                }
            U::template wait<0>(ds);
            U::template weigh<SLICE>(sum_values, s, Others::turned(buffer + Others::BYTES), gradients.slice());
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int r = 0; r < U::ACCS; r++) {
                    const float d = numbers[Q::OTHERS + 16 * n + U::other(r)];
#pragma unroll
                    for (int i = 0; i < R; i++) ds[i][n].v[r] = s[i][n].v[r] * (ds[i][n].v[r] - d);
                }
            U::template weigh<SLICE>(sum_keys, ds, Others::turned(buffer), queries.slice());
            U::template wait<0>(sum_keys);
            U::template wait<0>(sum_values);
        }
        if (!DOUBLE) local_barrier();
    }

    float factor[R][ROWS], one[R][ROWS];
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
        for (int slot = 0; slot < ROWS; slot++) factor[i][slot] = scale, one[i][slot] = 1.0f;
#if defined(ATTENTION_WGMMA)
    if constexpr (U::BEHIND) {
        if (wide && columns == D) {
            local_barrier();
            write_whole<U>(lds, sum_keys, dk + b * dk_b + h * (i64)dk_h, dk_t, own, rows, factor);
            return write_whole<U>(lds, sum_values, dv + b * dv_b + h * (i64)dv_h, dv_t, own, rows, one);
        }
    }
#endif
    write<U, T>(sum_keys, dk + b * dk_b + h * (i64)dk_h + from, dk_t, own, rows, columns - from, wide, factor);
    write<U, T>(sum_values, dv + b * dv_b + h * (i64)dv_h + from, dv_t, own, rows, columns - from, wide, one);
}

// --- instances: attention_{forward,backward_queries,backward_keys}_<type>_<D> ---------------------------

template <class T, int D>
constexpr METHOD int forward_bytes() {
    typedef Plan<T, D, FORWARD> Q;
    typedef typename Q::U U;
    constexpr int bytes = Stream<T, U, Q::OTHERS, D, Q::THREADS, true, false>::BYTES +
                          Stream<T, U, Q::OTHERS, D, Q::THREADS, false, true>::BYTES;
    return two_buffers<Q, typename U::Element, T>(bytes) ? 2 * bytes : bytes;
}
template <class T, int D>
constexpr METHOD int queries_bytes() {
    typedef Plan<T, D, QUERIES> Q;
    typedef typename Q::U U;
    constexpr int bytes = Stream<T, U, Q::OTHERS, D, Q::THREADS, true, true>::BYTES +
                          Stream<T, U, Q::OTHERS, D, Q::THREADS, true, false>::BYTES;
    return two_buffers<Q, typename U::Element, T>(bytes) ? 2 * bytes : bytes;
}
template <class T, int D>
constexpr METHOD int keys_bytes() {
    typedef Plan<T, D, KEYS> Q;
    typedef typename Q::U U;
    constexpr int bytes = 2 * Stream<T, U, Q::OTHERS, D, Q::THREADS, true, true, Q::SLICE>::BYTES;
    constexpr int statistics = 2 * Q::OTHERS * (int)sizeof(float);
    return two_buffers<Q, typename U::Element, T>(bytes + statistics) ? 2 * (bytes + statistics) : bytes + statistics;
}

// They do not let the next kernel in early: its blocks, waiting, would take room that blocks of a product on the
// other stream could have.
#define INSTANCES(T, NAME, D)                                                                             \
    KERNEL_LIMIT((Plan<T, D, FORWARD>::THREADS), 1, (Plan<T, D, FORWARD>::BLOCKS))                                                               \
    void attention_forward_##NAME##_##D(                                                                  \
        const T* q, const T* k, const T* v, T* out, float* lse, const int* position_pointer, i64 q_b,     \
        i64 k_b, i64 v_b, i64 out_b, int q_t, int q_h, int k_t, int k_h, int v_t, int v_h, int out_t,     \
        int out_h, int rows, int H, int columns, int position, float scale, int wide) {                   \
        SHARED __attribute__((aligned(1024))) unsigned char lds[forward_bytes<T, D>()];                   \
        await_previous();                                                                                 \
        forward<T, D>(lds, q, k, v, out, lse, q_b, q_t, q_h, k_b, k_t, k_h, v_b, v_t, v_h, out_b, out_t,  \
                      out_h, rows, H, columns, position_pointer ? *position_pointer : position, scale,    \
                      wide);                                                                              \
    }                                                                                                     \
    KERNEL_LIMIT((Plan<T, D, QUERIES>::THREADS), 1, (Plan<T, D, QUERIES>::BLOCKS))                                                               \
    void attention_backward_queries_##NAME##_##D(                                                         \
        const T* dout, const T* q, const T* k, const T* v, const T* out, const float* lse, float* delta,  \
        T* dq, i64 dout_b, i64 q_b, i64 k_b, i64 v_b, i64 out_b, i64 dq_b, int dout_t, int dout_h,        \
        int q_t, int q_h, int k_t, int k_h, int v_t, int v_h, int out_t, int out_h, int dq_t, int dq_h,   \
        int rows, int H, int columns, float scale, int wide) {                                            \
        SHARED __attribute__((aligned(1024))) unsigned char lds[queries_bytes<T, D>()];                   \
        await_previous();                                                                                 \
        backward_queries<T, D>(lds, dout, q, k, v, out, lse, delta, dq, dout_b, dout_t, dout_h, q_b, q_t, \
                               q_h, k_b, k_t, k_h, v_b, v_t, v_h, out_b, out_t, out_h, dq_b, dq_t, dq_h,  \
                               rows, H, columns, scale, wide);                                            \
    }                                                                                                     \
    KERNEL_LIMIT((Plan<T, D, KEYS>::THREADS), 1, (Plan<T, D, KEYS>::BLOCKS))                                                                  \
    void attention_backward_keys_##NAME##_##D(                                                            \
        const T* dout, const T* q, const T* k, const T* v, const float* lse, const float* delta, T* dk,   \
        T* dv, i64 dout_b, i64 q_b, i64 k_b, i64 v_b, i64 dk_b, i64 dv_b, int dout_t, int dout_h,         \
        int q_t, int q_h, int k_t, int k_h, int v_t, int v_h, int dk_t, int dk_h, int dv_t, int dv_h,     \
        int rows, int H, int columns, float scale, int wide) {                                            \
        SHARED __attribute__((aligned(1024))) unsigned char lds[keys_bytes<T, D>()];                      \
        await_previous();                                                                                 \
        backward_keys<T, D>(lds, dout, q, k, v, lse, delta, dk, dv, dout_b, dout_t, dout_h, q_b, q_t,     \
                            q_h, k_b, k_t, k_h, v_b, v_t, v_h, dk_b, dk_t, dk_h, dv_b, dv_t, dv_h, rows,  \
                            H, columns, scale, wide);                                                     \
    }
#define SIZES(T, NAME) \
    INSTANCES(T, NAME, 16) INSTANCES(T, NAME, 32) INSTANCES(T, NAME, 64) INSTANCES(T, NAME, 128) INSTANCES(T, NAME, 256)

SIZES(float, f32)
SIZES(bf16, bf16)
SIZES(f16, f16)
