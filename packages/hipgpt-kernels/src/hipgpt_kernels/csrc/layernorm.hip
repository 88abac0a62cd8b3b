/*
LayerNorm over the last dimension (Ba, Kiros and Hinton 2016, equation 4), forward and backward.
dx is added to (the residual stream), dweight and dbias are added to.

The odd thing: the backward owns columns, not rows. A block walks over many rows and each thread keeps
the sums of its own columns in registers, so x and dout are read once for dx, dweight and dbias; what
the blocks hold at the end goes through memory and is added by a second kernel in fixed order.

Statistics, dweight and dbias are float32 whatever T is.
*/

#include "overlap.h"
#include "parts.h"

constexpr int THREADS = 256;
constexpr int WAVES = THREADS / WAVE;

// Mean first, then the squares of what is left: Σx²/E − mean² loses the variance of a row far from 0.

// N values as words: in these a value of 16 bits takes half a register, in a Pack of its own type the
// compiler gives it a whole one.
template <typename T, int N>
using Words = Pack<u32, N * static_cast<int>(sizeof(T)) / 4>;
template <int N, typename T>
DEVICE Words<T, N> load_words(const T* source) {
  return load<Words<T, N>::size>(reinterpret_cast<const u32*>(source));
}
template <typename T, int WORDS>
DEVICE auto unpack(const Pack<u32, WORDS>& words) {
  return to_float(bit_cast<Pack<T, WORDS * 4 / static_cast<int>(sizeof(T))>>(afresh(words)));
}

// A wave a row, the row in registers, HELD floats a lane: E <= HELD · WAVE; packs only: PACK<T> divides
// E and all arrays are aligned. A wave takes rows w, w + waves, …, and the next row is under way while
// this one is computed, so that memory never waits for a reduction. Weight and bias come from the
// first-level cache each time: kept, they would take the registers of a third of the waves. grid: blocks.
template <int HELD, typename T>
DEVICE void forward_wave(const T* x,       // (M, E)
                         const T* weight,  // (E,)
                         const T* bias,    // (E,)
                         T* out,           // (M, E), may be x
                         float* mean,      // (M,) or null
                         float* rstd,      // (M,) or null
                         i64 M, int E, float epsilon, int blocks) {
  constexpr int N = PACK<T>;
  constexpr int PARTS = HELD / N;
  const int first = lane() * N;  // of this lane's columns; the next are WAVE · N further

  Words<T, N> next[PARTS];
  const auto fetch = [&](i64 row) {  // what lies past the row is 0
#pragma unroll
    for (int k = 0; k < PARTS; k++) {
      const int column = first + k * WAVE * N;
      next[k] = Words<T, N>{};
      if (row < M && column < E) next[k] = load_words<N>(x + row * E + column);
    }
  };
  const i64 step = static_cast<i64>(blocks) * WAVES;
  i64 row = static_cast<i64>(block_index()) * WAVES + wave_index();
  fetch(row);
  for (; row < M; row += step) {
    Pack<float, N> values[PARTS];
    float total = 0.0f;
#pragma unroll
    for (int k = 0; k < PARTS; k++) {
      values[k] = unpack<T>(next[k]);
#pragma unroll
      for (int i = 0; i < N; i++) total += values[k][i];
    }
    fetch(row + step);
    const float average = wave_sum(total) / static_cast<float>(E);

    float squares = 0.0f;
#pragma unroll
    for (int k = 0; k < PARTS; k++) {
      if (first + k * WAVE * N >= E) continue;
#pragma unroll
      for (int i = 0; i < N; i++) {
        values[k][i] -= average;
        squares += values[k][i] * values[k][i];
      }
    }
    const float scale = 1.0f / sqrtf(wave_sum(squares) / static_cast<float>(E) + epsilon);
    if (lane() == 0) {
      if (mean != nullptr) mean[row] = average;
      if (rstd != nullptr) rstd[row] = scale;
    }
#pragma unroll
    for (int k = 0; k < PARTS; k++) {
      const int column = first + k * WAVE * N;
      if (column >= E) continue;
      const auto w = unpack<T>(load_words<N>(weight + column));
      const auto b = unpack<T>(load_words<N>(bias + column));
#pragma unroll
      for (int i = 0; i < N; i++) values[k][i] = values[k][i] * scale * w[i] + b[i];
      store(out + row * E + column, from_float<T>(values[k]));
    }
  }
}

