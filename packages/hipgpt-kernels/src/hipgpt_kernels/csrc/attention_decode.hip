// Attention over a KV cache: append new keys and values, and attend from one token.
//
// A single query has no tile to fill a matrix unit with: reading the cache is all the work, so this kernel
// only spreads the reading. The keys are cut into chunks, a block for each (row, head, chunk); eight lanes share
// a key, 16 bytes each at a time. Where there is more than one chunk, `combine` adds them in order
// (Dao et al. 2023, "Flash-Decoding"); no atomics. Several queries (a prompt) go through
// attention.hip after `append`.
//
// The odd thing: the token's own key and value are used as they come, while the block that holds their
// chunk also writes them to the cache, so one launch does both. `position` may lie on the device, where a
// captured graph finds it anew for each token; then the grid is cut for the whole cache, and chunks
// after the position end at once.
#include "device.h"

constexpr int THREADS = 128;
constexpr int LANES = 8;                  // lanes that share a key
constexpr int GROUPS = THREADS / LANES;   // keys at a time
constexpr int AHEAD = 4;                  // keys that a lane loads before it uses the first
constexpr int CHUNK = 1024;               // most keys of a chunk: their scores lie in LDS
constexpr int LARGEST = 256;              // most columns
constexpr float LOG2_E = 1.4426950408889634f;

// As device.h's load, through a value of its own: nvcc reads memory byte by byte when bit_cast is given it
// by reference.
template <int N, class T>
DEVICE Pack<T, N> read(const T* p) {
    typedef typename RawBytes<(int)sizeof(T) * N>::type Raw;
    const Raw raw = *reinterpret_cast<const Raw*>(p);
    return bit_cast<Pack<T, N>>(raw);
}

// 16 bytes of a row from column c, zeros past its end.
template <class T>
DEVICE Pack<T, PACK<T>> piece(const T* row, int c, int columns, bool wide) {
    Pack<T, PACK<T>> pack = {};
    if (wide) {
        if (c < columns) pack = read<PACK<T>>(row + c);
    } else {
#pragma unroll
        for (int e = 0; e < PACK<T>; e++)
            if (c + e < columns) pack[e] = row[c + e];
    }
    return pack;
}

// Sum over the lanes that share a key.
DEVICE float key_sum(float x) {
#pragma unroll
    for (int m = 1; m < LANES; m *= 2) x += shuffle_xor(x, m);
    return x;
}

