/*
Attention of one new token of each row over its KV cache, for decoding: rows at positions of their own.

The keys of a (row, head) are cut into chunks, a block each. In a block some lanes share a key; every such
group walks over its own keys with a running maximum (Dao et al. 2023, "Flash-Decoding", within a block),
keys and values of several of them under way at once, and at the end the groups are put together in their
order. Where there is more than one chunk, the product that follows (decode.hip) or `combine` adds those up.
The odd thing: a group never waits for another one until the end, so a key is loaded, used and forgotten.
*/

#include "overlap.h"

constexpr int THREADS = 128;
constexpr int COLUMNS = 64;  // that a group of lanes holds in a pack each
constexpr int RECORD_TAIL = 4;  // of a chunk's partial result: D sums, the maximum, the total, two unused
constexpr float LOG2_E = 1.4426950408889634f;
constexpr float LOWEST = -3.0e38f;  // instead of −∞, which minus itself is no number

// W columns of a row from c on, zeros past its end. `wide`: they move as one.
template <int W, typename T>
DEVICE Pack<T, W> piece(const T* row, int c, int D, bool wide) {
  Pack<T, W> pack = {};
  if (wide) {
    if (c < D) pack = load<W>(row + c);
  } else {
#pragma unroll
    for (int e = 0; e < W; e++)
      if (c + e < D) pack[e] = row[c + e];
  }
  return pack;
}

// grid: B · H · chunks.
template <int MOST, int AHEAD, typename T>
DEVICE void attend(const T* qkv,          // (B, 3, H, D)
                   T* k_cache,            // (B, H, S, D), written at the positions
                   T* v_cache,            // (B, H, S, D), likewise
                   T* out,                // (B, H, D), written where all keys are in one chunk
                   float* partial,        // (B, H, chunks, D + 4), in the domain of exp2, elsewhere
                   const int* positions,  // (B,), −1 for a row that takes no part
                   int H, int S, int D, float scale, int chunks, int chunk, bool wide) {
  constexpr int W = PACK<T>;
  constexpr int LANES = COLUMNS / W;         // of a group: 8, or 16 of float32
  constexpr int GROUPS = THREADS / LANES;
  SHARED float sums[GROUPS][MOST * COLUMNS];
  SHARED float maxima[GROUPS], totals[GROUPS];
  const int id = block_index() / chunks, part = block_index() % chunks, b = id / H, h = id % H;
  const int begin = part * chunk;
  let_next_start();
  if (thread_index() == 0 && wide) {  // what lies there already comes nearer
    const int known = minimum(peek(positions + b), S);
    const int bytes = (minimum(begin + chunk, known) - begin) * D * static_cast<int>(sizeof(T));
    if (bytes > 0) {
      const i64 first = (static_cast<i64>(id) * S + begin) * D;
      fetch_ahead(k_cache + first, bytes);
      fetch_ahead(v_cache + first, bytes);
    }
  }
  await_previous();
  const int position = positions[b], end = minimum(begin + chunk, position + 1);
  if (position < 0 || position >= S || begin > position) return;  // the whole block
  const int E = H * D;
  const T* query = qkv + static_cast<i64>(b) * 3 * E + h * D;
  const T* key_new = query + E;
  T* keys = k_cache + static_cast<i64>(id) * S * D;
  T* values = v_cache + static_cast<i64>(id) * S * D;
  if (end == position + 1) {
    for (int c = thread_index(); c < D; c += THREADS) {
      keys[position * D + c] = key_new[c];
      values[position * D + c] = key_new[E + c];
    }
  }
  const i64 apart = values - keys;  // from a key to its value
  const int group = thread_index() / LANES, column = thread_index() % LANES * W;
  float q[MOST][W], sum[MOST][W];
#pragma unroll
  for (int n = 0; n < MOST; n++) {
    const auto x = piece<W>(query, n * COLUMNS + column, D, wide);
#pragma unroll
    for (int e = 0; e < W; e++) {
      q[n][e] = to_float(x[e]) * (scale * LOG2_E);
      sum[n][e] = 0.0f;
    }
  }
  float most = LOWEST, total = 0.0f;
#pragma unroll 1
  for (int turn = begin; turn < end; turn += AHEAD * GROUPS) {
    Pack<T, W> k[AHEAD][MOST], v[AHEAD][MOST];
#pragma unroll
    for (int a = 0; a < AHEAD; a++) {
      const int s = minimum(turn + group + a * GROUPS, end - 1);
      const T* key = s == position ? key_new : keys + s * D;
      const T* value = key + (s == position ? E : apart);
#pragma unroll
      for (int n = 0; n < MOST; n++) {
        k[a][n] = piece<W>(key, n * COLUMNS + column, D, wide);
        v[a][n] = piece<W>(value, n * COLUMNS + column, D, wide);
      }
    }
    float score[AHEAD], higher = most;
#pragma unroll
    for (int a = 0; a < AHEAD; a++) {
      float dot = 0.0f;
#pragma unroll
      for (int n = 0; n < MOST; n++)
#pragma unroll
        for (int e = 0; e < W; e++) dot = fmaf(q[n][e], to_float(k[a][n][e]), dot);
      score[a] = wave_sum<LANES>(dot);
      if (turn + group + a * GROUPS >= end) score[a] = LOWEST;
      higher = fmaxf(higher, score[a]);
    }
    const float shrink = fast_exp2(most - higher);
    most = higher;
    total *= shrink;
#pragma unroll
    for (int n = 0; n < MOST; n++)
#pragma unroll
      for (int e = 0; e < W; e++) sum[n][e] *= shrink;
#pragma unroll
    for (int a = 0; a < AHEAD; a++) {
      const float p = turn + group + a * GROUPS < end ? fast_exp2(score[a] - most) : 0.0f;
      total += p;
#pragma unroll
      for (int n = 0; n < MOST; n++)
#pragma unroll
        for (int e = 0; e < W; e++) sum[n][e] = fmaf(p, to_float(v[a][n][e]), sum[n][e]);
    }
  }
#pragma unroll
  for (int n = 0; n < MOST; n++)
#pragma unroll
    for (int e = 0; e < W; e++) sums[group][n * COLUMNS + column + e] = sum[n][e];
  if (column == 0) {
    maxima[group] = most;
    totals[group] = total;
  }
  local_barrier();
  float highest = maxima[0], all = 0.0f;
#pragma unroll 4
  for (int g = 1; g < GROUPS; g++) highest = fmaxf(highest, maxima[g]);
#pragma unroll 1
  for (int turn = 0; turn < D; turn += THREADS) {
    const int c = minimum(turn + thread_index(), D - 1);
    float x = 0.0f;
    all = 0.0f;
#pragma unroll 4
    for (int g = 0; g < GROUPS; g++) {
      const float share = fast_exp2(maxima[g] - highest);
      all = fmaf(totals[g], share, all);
      x = fmaf(sums[g][c], share, x);
    }
    if (turn + thread_index() >= D) continue;
    if (position < chunk)
      out[static_cast<i64>(id) * D + c] = from_float<T>(x / all);
    else
      partial[(static_cast<i64>(id) * chunks + part) * (D + RECORD_TAIL) + c] = x;
  }
  if (position >= chunk && thread_index() == 0) {
    float* tail = partial + (static_cast<i64>(id) * chunks + part) * (D + RECORD_TAIL) + D;
    tail[0] = highest;
    tail[1] = all;
  }
}