// One block a row of any length, read three times, from the cache but for the first. grid: M.
template <typename T>
DEVICE void forward_block(const T* x, const T* weight, const T* bias, T* out, float* mean,
                          float* rstd, int E, float epsilon) {
  constexpr int N = PACK<T>;
  const i64 row = block_index();
  const bool vector =
      movable<N>(x, E) && movable<N>(out, E) && aligned(weight) && aligned(bias);
  x += row * E;
  out += row * E;

  float total = 0.0f;
  for (int column = thread_index() * N; column < E; column += THREADS * N) {
    const auto values = to_float(load_part<N>(x + column, E - column, vector));
#pragma unroll
    for (int i = 0; i < N; i++) total += values[i];
  }
  const float average = block_sum<THREADS>(total) / static_cast<float>(E);

  float squares = 0.0f;
  for (int column = thread_index() * N; column < E; column += THREADS * N) {
    const auto values = to_float(load_part<N>(x + column, E - column, vector));
#pragma unroll
    for (int i = 0; i < N; i++) {
      const float d = column + i < E ? values[i] - average : 0.0f;
      squares += d * d;
    }
  }
  const float scale =
      1.0f / sqrtf(block_sum<THREADS>(squares) / static_cast<float>(E) + epsilon);
  if (thread_index() == 0) {
    if (mean != nullptr) mean[row] = average;
    if (rstd != nullptr) rstd[row] = scale;
  }
  for (int column = thread_index() * N; column < E; column += THREADS * N) {
    auto values = to_float(load_part<N>(x + column, E - column, vector));
    const auto w = to_float(load_part<N>(weight + column, E - column, vector));
    const auto b = to_float(load_part<N>(bias + column, E - column, vector));
#pragma unroll
    for (int i = 0; i < N; i++) values[i] = (values[i] - average) * scale * w[i] + b[i];
    store_part(out + column, from_float<T>(values), E - column, vector);
  }
}

struct Pair {  // Σ g and Σ g·x̂ of a row, reduced together
  float gradient, product;
};

struct PairSum {
  __device__ Pair operator()(Pair a, Pair b) const {
    return {a.gradient + b.gradient, a.product + b.product};
  }
};

// With x̂ = (x − mean)·rstd and g = dout·weight:
//   dx += rstd · (g − mean(g) − x̂ · mean(g·x̂));  dweight = Σ dout·x̂;  dbias = Σ dout.

// Short rows: 32 lanes a row of E <= 256 columns, eight a lane, so that a row's sums need no barrier; the
// next row is under way while this one is computed. Packs only: PACK<T> divides E, all arrays are
// aligned. What the rows of a block sum up meets in LDS: few blocks, few rows of `partial`
// (blocks, 2, E) to add up. A block takes rows 8 · block …, and so on by 8 · blocks. grid: blocks.
constexpr int SHORT = 256, SHORT_THREADS = 256, SHORT_LANES = 32;
constexpr int SHORT_ROWS = SHORT_THREADS / SHORT_LANES;

