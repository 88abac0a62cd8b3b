/*
The products of decoding, for few rows (M <= 4): out(M, N) = activation(x · weightᵀ + bias) + residual
where x may come to be on the way: a LayerNorm of its rows, or attention put together from its chunks.

Reading the weights is all the work, so everything else hides behind it: a wave holds its weights in
registers before it looks at x at all, and on NVIDIA it does so while the kernel before still runs
(overlap.h). The odd thing: every block makes its own copy of x in LDS, normalised anew; that costs
less than a kernel of its own between two products. And loops stay rolled up where they can: these
kernels run for microseconds, and an instruction that runs once has to be fetched first.
*/

#include "errors.h"
#include "linear_activation.h"
#include "overlap.h"

constexpr int THREADS = 128;  // hip/ops/decode.py knows it
constexpr int WAVES = THREADS / WAVE;
constexpr int SWIGLU = 4;  // after linear_activation.h's
constexpr int RECORD_TAIL = 4;  // numbers after the D of a chunk, see decode_attention.hip

// Where x comes from.
enum Source { PLAIN, NORM, CHUNKS };

// 16-byte packs of a row that a lane holds at a time, for narrow matrices (up to 1024 columns of 16
// bits in one go) and for wide ones.
constexpr int SHORT_SPAN = WAVE == 64 ? 2 : 4;
constexpr int LONG_SPAN = WAVE == 64 ? 6 : 12;

// What a product reads and writes; the same arguments for all kernels of this file.
template <typename T>
struct Product {
  const T* x;            // (M, K)
  const T* weight;       // (N, K), SwiGLU (2N, K): gates first
  const T* bias;         // (N,) or (2N,), or null
  const T* residual;     // (M, N) or null; may be out
  T* out;                // (M, N)
  const T* norm_weight;  // (K,), NORM only
  const T* norm_bias;    // (K,)
  const float* partial;  // CHUNKS: (M, H, chunks, D + 4), see decode_attention.hip
  const int* positions;  // CHUNKS: (M,)
  int M, N, K, activation;
  float epsilon;
  int waves;             // of all blocks together
  int H, chunks, chunk;
};

// rows (M, K) in LDS: LayerNorm of x. gains and offsets are in LDS already.
template <typename T>
DEVICE void normalise(const Product<T>& p, T* rows, const T* gains, const T* offsets) {
  constexpr int W = PACK<T>;
  const float inverse = 1.0f / static_cast<float>(p.K);
#pragma unroll 1
  for (int m = 0; m < p.M; m++) {
    const T* source = p.x + m * p.K;
    T* row = rows + m * p.K;  // a thread reads back what it has written itself: no barrier
    float total = 0.0f;
#pragma unroll 1
    for (int k = thread_index() * W; k < p.K; k += THREADS * W) {
      const auto pack = load<W>(source + k);
      store(row + k, pack);
#pragma unroll
      for (int e = 0; e < W; e++) total += to_float(pack[e]);
    }
    const float mean = block_sum<THREADS>(total) * inverse;
    float squares = 0.0f;
#pragma unroll 1
    for (int k = thread_index() * W; k < p.K; k += THREADS * W) {
      const auto values = to_float(load<W>(row + k));
#pragma unroll
      for (int e = 0; e < W; e++) squares += (values[e] - mean) * (values[e] - mean);
    }
    const float scale = 1.0f / sqrtf(block_sum<THREADS>(squares) * inverse + p.epsilon);
#pragma unroll 1
    for (int k = thread_index() * W; k < p.K; k += THREADS * W) {
      auto values = to_float(load<W>(row + k));
      const auto gain = to_float(load<W>(gains + k)), offset = to_float(load<W>(offsets + k));
#pragma unroll
      for (int e = 0; e < W; e++) values[e] = (values[e] - mean) * scale * gain[e] + offset[e];
      store(row + k, from_float<T>(values));
    }
  }
}

// rows (M, K) in LDS: attention from its chunks, W columns a thread; W divides D.
template <typename T>
DEVICE void put_together(const Product<T>& p, T* rows) {
  constexpr int W = PACK<T>;
  const int D = p.K / p.H, record = D + RECORD_TAIL;
#pragma unroll 1
  for (int i = thread_index() * W; i < p.M * p.K; i += THREADS * W) {
    const int pair = i / D, parts = minimum(ceil_div(p.positions[i / p.K] + 1, p.chunk), p.chunks);
    if (parts <= 1) {
      store(rows + i, load<W>(p.x + i));
      continue;
    }
    const float* part = p.partial + static_cast<i64>(pair) * p.chunks * record;
    const int column = i - pair * D;
    float most = part[D], total = 0.0f;
#pragma unroll 4
    for (int n = 1; n < parts; n++) most = fmaxf(most, part[n * record + D]);
    Pack<float, W> sum = {};
#pragma unroll 4
    for (int n = 0; n < parts; n++) {
      const float share = fast_exp2(part[D] - most);
      total = fmaf(part[D + 1], share, total);
#pragma unroll
      for (int e = 0; e < W; e += 4) {
        const auto piece = load<4>(part + column + e);
#pragma unroll
        for (int c = 0; c < 4; c++) sum[e + c] = fmaf(piece[c], share, sum[e + c]);
      }
      part += record;
    }
#pragma unroll
    for (int e = 0; e < W; e++) sum[e] /= total;
    store(rows + i, from_float<T>(sum));
  }
}

