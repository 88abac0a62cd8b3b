/*
The products of decoding for up to 64 rows: out(M, N) = activation(x · weightᵀ + bias) on the matrix
cores, and `finish`, which adds up what a product cut in pieces has left and normalises the row.

Both operands go from memory to the registers of the matrix cores with no LDS between: a weight is
used once by one wave, and x comes from the caches. The waves of a block share the depth, and where
there are few columns blocks do too; sums are added in a fixed order. The odd thing: on NVIDIA a lane
reads 16 bytes in a row where the instruction wants 4 and 4 from farther on. The order of k is free
as long as both operands agree, so what it read is simply called by the other numbers.
*/

#include "linear_activation.h"
#include "mma.h"
#include "overlap.h"

constexpr int WAVES = 8;
constexpr int THREADS = WAVES * WAVE;
constexpr int STEP = 32;   // of the depth: what a wave takes of both operands at a time
constexpr int SWIGLU = 4;  // after linear_activation.h's
constexpr int ROW_THREADS = 256;
constexpr int PITCH = 20;  // floats of a row of 16 in LDS: lanes that write at once meet other banks

// 16 rows of a matrix in memory; those past its end are the last one again.
template <typename T>
struct MatrixRows {
  const T* base;
  int first, last, columns;
  __device__ const T* at(int row, int k) const {
    return base + static_cast<i64>(minimum(first + row, last)) * columns + k;
  }
};

// STEP columns of 16 rows in registers, as left or as right operands of the matrix cores; `Place` is
// where a lane finds its part of them.
template <typename T, bool SYNC>
struct Strips {
  using U = Mma<T>;
  static constexpr int PARTS = STEP / U::DEPTH;
  using Place = MatrixRows<T>;
  struct Left {
    typename U::A part[PARTS];
  };
  struct Right {
    typename U::B part[PARTS];
  };
  DEVICE Place place(const MatrixRows<T>& rows) { return rows; }
  DEVICE void fetch(Left& strip, const Place& rows, int k) {
#pragma unroll
    for (int i = 0; i < PARTS; i++) U::load_a(strip.part[i], rows, 0, k + i * U::DEPTH);
  }
  DEVICE void fetch(Right& strip, const Place& rows, int k) {
#pragma unroll
    for (int i = 0; i < PARTS; i++) U::load_b(strip.part[i], rows, 0, k + i * U::DEPTH);
  }
  DEVICE void mma(typename U::Acc& acc, const Left& left, const Right& right) {
#pragma unroll
    for (int i = 0; i < PARTS; i++) U::mma(acc, left.part[i], right.part[i]);
  }
};

#if defined(MMA_SYNC)

// Of its two rows a lane holds k 8 (l % 4) … + 7: words 0 and 1 go as the k that one instruction wants of
// it (2 (l % 4), + 1, + 8, + 9), words 2 and 3 as those of the next.
template <typename T>
struct Strips<T, true> {
  using U = Mma<T>;
  struct Place {
    const T* low;   // row l / 4
    int distance;   // elements from there to row l / 4 + 8
  };
  struct Left {
    Pack<u32, 4> low, high;
  };
  struct Right {
    Pack<u32, 4> low, high;
  };
  DEVICE Place place(const MatrixRows<T>& rows) {
    const T* low = rows.at(lane() / 4, 8 * (lane() % 4));
    return {low, static_cast<int>(rows.at(lane() / 4 + 8, 8 * (lane() % 4)) - low)};
  }
  DEVICE void fetch(Left& strip, const Place& place, int k) {
    strip.low = load<4>(reinterpret_cast<const u32*>(place.low + k));
    strip.high = load<4>(reinterpret_cast<const u32*>(place.low + k + place.distance));
  }
  DEVICE void fetch(Right& strip, const Place& place, int k) {
    strip.low = load_once<4>(reinterpret_cast<const u32*>(place.low + k));
    strip.high = load_once<4>(reinterpret_cast<const u32*>(place.low + k + place.distance));
  }
  DEVICE void mma(typename U::Acc& acc, const Left& left, const Right& right) {
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
      U::mma(acc, {{left.low[i], left.high[i], left.low[i + 1], left.high[i + 1]}},
             {{right.low[i], right.low[i + 1], right.high[i], right.high[i + 1]}});
    }
  }
};

#endif