template <typename T>
DEVICE void backward_short(const T* dout, const T* x, const T* weight, const float* mean,
                           const float* rstd, T* dx, float* partial, i64 M, int E, int blocks) {
  constexpr int N = PACK<T>, PARTS = SHORT / SHORT_LANES / N;
  SHARED float sums[SHORT_ROWS][2 * SHORT];
  const int across = thread_index() % SHORT_LANES, down = thread_index() / SHORT_LANES;
  const float inverse = 1.0f / static_cast<float>(E);
  Words<T, N> w[PARTS];
  Pack<float, N> sum_weight[PARTS], sum_bias[PARTS];
#pragma unroll
  for (int k = 0; k < PARTS; k++) {
    const int column = (k * SHORT_LANES + across) * N;
    w[k] = Words<T, N>{};
    sum_weight[k] = sum_bias[k] = Pack<float, N>{};
    if (column < E) w[k] = load_words<N>(weight + column);
  }
  struct Row {
    Words<T, N> dout[PARTS], x[PARTS], dx[PARTS];
    float mean, rstd;
  };
  const auto fetch = [&](i64 row) {  // past the row dout is 0, and with it all that is summed
    Row part{};
    if (row >= M) return part;
    part.mean = mean[row], part.rstd = rstd[row];
#pragma unroll
    for (int k = 0; k < PARTS; k++) {
      const int column = (k * SHORT_LANES + across) * N;
      if (column >= E) continue;
      const i64 at = row * E + column;
      part.dout[k] = bit_cast<Words<T, N>>(load_once<N>(dout + at));
      part.x[k] = bit_cast<Words<T, N>>(load_once<N>(x + at));
      part.dx[k] = bit_cast<Words<T, N>>(load_once<N>(dx + at));
    }
    return part;
  };
  const i64 step = static_cast<i64>(blocks) * SHORT_ROWS;
  i64 row = static_cast<i64>(block_index()) * SHORT_ROWS + down;
  Row next = fetch(row);
  for (; row < M; row += step) {
    const Row now = next;
    next = fetch(row + step);
    Pair both{};
#pragma unroll
    for (int k = 0; k < PARTS; k++) {
      const auto d = unpack<T>(now.dout[k]), value = unpack<T>(now.x[k]), w1 = unpack<T>(w[k]);
#pragma unroll
      for (int i = 0; i < N; i++) {
        const float normal = (value[i] - now.mean) * now.rstd;
        const float g = d[i] * w1[i];
        both.gradient += g;
        both.product += g * normal;
        sum_weight[k][i] += d[i] * normal;
        sum_bias[k][i] += d[i];
      }
    }
    both = wave_reduce<SHORT_LANES>(both, PairSum());
    const float mean_gradient = both.gradient * inverse, mean_product = both.product * inverse;
#pragma unroll
    for (int k = 0; k < PARTS; k++) {
      const int column = (k * SHORT_LANES + across) * N;
      if (column >= E) continue;
      const auto d = unpack<T>(now.dout[k]), value = unpack<T>(now.x[k]), w1 = unpack<T>(w[k]);
      const auto before = unpack<T>(now.dx[k]);
      Pack<T, N> result;
#pragma unroll
      for (int i = 0; i < N; i++) {
        const float normal = (value[i] - now.mean) * now.rstd;
        const float change = now.rstd * (d[i] * w1[i] - mean_gradient - normal * mean_product);
        result[i] = from_float<T>(before[i] + change);
      }
      store(dx + row * E + column, result);
    }
  }
#pragma unroll
  for (int k = 0; k < PARTS; k++) {
    const int column = (k * SHORT_LANES + across) * N;
#pragma unroll
    for (int i = 0; i < N; i += 4) {
      store(&sums[down][column + i], Pack<float, 4>{{sum_weight[k][i], sum_weight[k][i + 1],
                                                     sum_weight[k][i + 2], sum_weight[k][i + 3]}});
      store(&sums[down][SHORT + column + i],
            Pack<float, 4>{{sum_bias[k][i], sum_bias[k][i + 1], sum_bias[k][i + 2],
                            sum_bias[k][i + 3]}});
    }
  }
  local_barrier();
  for (int i = thread_index(); i < 2 * SHORT; i += SHORT_THREADS) {
    const int which = i / SHORT, column = i % SHORT;
    if (column >= E) continue;
    float total = 0.0f;
#pragma unroll
    for (int r = 0; r < SHORT_ROWS; r++) total += sums[r][i];
    partial[(static_cast<i64>(block_index()) * 2 + which) * E + column] = total;
  }
}

constexpr int OWNED = 4;         // neighbouring columns of a thread: 16 bytes of f32, 8 of bf16
constexpr int ROW_THREADS = 64;  // one wave where it has 64 lanes, and then no barrier; else two