// q, k, v, out (B, 1, H, D) by strides; caches (B, H, S, D); partial (B, H, chunks, 2 + D) float32: the largest
// score in the domain of exp2, the sum, and the weighted values.
template <class T>
DEVICE void decode(const T* q, const T* k, const T* v, T* k_cache, T* v_cache, T* out, float* partial, i64 q_b,
                   i64 k_b, i64 v_b, i64 out_b, int q_h, int k_h, int v_h, int out_h, int H, int S, int columns,
                   int position, float scale, int chunks, int chunk, int wide) {
    constexpr int PIECE = PACK<T>, ACROSS = LANES * PIECE, MOST = LARGEST / ACROSS;
    SHARED float scores[CHUNK];
    SHARED float sums[GROUPS * LARGEST];
    const int id = block_index() / chunks, part = block_index() % chunks, b = id / H, h = id % H;
    const int keys = position + 1, begin = part * chunk, end = minimum(begin + chunk, keys);
    if (position < 0 || position >= S || begin >= keys) return;  // the whole block
    const i64 rows = (i64)id * S * columns;
    const T* key_new = k + b * k_b + h * (i64)k_h;
    const T* value_new = v + b * v_b + h * (i64)v_h;
    const int group = thread_index() / LANES, first = thread_index() % LANES * PIECE;

    if (end == keys)
        for (int c = thread_index(); c < columns; c += THREADS) {
            k_cache[rows + (i64)position * columns + c] = key_new[c];
            v_cache[rows + (i64)position * columns + c] = value_new[c];
        }

    float mine[MOST][PIECE];  // this lane's columns of the query, scaled into the domain of exp2
#pragma unroll
    for (int n = 0; n < MOST; n++) {
        const Pack<T, PIECE> x = piece(q + b * q_b + h * (i64)q_h, n * ACROSS + first, columns, wide);
#pragma unroll
        for (int e = 0; e < PIECE; e++) mine[n][e] = to_float(x[e]) * (scale * LOG2_E);
    }
    float most = -__builtin_inff();
    for (int s = begin + group; s < begin + ceil_div(end - begin, GROUPS) * GROUPS; s += AHEAD * GROUPS) {
        const T* row[AHEAD];
        float dot[AHEAD] = {};
#pragma unroll
        for (int a = 0; a < AHEAD; a++) {
            const int at = minimum(s + a * GROUPS, end - 1);
            row[a] = at == position ? key_new : k_cache + rows + (i64)at * columns;
        }
#pragma unroll
        for (int n = 0; n < MOST; n++) {
            if (n * ACROSS >= columns) break;
            Pack<T, PIECE> x[AHEAD];
#pragma unroll
            for (int a = 0; a < AHEAD; a++) x[a] = piece(row[a], n * ACROSS + first, columns, wide);
#pragma unroll
            for (int a = 0; a < AHEAD; a++)
#pragma unroll
                for (int e = 0; e < PIECE; e++) dot[a] = fmaf(mine[n][e], to_float(x[a][e]), dot[a]);
        }
#pragma unroll
        for (int a = 0; a < AHEAD; a++) {
            dot[a] = key_sum(dot[a]);
            if (s + a * GROUPS >= end) continue;
            most = fmaxf(most, dot[a]);
            if (first == 0) scores[s + a * GROUPS - begin] = dot[a];
        }
    }
    most = block_max<THREADS>(most);
    local_barrier();
    float total = 0.0f;
    // All lanes take every turn of the loops that read LDS: the emulator reads for idle lanes too.
    for (int turn = 0; turn < end - begin; turn += THREADS) {
        const int s = turn + thread_index();
        const float p = fast_exp2(scores[minimum(s, end - begin - 1)] - most);
        if (s >= end - begin) continue;
        scores[s] = p;
        total += p;
    }
    total = block_sum<THREADS>(total);
    local_barrier();

    float sum[MOST][PIECE];
#pragma unroll
    for (int n = 0; n < MOST; n++)
#pragma unroll
        for (int e = 0; e < PIECE; e++) sum[n][e] = 0.0f;
    for (int turn = begin; turn < end; turn += AHEAD * GROUPS) {
        const int s = turn + group;
        const T* row[AHEAD];
        float p[AHEAD];
#pragma unroll
        for (int a = 0; a < AHEAD; a++) {
            const int at = minimum(s + a * GROUPS, end - 1);
            row[a] = at == position ? value_new : v_cache + rows + (i64)at * columns;
            const float one = scores[at - begin];
            p[a] = s + a * GROUPS < end ? one : 0.0f;
        }
#pragma unroll
        for (int n = 0; n < MOST; n++) {
            if (n * ACROSS >= columns) break;
            Pack<T, PIECE> x[AHEAD];
#pragma unroll
            for (int a = 0; a < AHEAD; a++) x[a] = piece(row[a], n * ACROSS + first, columns, wide);
#pragma unroll
            for (int a = 0; a < AHEAD; a++)
#pragma unroll
                for (int e = 0; e < PIECE; e++) sum[n][e] = fmaf(p[a], to_float(x[a][e]), sum[n][e]);
        }
    }
#pragma unroll
    for (int n = 0; n < MOST; n++) {
        if (n * ACROSS >= columns) break;
#pragma unroll
        for (int e = 0; e < PIECE; e++) sums[group * LARGEST + n * ACROSS + first + e] = sum[n][e];
    }
    local_barrier();
    float* result = partial + ((i64)id * chunks + part) * (2 + columns);
    const bool alone = keys <= chunk;
    for (int turn = 0; turn < columns; turn += THREADS) {
        const int c = minimum(turn + thread_index(), columns - 1);
        float x = 0.0f;
        for (int n = 0; n < GROUPS; n++) x += sums[n * LARGEST + c];
        if (turn + thread_index() >= columns) continue;
        if (alone)
            out[b * out_b + h * (i64)out_h + c] = from_float<T>(x / total);
        else
            result[2 + c] = x;
    }
    if (!alone && thread_index() == 0) result[0] = most, result[1] = total;
}

