/*
Matrix products of a linear layer: forward, gradient of its input, gradients of weight and bias.

  forward   out(M, N)     = activation(x(M, K) · weight(N, K)ᵀ + bias) + residual     both deep
  input     out(M, K)     = dout(M, N) · weight(N, K), times the slope of what made x  A deep, B wide
  weight    dweight(N, K) += dout(M, N)ᵀ · x(M, K)                                     both wide
  bias      dbias(N)      += Σ over rows of dout(M, N)

The odd thing: all three products are one loop (product.h) that differs only in which way its
operands lie. A grid is one-dimensional and holds one block a tile; which tile a block takes is
`place` below. x, weight, bias, out, dout, residual and preactivation are of the variant's type,
dweight, dbias and workspaces are float32, and so are all sums.

The gradient of a weight has few tiles and a long K (all rows of a batch), so its K is cut in
`splits`: each writes its own part of a workspace and `linear_sum` adds them in order, and in the same
launch the parts of the bias's gradient. No atomics: the same input gives the same bits.
*/

#include "linear_activation.h"
#include "overlap.h"
#include "parts.h"
#include "product.h"

// --- which tile a block takes ------------------------------------------------------------------

struct Place {
  int m, n, split;
};

// Blocks that run together should share operands in the L2: they take tiles in groups of 8 tile rows,
// down the group first. On CDNA 3 and 4 consecutive blocks go to eight dies with an L2 each, so they
// are first dealt back: a die gets consecutive tiles.
template <class Tile>
DEVICE Place place(int M, int N, int splits) {
  constexpr int GROUP = 8;
  const int tiles_m = ceil_div(M, Tile::BM), tiles_n = ceil_div(N, Tile::BN);
  const int tiles = tiles_m * tiles_n;
  int block = block_index();
#if defined(__gfx942__) || defined(__gfx950__)
  constexpr int DIES = 8;
  const int blocks = tiles * splits;
  const int die = block % DIES;
  block = die * (blocks / DIES) + minimum(die, blocks % DIES) + block / DIES;
#endif
  const int split = block / tiles;
  block %= tiles;
  const int group = block / (GROUP * tiles_n);
  const int height = minimum(GROUP, tiles_m - group * GROUP);
  const int within = block - group * GROUP * tiles_n;
  return {(group * GROUP + within % height) * Tile::BM, within / height * Tile::BN, split};
}

#if HIPGPT_NVIDIA
#define TILE_LDS(P) DYNAMIC_SHARED(lds)
#else
#define TILE_LDS(P) SHARED unsigned char __attribute__((aligned(1024))) lds[P::LDS_BYTES]
#endif

// --- eight columns of a row --------------------------------------------------------------------

template <typename T>
DEVICE Pack<float, 8> read_columns(const T* p, int count, bool vector) {
  if constexpr (sizeof(T) == 2) {
    return to_float(load_part<8>(p, count, vector));
  } else {
    const auto low = load_part<4>(p, count, vector), high = load_part<4>(p + 4, count - 4, vector);
    return {{low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3]}};
  }
}

template <typename T>
DEVICE void write_columns(T* p, const Pack<float, 8>& values, int count, bool vector) {
  if constexpr (sizeof(T) == 2) {
    store_part(p, from_float<T>(values), count, vector);
  } else {
    store_part(p, Pack<float, 4>{{values[0], values[1], values[2], values[3]}}, count, vector);
    store_part(p + 4, Pack<float, 4>{{values[4], values[5], values[6], values[7]}}, count - 4,
               vector);
  }
}

// --- long sums in float32 ----------------------------------------------------------------------

// One accumulator over tens of thousands of terms loses digits that a sum in pieces keeps, and float32
// results show it. So float32 products deeper than this go in pieces, added up in memory.
constexpr int DEEPEST = 1024;