// 64 threads a row, packs only: OWNED divides E, all arrays are aligned. A thread owns COLUMNS columns:
// E <= 64 · COLUMNS. Few columns a thread keep the registers few and many rows under way, which is
// what hides the loads; a block takes rows block, block + blocks, …. partial (blocks, 2, E): the
// block's dweight and dbias. grid: blocks.
template <int COLUMNS, typename T>
DEVICE void backward_row(const T* dout,      // (M, E)
                         const T* x,         // (M, E)
                         const T* weight,    // (E,)
                         const float* mean,  // (M,)
                         const float* rstd,  // (M,)
                         T* dx,              // (M, E), added to
                         float* partial, i64 M, int E, int blocks) {
  constexpr int N = OWNED;
  constexpr int PARTS = COLUMNS / N;
  const float inverse = 1.0f / static_cast<float>(E);
  Words<T, N> w[PARTS];
  Pack<float, N> sum_weight[PARTS], sum_bias[PARTS];
#pragma unroll
  for (int k = 0; k < PARTS; k++) {
    const int column = (k * ROW_THREADS + thread_index()) * N;
    w[k] = Words<T, N>{};
    sum_weight[k] = sum_bias[k] = Pack<float, N>{};
    if (column < E) w[k] = load_words<N>(weight + column);
  }
  struct {
    Words<T, N> dout[PARTS], x[PARTS], dx[PARTS];
    float mean, rstd;
  } next;
  const auto fetch = [&](i64 row) {  // the statistics first: nvcc then keeps all loads together
    if (row >= M) return;
    next.mean = mean[row], next.rstd = rstd[row];
    const i64 at = row * E + thread_index() * N;
#pragma unroll
    for (int k = 0; k < PARTS; k++) {
      const int column = (k * ROW_THREADS + thread_index()) * N;
      next.dout[k] = next.x[k] = next.dx[k] = Words<T, N>{};
      if (column >= E) continue;
      const int further = k * ROW_THREADS * N;
      next.dout[k] = bit_cast<Words<T, N>>(load_once<N>(dout + at + further));
      next.x[k] = bit_cast<Words<T, N>>(load_once<N>(x + at + further));
      next.dx[k] = bit_cast<Words<T, N>>(load_once<N>(dx + at + further));
    }
  };
  constexpr bool AHEAD = sizeof(T) < 4 && COLUMNS <= 12;  // registers are left for the next row
  if constexpr (AHEAD) fetch(block_index());
  for (i64 row = block_index(); row < M; row += blocks) {
    if constexpr (!AHEAD) fetch(row);
    Words<T, N> d[PARTS], value[PARTS], old[PARTS];
#pragma unroll
    for (int k = 0; k < PARTS; k++) d[k] = next.dout[k], value[k] = next.x[k], old[k] = next.dx[k];
    const float average = next.mean, scale = next.rstd;
    if constexpr (AHEAD) fetch(row + blocks);
    Pair sums{};
#pragma unroll
    for (int k = 0; k < PARTS; k++) {
      const auto dout1 = unpack<T>(d[k]), x1 = unpack<T>(value[k]), w1 = unpack<T>(w[k]);
#pragma unroll
      for (int i = 0; i < N; i++) {
        // Past the row dout is 0, and with it all that is summed.
        const float one = dout1[i];
        const float normal = (x1[i] - average) * scale;
        const float g = one * w1[i];
        sums.gradient += g;
        sums.product += g * normal;
        sum_weight[k][i] += one * normal;
        sum_bias[k][i] += one;
      }
    }
    sums = block_reduce<ROW_THREADS>(sums, PairSum());
    const float mean_gradient = sums.gradient * inverse, mean_product = sums.product * inverse;
#pragma unroll
    for (int k = 0; k < PARTS; k++) {
      const int column = (k * ROW_THREADS + thread_index()) * N;
      if (column >= E) continue;
      const auto d2 = unpack<T>(d[k]), x2 = unpack<T>(value[k]), w2 = unpack<T>(w[k]);
      const auto before = unpack<T>(old[k]);
      Pack<T, N> result;
#pragma unroll
      for (int i = 0; i < N; i++) {
        const float normal = (x2[i] - average) * scale;
        const float g = d2[i] * w2[i];
        const float change = scale * (g - mean_gradient - normal * mean_product);
        result[i] = from_float<T>(before[i] + change);
      }
      store(dx + row * E + column, result);
    }
  }
  partial += static_cast<i64>(block_index()) * 2 * E;
#pragma unroll
  for (int k = 0; k < PARTS; k++) {
    const int column = (k * ROW_THREADS + thread_index()) * N;
    if (column >= E) continue;
    store(partial + column, sum_weight[k]);
    store(partial + E + column, sum_bias[k]);
  }
}

// One block a row, for longer rows and those that cannot move in packs: E <= 1024 · PANELS.

constexpr int PANEL = THREADS * OWNED;  // columns of a block

// What a thread needs of one row for its columns.
template <typename T, int PANELS>
struct RowPart {
  Pack<T, OWNED> dout[PANELS], x[PANELS], dx[PANELS];
  float mean, rstd;
};