// A block makes all M <= 16 · MT rows of 16 · WN columns (SwiGLU: half as many, of gate and value), from
// its share of the depth. grid: (ceil of N by those columns, splits). K % 32 = 0.
template <int MT, int WN, typename T>
DEVICE void skinny(const T* x,       // (M, K)
                   const T* weight,  // (N, K), SwiGLU (2N, K)
                   const T* bias,    // (N,) or (2N,), or null
                   T* out,           // (M, N)
                   float* partial,   // (splits, M, N): written instead of out where not null
                   int M, int N, int K, int activation, int splits) {
  using U = Mma<T>;
  using S = Strips<T, U::MATRIX && HIPGPT_NVIDIA>;
  constexpr int WK = WAVES / WN;
  constexpr int TILE = MT * 16 * PITCH;
  constexpr int AHEAD = MT == 4 ? 2 : 3;  // steps of the weights under way
  SHARED float sums[WAVES][TILE];
  let_next_start();
  const bool gated = WN > 1 && activation == SWIGLU;
  const int columns = gated ? 8 * WN : 16 * WN;  // of out
  const int tile = block_index(), split = block_index_y();
  const int wn = wave_index() % WN, wk = wave_index() / WN;
  const int half = gated ? wn % 2 * N : 0;
  const auto matrix = S::place(MatrixRows<T>{
      weight, half + tile * columns + 16 * (gated ? wn / 2 : wn), half + N - 1, K});
  const int steps = K / STEP, stride = splits * WK;
  int step = split * WK + wk;

  typename S::Right w[AHEAD];
#pragma unroll
  for (int a = 0; a < AHEAD; a++)
    S::fetch(w[a], matrix, minimum(step + a * stride, steps - 1) * STEP);
  // This thread's column of the results is the same in all its rows.
  const int own = thread_index() % columns, column = tile * columns + own;
  const int kept = minimum(column, N - 1);
  float offset = 0.0f, gate_offset = 0.0f;
  if (bias != nullptr && partial == nullptr) {
    offset = to_float(bias[gated ? N + kept : kept]);
    if (gated) gate_offset = to_float(bias[kept]);
  }

  await_previous();
  typename U::Acc acc[MT];
#pragma unroll
  for (int m = 0; m < MT; m++) clear(acc[m]);
  typename S::Left left[MT];
  typename S::Place places[MT];
#pragma unroll
  for (int m = 0; m < MT; m++) places[m] = S::place(MatrixRows<T>{x, 16 * m, M - 1, K});
  const auto fetch_left = [&](int at) {
#pragma unroll
    for (int m = 0; m < MT; m++) S::fetch(left[m], places[m], minimum(at, steps - 1) * STEP);
  };
  fetch_left(step);
#pragma unroll 1
  while (step < steps) {
#pragma unroll
    for (int a = 0; a < AHEAD; a++) {
      if (step < steps) {  // the same for the whole wave
        typename S::Left now[MT];
#pragma unroll
        for (int m = 0; m < MT; m++) now[m] = left[m];
        const auto right = w[a];
        fetch_left(step + stride);
        S::fetch(w[a], matrix, minimum(step + AHEAD * stride, steps - 1) * STEP);
#pragma unroll
        for (int m = 0; m < MT; m++) S::mma(acc[m], now[m], right);
      }
      step += stride;
    }
  }
#pragma unroll
  for (int m = 0; m < MT; m++)
#pragma unroll
    for (int r = 0; r < U::ACCS; r++)
      sums[wave_index()][(16 * m + U::row(r)) * PITCH + U::column(r)] = acc[m].v[r];
  local_barrier();

  const auto sum_of = [&](int row, int strip) {  // over the waves that share its depth, in order
    float sum = 0.0f;
#pragma unroll
    for (int n = 0; n < WK; n++) sum += sums[n * WN + strip][row * PITCH + own % 16];
    return sum;
  };
#pragma unroll 1
  for (int row = thread_index() / columns; row < 16 * MT; row += THREADS / columns) {
    float value = sum_of(row, gated ? own / 16 * 2 + 1 : own / 16);
    float gate = gated ? sum_of(row, own / 16 * 2) : 0.0f;
    if (row >= M || column >= N) continue;
    if (partial != nullptr) {
      partial[(static_cast<i64>(split) * M + row) * N + column] = value;
      continue;
    }
    value += offset;
    if (gated) {
      gate += gate_offset;
      value *= gate / (1.0f + expf(-gate));
    } else {
      value = activate<T>(value, activation);
    }
    out[static_cast<i64>(row) * N + column] = from_float<T>(value);
  }
}