// Runs depth start … stop and gives the results to `use(row, column, values, first, last)`; all but the
// last piece of a long sum come with last = false.
template <typename T, class P, class Use>
DEVICE void run_pieces(P& product, unsigned char* lds, const Source<T>& a, const Source<T>& b,
                       int m, int n, int start, int stop, Use use) {
  if constexpr (sizeof(T) == 2) {
    product.run(lds, a, b, m, n, start, stop);
    product.results(lds, [&](int row, int column, const Pack<float, 8>& values) {
      use(m + row, n + column, values, true, true);
    });
  } else {
    int from = start;
    do {
      const int to = stop - from > DEEPEST ? from + DEEPEST : stop;
      product.run(lds, a, b, m, n, from, to);
      product.results(lds, [&](int row, int column, const Pack<float, 8>& values) {
        use(m + row, n + column, values, from == start, to == stop);
      });
      from = to;
      barrier();  // the results have been read; LDS takes operands again
    } while (from < stop);
  }
}

template <typename T>
DEVICE void add_columns(Pack<float, 8>& values, const T* p, int count, bool vector) {
  const auto more = read_columns(p, count, vector);
#pragma unroll
  for (int e = 0; e < 8; e++) values[e] += more[e];
}

// --- forward -----------------------------------------------------------------------------------

// With the forward's many pointers the large float32 tile of NVIDIA is over 255 registers. In stages of
// half the depth it is not, and a tenth faster.
template <typename T, class Tile>
struct ForwardTile {
  static constexpr bool SHALLOW = HIPGPT_NVIDIA && sizeof(T) == 4 && Tile::BN == 128;
  using Type = ::Tile<Tile::BM, Tile::BN, SHALLOW ? Tile::BK / 2 : Tile::BK, Tile::WM, Tile::WN,
                      Tile::STAGES>;
};

// preactivation, bias and residual may be null; residual may be out. partial: float32 (M, N) where K
// passes DEEPEST, else null.
template <typename T, class Tile>
DEVICE void forward(const T* x, const T* weight, const T* bias, const T* residual, T* preactivation,
                    T* out, float* partial, int M, int N, int K, int activation) {
  using P = Product<T, typename ForwardTile<T, Tile>::Type, true, true>;
  TILE_LDS(P);
  const Place at = place<Tile>(M, N, 1);
  P product;
  const bool vector = N % 8 == 0 && aligned(out) && aligned(bias) && aligned(residual) &&
                      aligned(preactivation);
  const auto use = [&](int row, int column, Pack<float, 8> values, bool first, bool last) {
    if (row >= M || column >= N) return;
    const int count = N - column;
    const i64 offset = static_cast<i64>(row) * N + column;
    if (!first) add_columns(values, partial + offset, count, vector);
    if (!last) return write_columns(partial + offset, values, count, vector);
    if (bias != nullptr) add_columns(values, bias + column, count, vector);
    if (preactivation != nullptr) write_columns(preactivation + offset, values, count, vector);
    if (activation != LINEAR_NONE) {
#pragma unroll
      for (int e = 0; e < 8; e++) values[e] = activate<T>(values[e], activation);
    }
    if (residual != nullptr) add_columns(values, residual + offset, count, vector);
    write_columns(out + offset, values, count, vector);
  };
  run_pieces(product, lds, source<T, true>(x, M, K), source<T, true>(weight, N, K), at.m, at.n, 0, K,
             use);
}

// --- gradient of the input ---------------------------------------------------------------------

// preactivation (M, K) may be null, and may be out. partial: as in the forward, (M, K).
template <typename T, class Tile>
DEVICE void input(const T* dout, const T* weight, const T* preactivation, T* out, float* partial,
                  int M, int N, int K, int activation) {
  using P = Product<T, Tile, true, false>;
  TILE_LDS(P);
  const Place at = place<Tile>(M, K, 1);
  P product;
  const bool vector = K % 8 == 0 && aligned(out) && aligned(preactivation);
  const auto use = [&](int row, int column, Pack<float, 8> values, bool first, bool last) {
    if (row >= M || column >= K) return;
    const int count = K - column;
    const i64 offset = static_cast<i64>(row) * K + column;
    if (!first) add_columns(values, partial + offset, count, vector);
    if (!last) return write_columns(partial + offset, values, count, vector);
    if (preactivation != nullptr) {
      const auto before = read_columns(preactivation + offset, count, vector);
#pragma unroll
      for (int e = 0; e < 8; e++) values[e] *= slope<T>(before[e], activation);
    }
    write_columns(out + offset, values, count, vector);
  };
  run_pieces(product, lds, source<T, true>(dout, M, N), source<T, false>(weight, K, N), at.m, at.n, 0,
             N, use);
}