// A block takes rows block, block + blocks, …; the next row is under way while this one is computed.
// partial (blocks, 2, E) as above. grid: blocks.
template <int PANELS, typename T>
DEVICE void backward_block(const T* dout, const T* x, const T* weight, const float* mean,
                           const float* rstd, T* dx, float* partial, i64 M, int E, int blocks) {
  constexpr int N = OWNED;
  const bool vector = movable<N>(dout, E) && movable<N>(x, E) && movable<N>(dx, E) &&
                      aligned(weight, N * sizeof(T));
  const float inverse = 1.0f / static_cast<float>(E);
  Pack<float, N> w[PANELS], sum_weight[PANELS], sum_bias[PANELS];
#pragma unroll
  for (int k = 0; k < PANELS; k++) {
    const int column = k * PANEL + thread_index() * N;
    w[k] = sum_weight[k] = sum_bias[k] = Pack<float, N>{};
    if (column < E) w[k] = to_float(load_part<N>(weight + column, E - column, vector));
  }

  auto fetch = [&](i64 row) {
    RowPart<T, PANELS> part{};
    if (row >= M) return part;
    part.mean = mean[row];
    part.rstd = rstd[row];
#pragma unroll
    for (int k = 0; k < PANELS; k++) {
      const int column = k * PANEL + thread_index() * N;
      if (column >= E) continue;
      const i64 at = row * E + column;
      part.dout[k] = load_part<N>(dout + at, E - column, vector);
      part.x[k] = load_part<N>(x + at, E - column, vector);
      part.dx[k] = load_part<N>(dx + at, E - column, vector);
    }
    return part;
  };

  RowPart<T, PANELS> next = fetch(block_index());
  for (i64 row = block_index(); row < M; row += blocks) {
    const RowPart<T, PANELS> part = next;
    next = fetch(row + blocks);
    Pack<float, N> g[PANELS], normal[PANELS];
    Pair sums{};
#pragma unroll
    for (int k = 0; k < PANELS; k++) {
#pragma unroll
      for (int i = 0; i < N; i++) {
        // Past the row dout is 0, and with it all that is summed.
        const float d = to_float(part.dout[k][i]);
        normal[k][i] = (to_float(part.x[k][i]) - part.mean) * part.rstd;
        g[k][i] = d * w[k][i];
        sums.gradient += g[k][i];
        sums.product += g[k][i] * normal[k][i];
        sum_weight[k][i] += d * normal[k][i];
        sum_bias[k][i] += d;
      }
    }
    sums = block_reduce<THREADS>(sums, PairSum());
    const float mean_gradient = sums.gradient * inverse, mean_product = sums.product * inverse;
#pragma unroll
    for (int k = 0; k < PANELS; k++) {
      const int column = k * PANEL + thread_index() * N;
      if (column >= E) continue;
      Pack<T, N> result;
#pragma unroll
      for (int i = 0; i < N; i++) {
        const float change = part.rstd * (g[k][i] - mean_gradient - normal[k][i] * mean_product);
        result[i] = from_float<T>(to_float(part.dx[k][i]) + change);
      }
      store_part(dx + row * E + column, result, E - column, vector);
    }
  }

  const bool partial_moves = movable<N>(partial, E);
  partial += static_cast<i64>(block_index()) * 2 * E;
#pragma unroll
  for (int k = 0; k < PANELS; k++) {
    const int column = k * PANEL + thread_index() * N;
    if (column >= E) continue;
    store_part(partial + column, sum_weight[k], E - column, partial_moves);
    store_part(partial + E + column, sum_bias[k], E - column, partial_moves);
  }
}

// For rows longer than the registers hold: the same, column by column, sums in `partial` itself.
template <typename T>
DEVICE void backward_long(const T* dout, const T* x, const T* weight, const float* mean,
                          const float* rstd, T* dx, float* partial, i64 M, int E, int blocks) {
  const float inverse = 1.0f / static_cast<float>(E);
  partial += static_cast<i64>(block_index()) * 2 * E;
  for (int e = thread_index(); e < 2 * E; e += THREADS) partial[e] = 0.0f;
  barrier();
  for (i64 row = block_index(); row < M; row += blocks) {
    const float average = mean[row], scale = rstd[row];
    Pair sums{};
    for (int e = thread_index(); e < E; e += THREADS) {
      const float d = to_float(dout[row * E + e]);
      const float normal = (to_float(x[row * E + e]) - average) * scale;
      const float g = d * to_float(weight[e]);
      sums.gradient += g;
      sums.product += g * normal;
      partial[e] += d * normal;
      partial[E + e] += d;
    }
    sums = block_reduce<THREADS>(sums, PairSum());
    const float mean_gradient = sums.gradient * inverse, mean_product = sums.product * inverse;
    for (int e = thread_index(); e < E; e += THREADS) {
      const float normal = (to_float(x[row * E + e]) - average) * scale;
      const float g = to_float(dout[row * E + e]) * to_float(weight[e]);
      const float change = scale * (g - mean_gradient - normal * mean_product);
      dx[row * E + e] = from_float<T>(to_float(dx[row * E + e]) + change);
    }
  }
}