// out from the chunks' partial results, in the order of the chunks. A block a (row, head).
template <class T>
DEVICE void combine(const float* partial, T* out, i64 out_b, int out_h, int H, int columns, int position, int chunks,
                    int chunk) {
    const int id = block_index(), b = id / H, h = id % H;
    const int parts = ceil_div(position + 1, chunk);
    if (parts <= 1 || parts > chunks) return;  // decode wrote out itself
    const float* mine = partial + (i64)id * chunks * (2 + columns);
    float most = mine[0];
    for (int n = 1; n < parts; n++) most = fmaxf(most, mine[n * (2 + columns)]);
    float total = 0.0f;
    for (int n = 0; n < parts; n++) {
        const float* one = mine + n * (2 + columns);
        total += one[1] * fast_exp2(one[0] - most);
    }
    for (int c = thread_index(); c < columns; c += THREADS) {
        float x = 0.0f;
        for (int n = 0; n < parts; n++) {
            const float* one = mine + n * (2 + columns);
            x = fmaf(one[2 + c], fast_exp2(one[0] - most), x);
        }
        out[b * out_b + h * (i64)out_h + c] = from_float<T>(x / total);
    }
}

// k_cache[b, h, position + t] = k[b, t, h], and v likewise. A thread an element; (B, T, H, D) in that order.
template <class T>
DEVICE void append(const T* k, const T* v, T* k_cache, T* v_cache, i64 k_b, i64 v_b, int k_t, int k_h, int v_t,
                   int v_h, i64 count, int rows, int H, int S, int columns, int position) {
    const i64 n = (i64)block_index() * THREADS + thread_index();
    if (n >= count || position < 0 || position + rows > S) return;
    const int c = (int)(n % columns), h = (int)(n / columns % H), t = (int)(n / columns / H % rows);
    const i64 b = n / columns / H / rows;
    const i64 to = ((b * H + h) * S + position + t) * columns + c;
    k_cache[to] = k[b * k_b + t * (i64)k_t + h * (i64)k_h + c];
    v_cache[to] = v[b * v_b + t * (i64)v_t + h * (i64)v_h + c];
}

#define INSTANCES(T, NAME)                                                                                  \
    KERNEL(THREADS)                                                                                         \
    void attention_decode_##NAME(const T* q, const T* k, const T* v, T* k_cache, T* v_cache, T* out,        \
                                 float* partial, const int* position_pointer, i64 q_b, i64 k_b, i64 v_b,    \
                                 i64 out_b, int q_h, int k_h, int v_h, int out_h, int H, int S,             \
                                 int columns, int position, float scale, int chunks, int chunk, int wide) { \
        decode<T>(q, k, v, k_cache, v_cache, out, partial, q_b, k_b, v_b, out_b, q_h, k_h, v_h, out_h, H,   \
                  S, columns, position_pointer ? *position_pointer : position, scale, chunks, chunk, wide); \
    }                                                                                                       \
    KERNEL(THREADS)                                                                                         \
    void attention_combine_##NAME(const float* partial, T* out, const int* position_pointer, i64 out_b,     \
                                  int out_h, int H, int columns, int position, int chunks, int chunk) {     \
        combine<T>(partial, out, out_b, out_h, H, columns, position_pointer ? *position_pointer : position, \
                   chunks, chunk);                                                                          \
    }                                                                                                       \
    KERNEL(THREADS)                                                                                         \
    void attention_append_##NAME(const T* k, const T* v, T* k_cache, T* v_cache,                            \
                                 const int* position_pointer, i64 k_b, i64 v_b, i64 count, int k_t,         \
                                 int k_h, int v_t, int v_h, int rows, int H, int S, int columns,            \
                                 int position) {                                                            \
        append<T>(k, v, k_cache, v_cache, k_b, v_b, k_t, k_h, v_t, v_h, count, rows, H, S, columns,         \
                  position_pointer ? *position_pointer : position);                                         \
    }

INSTANCES(float, f32)
INSTANCES(bf16, bf16)
INSTANCES(f16, f16)