// --- gradients of weight and bias --------------------------------------------------------------

// Rows split · rows … of dout and x; rows is a multiple of BK. With one split dweight is added to,
// with more each writes its own (N, K) of the workspace.
template <typename T, class Tile>
DEVICE void weight(const T* dout, const T* x, float* dweight, float* workspace, int M, int N, int K,
                   int splits, int rows) {
  using P = Product<T, Tile, false, false>;
  TILE_LDS(P);
  const Place at = place<Tile>(N, K, splits);
  const int start = at.split * rows, stop = minimum(M, start + rows);
  P product;
  const bool add = splits == 1;
  float* to = add ? dweight : workspace + static_cast<i64>(at.split) * N * K;
  const bool vector = K % 8 == 0 && aligned(to);
  const auto use = [&](int row, int column, Pack<float, 8> values, bool first, bool) {
    if (row >= N || column >= K) return;
    float* p = to + static_cast<i64>(row) * K + column;
    if (add || !first) add_columns(values, p, K - column, vector);
    write_columns(p, values, K - column, vector);
  };
  run_pieces(product, lds, source<T, false>(dout, N, M), source<T, false>(x, K, M), at.m, at.n, start,
             stop, use);
}

// Column sums of `rows` rows of dout (M, N) from row piece · rows on, for block `block` of the columns:
// out (N,) is written, or added to with ADD. A thread takes PACK<T> columns; the THREADS / 32 groups of
// 32 threads take every eighth row, and their sums meet in LDS.
constexpr int SUM_THREADS = 256;

template <bool ADD, typename T>
DEVICE void bias(const T* dout, float* out, int M, int N, int rows, int block, int piece) {
  constexpr int W = PACK<T>, ACROSS = 32, DOWN = SUM_THREADS / ACROSS, BATCH = 8;
  SHARED float sums[DOWN][ACROSS * W];
  const int across = thread_index() % ACROSS, down = thread_index() / ACROSS;
  const int column = (block * ACROSS + across) * W;
  const bool vector = movable<W>(dout, N);
  const int start = piece * rows, stop = minimum(M, start + rows);
  Pack<float, W> sum = {};
  const T* from = dout + column;
  const auto add = [&](const Pack<T, W>& values) {
#pragma unroll
    for (int e = 0; e < W; e++) sum[e] += to_float(values[e]);
  };
  if (column < N && vector) {
    int row = start + down;
    for (; row + (BATCH - 1) * DOWN < stop; row += BATCH * DOWN) {  // all loads first
      Pack<T, W> batch[BATCH];
#pragma unroll
      for (int i = 0; i < BATCH; i++)
        batch[i] = load<W>(from + static_cast<i64>(row + i * DOWN) * N);
#pragma unroll
      for (int i = 0; i < BATCH; i++) add(batch[i]);
    }
    for (; row < stop; row += DOWN) add(load<W>(from + static_cast<i64>(row) * N));
  } else if (column < N) {
    for (int row = start + down; row < stop; row += DOWN)
      add(load_part<W>(from + static_cast<i64>(row) * N, N - column, false));
  }
#pragma unroll
  for (int e = 0; e < W; e++) sums[down][across * W + e] = sum[e];
  barrier();
  for (int i = thread_index(); i < ACROSS * W; i += SUM_THREADS) {
    const int to = block * ACROSS * W + i;
    float total = sums[0][i];
#pragma unroll
    for (int d = 1; d < DOWN; d++) total += sums[d][i];
    if (to < N) out[to] = ADD ? out[to] + total : total;
  }
}