// A wave makes the results of R rows of the matrix at a time (SwiGLU: R / 2 pairs) for M <= ROWS rows
// of x. With LOOP it goes on to the next that no other wave takes, and the matrix may be wider than
// what a wave holds.
template <int ROWS, int R, int SPAN, Source SOURCE, bool LOOP, typename T>
DEVICE void product(const Product<T>& p) {
  constexpr int W = PACK<T>;
  constexpr int WIDTH = SPAN * WAVE * W;  // columns of the matrix held at a time
  static_assert(ROWS * R <= WAVE, "a lane for every result");
  DYNAMIC_SHARED(memory);
  let_next_start();
  T* rows = reinterpret_cast<T*>(memory);  // (ROWS, K), then what the source needs
  const bool gated = p.activation == SWIGLU;
  const int each = gated && R > 1 ? R / 2 : R;
  const int groups = ceil_div(p.N, each);

  // Lane i finishes result i: row i / R of x, row i % R of the matrix.
  const int own_row = lane() / R, own = lane() % R;
  const auto output_of = [&](int group, int r) {
    return minimum(group * each + (gated ? r / 2 : r), p.N - 1);
  };
  const auto matrix_row = [&](int group, int r) {
    return output_of(group, r) + (gated && r % 2 == 1 ? p.N : 0);
  };
  // As words: kept as 16-bit values, nvcc would give each a register of its own.
  using Words = Pack<u32, 4>;
  using Held = Words[R][SPAN];
  const auto fetch = [&](Held& held, int group, int start) {
#pragma unroll
    for (int r = 0; r < R; r++) {
      const T* row = p.weight + static_cast<i64>(matrix_row(group, r)) * p.K;
#pragma unroll
      for (int s = 0; s < SPAN; s++) {
        const int k = start + (s * WAVE + lane()) * W;
        held[r][s] = Words{};
        if (k < p.K) held[r][s] = load_once<4>(reinterpret_cast<const u32*>(row + k));
      }
    }
  };
  const auto fetch_bias = [&](int group) {
    return p.bias == nullptr ? 0.0f : to_float(p.bias[matrix_row(group, own)]);
  };

  int group = block_index() * WAVES + wave_index(), start = 0;
  Held held = {};
  float bias = 0.0f;
  if (group < groups) {
    fetch(held, group, 0);
    bias = fetch_bias(group);
  }
  if constexpr (SOURCE == NORM) {
    T* gains = rows + ROWS * p.K;
    T* offsets = gains + p.K;
#pragma unroll 1
    for (int k = thread_index() * W; k < p.K; k += THREADS * W) {  // read back by this thread
      store(gains + k, load<W>(p.norm_weight + k));
      store(offsets + k, load<W>(p.norm_bias + k));
    }
    await_previous();
    normalise(p, rows, gains, offsets);
  } else {
    await_previous();
    if constexpr (SOURCE == CHUNKS) {
      put_together(p, rows);
    } else {
#pragma unroll 2
      for (int i = thread_index() * W; i < p.M * p.K; i += THREADS * W)
        store(rows + i, load<W>(p.x + i));
    }
  }
  float residual = 0.0f;
  const auto fetch_residual = [&](int at) {
    const bool wanted = p.residual != nullptr && own_row < p.M && own_row < ROWS;
    return wanted ? to_float(p.residual[own_row * p.N + output_of(at, own)]) : 0.0f;
  };
  if (group < groups) residual = fetch_residual(group);
  local_barrier();

  float sums[ROWS][R] = {};
#pragma unroll 1
  while (group < groups) {
    int next = group, from = start + WIDTH;
    if (!LOOP || from >= p.K) {
      next = group + p.waves;
      from = 0;
    }
    Held ahead;
    float next_bias = 0.0f, next_residual = 0.0f;
    if (LOOP && next < groups) {
      fetch(ahead, next, from);
      next_bias = fetch_bias(next);
      next_residual = fetch_residual(next);
    }
#pragma unroll
    for (int s = 0; s < SPAN; s++) {
      const int k = start + (s * WAVE + lane()) * W;
      if (k >= p.K) continue;
#pragma unroll
      for (int m = 0; m < ROWS; m++) {
        const auto x = to_float(load<W>(rows + m * p.K + k));
#pragma unroll
        for (int r = 0; r < R; r++) {
          const auto w = to_float(bit_cast<Pack<T, W>>(held[r][s]));
#pragma unroll
          for (int e = 0; e < W; e++) sums[m][r] = fmaf(x[e], w[e], sums[m][r]);
        }
      }
    }
    if (from == 0) {
      float value = 0.0f;
#pragma unroll
      for (int m = 0; m < ROWS; m++)
#pragma unroll
        for (int r = 0; r < R; r++) {
          const float sum = wave_sum(sums[m][r]);
          if (lane() == m * R + r) value = sum;
          sums[m][r] = 0.0f;
        }
      value += bias;
      if (gated) {
        const float up = shuffle_xor(value, 1);
        const float sigmoid = 1.0f / (1.0f + expf(-value));
        value = value * sigmoid * up;
      } else {
        value = activate<T>(value, p.activation);
      }
      const int output = group * each + (gated ? own / 2 : own);
      const bool mine = own_row < p.M && own_row < ROWS && output < p.N && !(gated && own % 2 == 1);
      if (mine) p.out[own_row * p.N + output] = from_float<T>(value + residual);
    }
    if constexpr (!LOOP) break;
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
      for (int s = 0; s < SPAN; s++) held[r][s] = ahead[r][s];
    bias = next_bias;
    residual = next_residual;
    group = next;
    start = from;
  }
}