constexpr int COLUMNS = 8;                   // that a block of the second pass adds up: 32 bytes
constexpr int RUNS = THREADS / COLUMNS;      // of rows of `partial`, each with a thread a column

// dweight (E,) += Σ over blocks of partial (blocks, 2, E); dbias likewise. grid: ceil(2E / 8).
KERNEL(THREADS)
void layernorm_backward_combine(const float* partial, float* dweight, float* dbias, int E,
                                int blocks) {
  SHARED float sums[RUNS][COLUMNS];
  take_turn();
  const int at = thread_index() % COLUMNS, run = thread_index() / COLUMNS;
  const int column = block_index() * COLUMNS + at;
  const int per_run = ceil_div(blocks, RUNS);
  float total = 0.0f;
  if (column < 2 * E) {
    const int stop = minimum(blocks, (run + 1) * per_run);
#pragma unroll 8
    for (int b = run * per_run; b < stop; b++) {
      total += partial[static_cast<i64>(b) * 2 * E + column];
    }
  }
  sums[run][at] = total;
  local_barrier();
  if (run != 0 || column >= 2 * E) return;
#pragma unroll
  for (int other = 1; other < RUNS; other++) total += sums[other][at];
  float* out = column < E ? dweight + column : dbias + column - E;
  *out += total;
}

// nvcc would rather spill than go beyond a step of its occupancy; the last number allows it to.
#define BACKWARD(SIZE, BLOCKS, NAME, T, CALL)                                                    \
  KERNEL_LIMIT(SIZE, 2, BLOCKS)                                                                  \
  void NAME##_##T(const T* dout, const T* x, const T* weight, const float* mean,                 \
                  const float* rstd, T* dx, float* partial, i64 M, int E, int blocks) {          \
    take_turn();                                                                                 \
    CALL(dout, x, weight, mean, rstd, dx, partial, M, E, blocks);                                \
  }

#define FORWARD(HELD, BLOCKS, T)                                                                         \
  KERNEL_LIMIT(THREADS, 4, BLOCKS)                                                               \
  void layernorm_forward_##HELD##_##T(const T* x, const T* weight, const T* bias, T* out,        \
                                      float* mean, float* rstd, i64 M, int E, float epsilon,     \
                                      int blocks) {                                              \
    take_turn();                                                                                 \
    forward_wave<HELD>(x, weight, bias, out, mean, rstd, M, E, epsilon, blocks);                 \
  }

#define INSTANTIATE(T)                                                                           \
  FORWARD(8, 4, T)                                                                               \
  FORWARD(16, 3, T)                                                                              \
  FORWARD(24, 3, T)                                                                              \
  FORWARD(32, 2, T)                                                                              \
  KERNEL(THREADS)                                                                                \
  void layernorm_forward_block_##T(const T* x, const T* weight, const T* bias, T* out,           \
                                   float* mean, float* rstd, int E, float epsilon) {             \
    take_turn();                                                                                 \
    forward_block(x, weight, bias, out, mean, rstd, E, epsilon);                                 \
  }                                                                                              \
  BACKWARD(SHORT_THREADS, 2, layernorm_backward_256, T, backward_short)                            \
  BACKWARD(ROW_THREADS, 8, layernorm_backward_768, T, backward_row<12>)                             \
  BACKWARD(ROW_THREADS, 8, layernorm_backward_1024, T, backward_row<16>)                            \
  BACKWARD(ROW_THREADS, 4, layernorm_backward_1792, T, backward_row<28>)                            \
  BACKWARD(THREADS, 2, layernorm_backward_block, T, backward_block<2>)                              \
  BACKWARD(THREADS, 2, layernorm_backward_long, T, backward_long)
INSTANTIATE(f32)
INSTANTIATE(bf16)
INSTANTIATE(f16)