// out[i] += workspace[0][i] + workspace[1][i] + …, in that order. Four floats a thread.
DEVICE void add_splits(const float* workspace, float* out, i64 n, int splits, int block) {
  const i64 first = (static_cast<i64>(block) * SUM_THREADS + thread_index()) * 4;
  if (first >= n) return;
  const bool vector = n % 4 == 0 && aligned(workspace) && aligned(out);
  const float* from = workspace + first;
  Pack<float, 4> total = load_part<4>(from, n - first, vector);
  const auto add = [&](const Pack<float, 4>& part) {
#pragma unroll
    for (int e = 0; e < 4; e++) total[e] += part[e];
  };
  if (vector) {
#pragma unroll 8
    for (int split = 1; split < splits; split++) add(load<4>(from + split * n));
  } else {
    for (int split = 1; split < splits; split++)
      add(load_part<4>(from + split * n, n - first, false));
  }
  const auto before = load_part<4>(out + first, n - first, vector);
#pragma unroll
  for (int e = 0; e < 4; e++) total[e] += before[e];
  store_part(out + first, total, n - first, vector);
}

// What the parts of both gradients come to. The first `blocks` blocks: dweight (n,) += the sum of
// workspace (splits, n). The others: dbias (N,) += that of partial (pieces, N), what linear_bias has
// written. grid: blocks + ceil(N / 128).
KERNEL(SUM_THREADS)
void linear_sum(const float* workspace, float* dweight, const float* partial, float* dbias, i64 n,
                int splits, int blocks, int pieces, int N) {
  take_turn();
  const int block = block_index();
  if (block < blocks) return add_splits(workspace, dweight, n, splits, block);
  bias<true>(partial, dbias, pieces, N, pieces, block - blocks, 0);
}

// --- variants ----------------------------------------------------------------------------------

// The products do not let the next kernel's blocks in early: waiting, those would take the LDS that
// blocks of a product on the other stream could have.
#define VARIANT(T, Tile, suffix)                                                                  \
  KERNEL(Tile::THREADS)                                                                           \
  void linear_forward_##suffix(const T* x, const T* weight, const T* bias, const T* residual,     \
                               T* preactivation, T* out, float* partial, int M, int N, int K,     \
                               int activation) {                                                  \
    await_previous();                                                                             \
    forward<T, Tile>(x, weight, bias, residual, preactivation, out, partial, M, N, K,             \
                     activation);                                                                 \
  }                                                                                               \
  KERNEL(Tile::THREADS)                                                                           \
  void linear_input_##suffix(const T* dout, const T* weight, const T* preactivation, T* out,      \
                             float* partial, int M, int N, int K, int activation) {               \
    await_previous();                                                                             \
    input<T, Tile>(dout, weight, preactivation, out, partial, M, N, K, activation);               \
  }                                                                                               \
  KERNEL(Tile::THREADS)                                                                           \
  void linear_weight_##suffix(const T* dout, const T* x, float* dweight, float* workspace, int M, \
                              int N, int K, int splits, int rows) {                               \
    await_previous();                                                                             \
    weight<T, Tile>(dout, x, dweight, workspace, M, N, K, splits, rows);                          \
  }

VARIANT(float, FloatLarge, large_f32)
VARIANT(float, FloatSmall, small_f32)
VARIANT(bf16, HalfLarge, large_bf16)
VARIANT(bf16, HalfSmall, small_bf16)
VARIANT(f16, HalfLarge, large_f16)
VARIANT(f16, HalfSmall, small_f16)

#define BIAS_VARIANT(T, suffix)                                                                \
  KERNEL(SUM_THREADS)                                                                          \
  void linear_bias_##suffix(const T* dout, float* workspace, int M, int N, int rows) {         \
    take_turn();                                                                               \
    const int piece = block_index_y();                                                         \
    float* out = workspace + static_cast<i64>(piece) * N;                                      \
    bias<false>(dout, out, M, N, rows, block_index(), piece);                                  \
  }

BIAS_VARIANT(float, f32)
BIAS_VARIANT(bf16, bf16)
BIAS_VARIANT(f16, f16)