// out[b] = token_table[tokens[b]] + position_table[positions[b]]; rows at position −1 stay. grid: B.
template <typename T>
DEVICE void embed(const int* tokens, const int* positions, const T* token_table,
                  const T* position_table, T* out, int V, int S, int E, i64* errors) {
  const int b = block_index(), position = positions[b], token = tokens[b];
  if (position < 0 || position >= S) return;
  const bool known = token >= 0 && token < V;
  if (!known && thread_index() == 0) report(errors, EMBEDDING_FORWARD_TOKENS, token, V);
  const T* row = token_table + (known ? static_cast<i64>(token) : 0) * E;
  const T* place = position_table + static_cast<i64>(position) * E;
  for (int e = thread_index(); e < E; e += THREADS)
    out[static_cast<i64>(b) * E + e] = from_float<T>(to_float(row[e]) + to_float(place[e]));
}

// Many blocks of the short kernels fit a multiprocessor, so that the next kernel's find room.
#define VARIANT(ROWS, R, SPAN, SOURCE, LOOP, NAME, T, suffix)                                    \
  KERNEL_LIMIT(THREADS, 2, 3)                                                                    \
  void decode_##NAME##_##ROWS##_##suffix(                                                        \
      const T* x, const T* weight, const T* bias, const T* residual, T* out,                     \
      const T* norm_weight, const T* norm_bias, const float* partial, const int* positions,      \
      int M, int N, int K, int activation, float epsilon, int waves, int H, int chunks,          \
      int chunk) {                                                                               \
    product<ROWS, R, SPAN, SOURCE, LOOP, T>(                                                     \
        Product<T>{x, weight, bias, residual, out, norm_weight, norm_bias, partial, positions,   \
                   M, N, K, activation, epsilon, waves, H, chunks, chunk});                      \
  }

#define VARIANTS(ROWS, LOOP_R, T, suffix)                               \
  VARIANT(ROWS, 2, SHORT_SPAN, NORM, false, norm, T, suffix)            \
  VARIANT(ROWS, LOOP_R, SHORT_SPAN, NORM, true, norm_loop, T, suffix)   \
  VARIANT(ROWS, LOOP_R, SHORT_SPAN, PLAIN, true, plain_loop, T, suffix) \
  VARIANT(ROWS, 1, LONG_SPAN, PLAIN, false, deep, T, suffix)            \
  VARIANT(ROWS, 1, LONG_SPAN, PLAIN, true, deep_loop, T, suffix)        \
  VARIANT(ROWS, 1, SHORT_SPAN, CHUNKS, false, chunks, T, suffix)        \
  VARIANT(ROWS, 1, SHORT_SPAN, CHUNKS, true, chunks_loop, T, suffix)

#define INSTANTIATE(T, suffix)                                                                   \
  VARIANTS(1, 4, T, suffix)                                                                      \
  VARIANTS(2, 4, T, suffix)                                                                      \
  VARIANTS(4, 2, T, suffix)                                                                      \
  KERNEL(THREADS)                                                                                \
  void decode_embed_##suffix(const int* tokens, const int* positions, const T* token_table,      \
                             const T* position_table, T* out, int V, int S, int E,               \
                             i64* errors) {                                                      \
    embed(tokens, positions, token_table, position_table, out, V, S, E, errors);                 \
  }
INSTANTIATE(float, f32)
INSTANTIATE(bf16, bf16)
INSTANTIATE(f16, f16)