// x[m] += bias + Σ over splits of partial, then norm = LayerNorm(x[m]), for which the sum is rounded
// first. Without partial x stays; without gains there is no norm. A block a row. grid: M.
template <typename T>
DEVICE void finish(const float* partial,  // (splits, M, E) or null
                   const T* bias,         // (E,)
                   T* x,                  // (M, E)
                   const T* gains,        // (E,) or null
                   const T* offsets,      // (E,)
                   T* norm,               // (M, E), may be x
                   int M, int E, int splits, float epsilon) {
  constexpr int W = 4;
  DYNAMIC_SHARED(memory);
  float* row = reinterpret_cast<float*>(memory);  // (E,): a thread reads what it has written itself
  let_next_start();
  const i64 start = static_cast<i64>(block_index()) * E;
  await_previous();
  float total = 0.0f;
#pragma unroll 1
  for (int e = thread_index() * W; e < E; e += ROW_THREADS * W) {
    auto values = to_float(load<W>(x + start + e));
    if (partial != nullptr) {
      auto sum = to_float(load<W>(bias + e));
#pragma unroll 2
      for (int s = 0; s < splits; s++) {
        const auto piece = load<W>(partial + static_cast<i64>(s) * M * E + start + e);
#pragma unroll
        for (int i = 0; i < W; i++) sum[i] += piece[i];
      }
#pragma unroll
      for (int i = 0; i < W; i++) values[i] += sum[i];
      const auto rounded = from_float<T>(values);
      store(x + start + e, rounded);
      values = to_float(rounded);
    }
    store(row + e, values);
#pragma unroll
    for (int i = 0; i < W; i++) total += values[i];
  }
  if (gains == nullptr) return;
  const float mean = block_sum<ROW_THREADS>(total) / static_cast<float>(E);
  float squares = 0.0f;
#pragma unroll 1
  for (int e = thread_index() * W; e < E; e += ROW_THREADS * W) {
    const auto values = load<W>(row + e);
#pragma unroll
    for (int i = 0; i < W; i++) squares += (values[i] - mean) * (values[i] - mean);
  }
  const float scale =
      1.0f / sqrtf(block_sum<ROW_THREADS>(squares) / static_cast<float>(E) + epsilon);
#pragma unroll 1
  for (int e = thread_index() * W; e < E; e += ROW_THREADS * W) {
    auto values = load<W>(row + e);
    const auto gain = to_float(load<W>(gains + e)), offset = to_float(load<W>(offsets + e));
#pragma unroll
    for (int i = 0; i < W; i++) values[i] = (values[i] - mean) * scale * gain[i] + offset[i];
    store(norm + start + e, from_float<T>(values));
  }
}

#define VARIANT(MT, WN, T, suffix)                                                               \
  KERNEL_LIMIT(THREADS, 2, 2)                                                                    \
  void decode_skinny_##MT##x##WN##_##suffix(const T* x, const T* weight, const T* bias, T* out,  \
                                            float* partial, int M, int N, int K,                 \
                                            int activation, int splits) {                        \
    skinny<MT, WN, T>(x, weight, bias, out, partial, M, N, K, activation, splits);               \
  }

// One strip of columns a block for narrow matrices, two for SwiGLU, four for the head.
#define VARIANTS(MT, T, suffix) \
  VARIANT(MT, 1, T, suffix)     \
  VARIANT(MT, 2, T, suffix)     \
  VARIANT(MT, 4, T, suffix)

#define INSTANTIATE(T, suffix)                                                                   \
  VARIANTS(1, T, suffix)                                                                         \
  VARIANTS(2, T, suffix)                                                                         \
  VARIANTS(4, T, suffix)                                                                         \
  KERNEL(ROW_THREADS)                                                                            \
  void decode_finish_##suffix(const float* partial, const T* bias, T* x, const T* gains,         \
                              const T* offsets, T* norm, int M, int E, int splits,               \
                              float epsilon) {                                                   \
    finish(partial, bias, x, gains, offsets, norm, M, E, splits, epsilon);                       \
  }
// Without matrix cores the ordinary products do as well, and hip/ops/decode.py takes those.
#if defined(MMA_SYNC) || defined(MMA_MFMA) || defined(MMA_WMMA_11) || defined(MMA_WMMA_12)
INSTANTIATE(bf16, bf16)
INSTANTIATE(f16, f16)
#endif