// out from the chunks, in their order, where there is more than one. grid: B · H.
template <typename T>
DEVICE void combine(const float* partial, T* out, const int* positions, int H, int D, int chunks,
                    int chunk) {
  let_next_start();
  await_previous();
  const int id = block_index(), parts = minimum(ceil_div(positions[id / H] + 1, chunk), chunks);
  if (parts <= 1) return;  // `attend` wrote out itself
  const int record = D + RECORD_TAIL;
  const float* mine = partial + static_cast<i64>(id) * chunks * record;
  float highest = mine[D];
#pragma unroll 4
  for (int n = 1; n < parts; n++) highest = fmaxf(highest, mine[n * record + D]);
#pragma unroll 1
  for (int c = thread_index(); c < D; c += THREADS) {
    float x = 0.0f, total = 0.0f;
#pragma unroll 4
    for (int n = 0; n < parts; n++) {
      const float share = fast_exp2(mine[n * record + D] - highest);
      total = fmaf(mine[n * record + D + 1], share, total);
      x = fmaf(mine[n * record + c], share, x);
    }
    out[static_cast<i64>(id) * D + c] = from_float<T>(x / total);
  }
}

// With few rows a group loads as many keys as it can; of the kernel for many, six blocks fit a
// multiprocessor: 64 rows of 12 heads are under way at once on 132 of them. On sm_80 nvcc would
// keep two registers in memory for the last one.
#if HIPGPT_NVIDIA && defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
constexpr int MANY_64 = 5, MANY_256 = 2;
#else
constexpr int MANY_64 = 6, MANY_256 = 3;
#endif

#define VARIANT(MOST, AHEAD, BLOCKS, NAME, T, suffix)                                            \
  KERNEL_LIMIT(THREADS, 2, BLOCKS)                                                               \
  void decode_attend_##NAME##_##suffix(const T* qkv, T* k_cache, T* v_cache, T* out,             \
                                       float* partial, const int* positions, int H, int S,       \
                                       int D, float scale, int chunks, int chunk, int wide) {    \
    attend<MOST, AHEAD, T>(qkv, k_cache, v_cache, out, partial, positions, H, S, D, scale,       \
                           chunks, chunk, wide != 0);                                            \
  }

#define INSTANTIATE(T, suffix)                                                                   \
  VARIANT(1, 4, 4, 64_few, T, suffix)                                                            \
  VARIANT(1, 3, MANY_64, 64_many, T, suffix)                                                     \
  VARIANT(2, 2, 3, 128_few, T, suffix)                                                           \
  VARIANT(2, 2, 4, 128_many, T, suffix)                                                          \
  VARIANT(4, 1, 2, 256_few, T, suffix)                                                           \
  VARIANT(4, 1, MANY_256, 256_many, T, suffix)                                                   \
  KERNEL(THREADS)                                                                                \
  void decode_combine_##suffix(const float* partial, T* out, const int* positions, int H,        \
                               int D, int chunks, int chunk) {                                   \
    combine(partial, out, positions, H, D, chunks, chunk);                                       \
  }
INSTANTIATE(float, f32)
INSTANTIATE(bf16, bf16)
INSTANTIATE(f16, f16)
