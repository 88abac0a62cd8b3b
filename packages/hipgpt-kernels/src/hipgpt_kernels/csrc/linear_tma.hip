/*
The large matrix products of 16-bit types on Hopper: the three of linear.hip, and the sum of the pieces
that a weight's gradient comes in. Nothing of this is compiled for another GPU.

A grid has as many blocks as the GPU has multiprocessors, and each goes from tile to tile. The four
warpgroups of a block are a line of workers:

  loader     one thread: has the copy engine fill the next stage of a ring, as soon as it is free
  products   two warpgroups, 64 rows each: wgmma out of the ring, then the results, with the bias, rounded
             to 16 bits into a tile of shared memory
  results    one warpgroup: from there through activation, slope and residual to global memory, while
             the next tile is multiplied

With K = 768 the tensor cores need 12,000 cycles for a tile, and a gelu for its results 5,000: that is what
the fourth group hides. The gradient of a weight has no such work and long sums; its accumulators go to
memory as they are, in float32, and its ring has a stage more.

The odd thing: blocks go in pairs (clusters), which take tiles one above the other. Both need the same
columns of B, so each fetches a half and the engine writes it to both: 32 bytes a cycle from the L2 instead
of 48, which it does not have. A stage is therefore free when both blocks have done with it.
*/

#include "linear_activation.h"
#include "linear_plan.h"
#include "overlap.h"
#include "parts.h"
#include "tma.h"
#include "wgmma.h"

#if HOPPER

constexpr int TMA_BM = 128, TMA_BK = 64;
constexpr int TMA_LDS = 227 * 1024;
constexpr int TMA_BARRIERS = 256;  // bytes of them, more than enough

template <class T_, int BN_, int PAIR_, bool A_DEEP_, bool B_DEEP_, bool STAGED_>
struct TmaProduct {
  using T = T_;
  using M = Mma<T>;
  static constexpr int BM = TMA_BM, BN = BN_, BK = TMA_BK, PAIR = PAIR_;
  static constexpr bool A_DEEP = A_DEEP_, B_DEEP = B_DEEP_, STAGED = STAGED_;
  static constexpr int SIZE_A = BM * BK, SIZE_B = BN * BK;  // elements
  static constexpr int STAGE_BYTES = (SIZE_A + SIZE_B) * 2;
  static constexpr int RESULT_BYTES = STAGED ? BM * BN * 2 : 0;
  static constexpr bool BIAS = STAGED && B_DEEP;  // the forward, whether or not there is one
  static constexpr int BIAS_BYTES = BIAS ? 4 * BN * 2 : 0;
  static constexpr int STAGES = (TMA_LDS - TMA_BARRIERS - BIAS_BYTES - RESULT_BYTES) / STAGE_BYTES;
  static constexpr int RESULT_WAVES = 7;
  static constexpr int THREADS = STAGED ? 512 : 384;
  // Registers of a thread. With 16 waves 128 are all there are and what every role needs; the accumulators
  // of a weight's gradient take 128 alone, so its loader's waves give up theirs.
  static constexpr int LOADER_REGISTERS = 56, PRODUCT_REGISTERS = 224;
  using Acc = typename M::Acc[BN / 16];

  T* ring;
  unsigned char* staged;  // two halves of 64 rows: blocks of 64 columns, rows of 128 bytes, swizzled
  u64 *full, *free;       // of each stage
  u64 *ready, *taken;     // of each half of the results
  u32* biases;            // pairs of columns: of the last two tiles, for each warpgroup
  int rank;               // in the pair

  DEVICE_MEMBER void start(unsigned char* lds, const TensorMap& map_a, const TensorMap& map_b) {
    ring = reinterpret_cast<T*>(lds);
    staged = lds + STAGES * STAGE_BYTES;
    full = reinterpret_cast<u64*>(staged + RESULT_BYTES);
    free = full + STAGES;
    ready = free + STAGES;
    taken = ready + 2;
    biases = reinterpret_cast<u32*>(staged + RESULT_BYTES + TMA_BARRIERS);
    rank = PAIR == 2 ? cluster_rank() : 0;
    if (thread_index() == 0) {
      fetch_map(map_a);
      fetch_map(map_b);
      for (int stage = 0; stage < STAGES; stage++) {
        phase_init(full + stage, 1);
        phase_init(free + stage, 8 * PAIR);  // a lane of every wave that multiplies
      }
      for (int half = 0; half < 2; half++) {
        phase_init(ready + half, 128);
        phase_init(taken + half, RESULT_WAVES * WAVE);
      }
      asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    await_previous();
    barrier();
    if constexpr (PAIR == 2) cluster_barrier();
  }

  // Where in the ring; the parity turns each time around.
  struct Turn {
    int stage = 0, parity = 0;
    DEVICE_MEMBER void next() {
      if (++stage == STAGES) stage = 0, parity ^= 1;
    }
  };

  // One thread: fill the ring with everything that this block multiplies. beside(work, m, n, step) is called
  // between.
  template <class Beside>
  DEVICE_MEMBER void load(const TensorMap& map_a, const TensorMap& map_b, const Plan& plan,
                          Beside beside) {
    Turn turn;
    Segment work;
    for (int i = 0; plan.segment(i, work); i++) {
      const Corner at = plan.corner(work.tile);
      const int m = (at.row * PAIR + rank) * BM, n = at.column * BN;
#pragma unroll 1
      for (int step = work.first; step < work.last; step++, turn.next()) {
        u64* barrier = full + turn.stage;
        T* a = ring + turn.stage * (SIZE_A + SIZE_B);
        T* b = a + SIZE_A;
        const int k = step * BK;
        phase_wait(free + turn.stage, turn.parity ^ 1);
        phase_expect(barrier, STAGE_BYTES);
        if constexpr (A_DEEP) {
          copy_box(a, map_a, m, k, barrier);
        } else {
#pragma unroll
          for (int block = 0; block < BM / 64; block++)
            copy_box(a + block * 64 * BK, map_a, k, m + 64 * block, barrier);
        }
        // Of B each block of a pair fetches half of the rows that lie in shared memory.
        if constexpr (B_DEEP) {
          const int half = rank * (BN / PAIR);
          copy_b(b + half * BK, map_b, n + half, k, barrier);
        } else {
          const int half = rank * (BK / PAIR);
#pragma unroll
          for (int block = 0; block < BN / 64; block++)
            copy_b(b + block * 64 * BK + half * 64, map_b, k + half, n + 64 * block, barrier);
        }
        beside(work, m, n, step);
      }
    }
  }
  static DEVICE_MEMBER void copy_b(T* to, const TensorMap& map, int row, int column, u64* barrier) {
    if constexpr (PAIR == 2) copy_box_to_pair(to, map, row, column, barrier);
    else copy_box(to, map, row, column, barrier);
  }

  DEVICE_MEMBER void release(int stage) {
    if constexpr (PAIR == 2) {
      if (lane() < 2) phase_arrive_at(free + stage, lane());
    } else {
      if (lane() == 0) phase_arrive(free + stage);
    }
  }

  // acc = this warpgroup's 64 rows of the segment. Where its tile is takes long divisions, and what is there
  // a while to come: `prepare(corner)` is called while the last step is multiplied.
  template <class Prepare>
  DEVICE_MEMBER void multiply(Acc& acc, Turn& turn, int group, const Plan& plan, const Segment& work,
                              Prepare prepare) {
    // 16 k further: 32 bytes along a row, or 16 rows of 128 bytes.
    constexpr u64 STEP_A = (A_DEEP ? 32 : 2048) / 16, STEP_B = (B_DEEP ? 32 : 2048) / 16;
    const int steps = work.last - work.first;
    int before = 0;
#pragma unroll 1
    for (int step = 0; step < steps; step++) {
      phase_wait(full + turn.stage, turn.parity);
      const T* stage = ring + turn.stage * (SIZE_A + SIZE_B);
      const u64 a = descriptor<BK>(stage + group * 64 * 64), b = descriptor<BK>(stage + SIZE_A);
      wgmma_begin();
#pragma unroll
      for (int k = 0; k < BK / 16; k++)
        wgmma<T, A_DEEP, B_DEEP>(acc, a + k * STEP_A, b + k * STEP_B, step | k);
      wgmma_commit();
      if (step > 0) {
        wgmma_wait<1>();
        release(before);
      }
      before = turn.stage;
      turn.next();
    }
    prepare(plan.corner(work.tile));
    wgmma_wait<0>();
    wgmma_hold(acc);
    release(before);
  }

  // Round a warpgroup's results into its half of the staged tile. The bias comes by shared memory, where a
  // thread finds all its columns: `pair` is two columns of it, one pair a thread.
  DEVICE_MEMBER void stage_results(const Acc& acc, int group, u32 pair, int parity) {
    u32* bias = biases + (parity * 2 + group) * (BN / 2);
    if constexpr (BIAS) {
      if (thread_index() % 128 < BN / 2) bias[thread_index() % 128] = pair;
      asm volatile("bar.sync %0, 128;" ::"r"(1 + group) : "memory");  // the warpgroup
    }
    const int row = wave_index() % 4 * 16 + lane() % 16;
    const u32 to = shared_at(staged) + group * (64 * BN * 2) + row * 128;
    u32 pairs[8];
#pragma unroll
    for (int j = 0; j < BN / 16; j++) {
      if constexpr (BIAS) {
        if (j % 4 == 0) {
#pragma unroll
          for (int i = 0; i < 8; i++) pairs[i] = bias[8 * j + 4 * i + lane() % 4];
        }
      }
      u32 words[4];
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const float* v = acc[j].v + 4 * h;
        Pack<float, 2> more = {};
        if constexpr (BIAS) more = to_float(bit_cast<Pack<T, 2>>(pairs[j % 4 * 2 + h]));
        words[2 * h] = pack_pair<T>(v[0] + more[0], v[1] + more[1]);
        words[2 * h + 1] = pack_pair<T>(v[2] + more[0], v[3] + more[1]);
      }
      const int piece = (j % 4 * 2 + lane() / 16) ^ (lane() % 8);
      store_matrices(to + j / 4 * (64 * 128) + piece * 16, words);
    }
  }

  // The waves that finish results. A wave takes 8 rows of 64 columns at a time, every seventh of them, and
  // a lane two pieces of eight columns, four rows apart. Of `beside` (M, N; may be null) the same elements
  // are read two turns ahead. use(corner, offsets, inside, values, beside), two of each but the corner
  template <class Use>
  DEVICE_MEMBER void finish(const Plan& plan, const T* beside, int M, int N, Use use) {
    constexpr int HALF = 8 * (BN / 64);  // units of a wave in half a tile
    const int first = wave_index() < 4 ? wave_index() - 1 : wave_index() - 9;
    const int piece = lane() % 8;
    int parity = 0;
    Segment work;
    for (int i = 0; plan.segment(i, work); i++, parity ^= 1) {
      const Corner at = plan.corner(work.tile);
      const int m = (at.row * PAIR + rank) * BM, n = at.column * BN;
      const i64 corner = static_cast<i64>(m) * N + n;
      const auto place = [&](int unit, int(&offsets)[2], bool(&inside)[2]) {  // from the corner
        const int half = unit / HALF, row = half * 64 + unit % 8 * 8 + lane() / 8;
        const int column = (unit - half * HALF) / 8 * 64 + 8 * piece;
#pragma unroll
        for (int r = 0; r < 2; r++) {
          offsets[r] = (row + 4 * r) * N + column;
          inside[r] = unit < 2 * HALF && m + row + 4 * r < M && n + column < N;
        }
      };
      Pack<T, 8> now[2] = {}, next[2] = {}, later[2] = {};
      const auto look = [&](int unit, Pack<T, 8>(&to)[2]) {
        if (beside == nullptr) return;
        int offsets[2];
        bool inside[2];
        place(unit, offsets, inside);
#pragma unroll
        for (int r = 0; r < 2; r++)
          if (inside[r]) to[r] = ::load<8>(beside + corner + offsets[r]);
      };
      look(first, now);
      look(first + RESULT_WAVES, next);
      phase_wait(ready, parity);
#pragma unroll 1
      for (int unit = first; unit < 2 * HALF; unit += RESULT_WAVES) {
        look(unit + 2 * RESULT_WAVES, later);
        if (unit >= HALF && unit - RESULT_WAVES < HALF) {
          phase_arrive(taken);
          phase_wait(ready + 1, parity);
        }
        const unsigned char* from =
            staged + unit / 8 * (64 * 128) + (unit % 8 * 8 + lane() / 8) * 128;
        Pack<T, 8> values[2];
#pragma unroll
        for (int r = 0; r < 2; r++)
          values[r] = ::load<8>(reinterpret_cast<const T*>(
              from + 4 * r * 128 + (piece ^ (lane() / 8 + 4 * r)) * 16));
        int offsets[2];
        bool inside[2];
        place(unit, offsets, inside);
        use(corner, offsets, inside, values, now);
#pragma unroll
        for (int r = 0; r < 2; r++) now[r] = next[r], next[r] = later[r];
      }
      phase_arrive(taken + 1);
    }
  }

  // All warpgroups of a product whose results are 16 bits.
  template <class Use>
  DEVICE_MEMBER void run(unsigned char* lds, const TensorMap& map_a, const TensorMap& map_b,
                         const Plan& plan, const T* bias, const T* beside, int M, int N, Use use) {
    start(lds, map_a, map_b);
    const int group = wave_index() / 4;
    if (group == 0 || group == 3) {
      if (wave_index() > 0) finish(plan, beside, M, N, use);
      else if (thread_index() == 0)
        load(map_a, map_b, plan, [&](const Segment& work, int m, int n, int step) {
          // What the results' waves will read beside the product is brought into the L2.
          if (beside == nullptr) return;
          const int each = ceil_div(BM, work.last), first = step * each;
          for (int row = first; row < minimum(first + each, BM) && m + row < M; row++)
            fetch_ahead(beside + static_cast<i64>(m + row) * N + n, 2 * minimum(BN, N - n));
        });
    } else {
      Turn turn;
      Segment work;
      int parity = 1;
      for (int i = 0; plan.segment(i, work); i++, parity ^= 1) {
        Acc acc;
        u32 pair = 0;
        multiply(acc, turn, group - 1, plan, work, [&](const Corner& at) {
          const int column = at.column * BN + thread_index() % 128 * 2;
          if (bias != nullptr && column < N) pair = *reinterpret_cast<const u32*>(bias + column);
        });
        phase_wait(taken + group - 1, parity);
        stage_results(acc, group - 1, pair, parity);
        phase_arrive(ready + group - 1);
      }
    }
    leave();
  }

  // The end of every role: a block must not be gone while its pair still counts arrivals there.
  DEVICE_MEMBER void leave() {
    wave_barrier();
    if constexpr (PAIR == 2) cluster_barrier();
  }
};

// --- forward -----------------------------------------------------------------------------------

template <typename T>
DEVICE Pack<float, 16> widen(const Pack<T, 8> (&halves)[2]) {
  Pack<float, 16> all;
#pragma unroll
  for (int e = 0; e < 16; e++) all[e] = to_float(halves[e / 8][e % 8]);
  return all;
}

template <typename T>
DEVICE void write(T* to, const int (&offsets)[2], const bool (&inside)[2],
                  const Pack<float, 16>& values) {
#pragma unroll
  for (int r = 0; r < 2; r++) {
    Pack<float, 8> half;
#pragma unroll
    for (int e = 0; e < 8; e++) half[e] = values[8 * r + e];
    if (inside[r]) store(to + offsets[r], from_float<T>(half));
  }
}

template <typename T>
DEVICE void write(T* to, const int (&offsets)[2], const bool (&inside)[2],
                  const Pack<T, 8> (&values)[2]) {
#pragma unroll
  for (int r = 0; r < 2; r++)
    if (inside[r]) store(to + offsets[r], values[r]);
}

template <typename T, int BN, int PAIR>
DEVICE void forward(const TensorMap& x, const TensorMap& weight, const T* bias, const T* residual,
                    T* preactivation, T* out, int M, int N, int activation, const Plan& plan) {
  DYNAMIC_SHARED(lds);
  TmaProduct<T, BN, PAIR, true, true, true> product;
  product.run(lds, x, weight, plan, bias, residual, M, N,
              [&](i64 corner, const int(&offsets)[2], const bool(&inside)[2],
                  const Pack<T, 8>(&rounded)[2], const Pack<T, 8>(&beside)[2]) {
                if (preactivation != nullptr) write(preactivation + corner, offsets, inside, rounded);
                if (activation == LINEAR_NONE && residual == nullptr)
                  return write(out + corner, offsets, inside, rounded);
                auto values = widen(rounded);
                activate_all<T>(values, activation);
                if (residual != nullptr) {
                  const auto more = widen(beside);
#pragma unroll
                  for (int e = 0; e < 16; e++) values[e] += more[e];
                }
                write(out + corner, offsets, inside, values);
              });
}

// --- gradient of the input ---------------------------------------------------------------------

template <typename T, int BN, int PAIR>
DEVICE void input(const TensorMap& dout, const TensorMap& weight, const T* preactivation, T* out,
                  int M, int K, int activation, const Plan& plan) {
  DYNAMIC_SHARED(lds);
  TmaProduct<T, BN, PAIR, true, false, true> product;
  product.run(lds, dout, weight, plan, static_cast<const T*>(nullptr), preactivation, M, K,
              [&](i64 corner, const int(&offsets)[2], const bool(&inside)[2],
                  const Pack<T, 8>(&rounded)[2], const Pack<T, 8>(&beside)[2]) {
                if (preactivation == nullptr) return write(out + corner, offsets, inside, rounded);
                auto values = widen(beside);
                slope_all<T>(values, activation);
                const auto gradient = widen(rounded);
#pragma unroll
                for (int e = 0; e < 16; e++) values[e] *= gradient[e];
                write(out + corner, offsets, inside, values);
              });
}

// --- gradient of the weight --------------------------------------------------------------------

// A whole tile is added to dweight (N, K); a piece of one goes to its place in the workspace.
template <typename T, int BN, int PAIR>
DEVICE void weight(const TensorMap& dout, const TensorMap& x, float* dweight, float* workspace,
                   int N, int K, const Plan& plan) {
  using P = TmaProduct<T, BN, PAIR, false, false, false>;
  DYNAMIC_SHARED(lds);
  P product;
  product.start(lds, dout, x);
  const int group = wave_index() / 4;
  if (group == 0) {
    give_registers<P::LOADER_REGISTERS>();
    // What a whole tile will be added to is brought into the L2 meanwhile, a row a step.
    if (thread_index() == 0)
      product.load(dout, x, plan, [&](const Segment& tile, int m, int n, int step) {
        if (tile.slot < 0 && step < P::BM && m + step < N)
          fetch_ahead(dweight + static_cast<i64>(m + step) * K + n, 4 * minimum(BN, K - n));
      });
    product.leave();
  } else {
    take_registers<P::PRODUCT_REGISTERS>();
    typename P::Turn turn;
    Segment work;
    const int above = product.rank * P::BM + (group - 1) * 64 + wave_index() % 4 * 16 + lane() / 4;
    for (int i = 0; plan.segment(i, work); i++) {
      typename P::Acc acc;
      Corner at;
      product.multiply(acc, turn, group - 1, plan, work, [&](const Corner& c) { at = c; });
      if (work.slot < 0) {
        const int row = at.row * P::BM * PAIR + above, column = at.column * BN + lane() % 4 * 2;
        float* to = dweight + static_cast<i64>(row) * K + column;
        constexpr int BATCH = 4;
#pragma unroll
        for (int j = 0; j < BN / 16; j += BATCH) {
          Pack<float, 2> before[BATCH][4];  // loads first
#pragma unroll
          for (int b = 0; b < BATCH; b++)
#pragma unroll
            for (int w = 0; w < 4; w++) {
              const int down = w % 2 * 8, across = 16 * (j + b) + w / 2 * 8;
              if (row + down < N && column + across < K)
                before[b][w] = ::load<2>(to + static_cast<i64>(down) * K + across);
            }
#pragma unroll
          for (int b = 0; b < BATCH; b++)
#pragma unroll
            for (int w = 0; w < 4; w++) {
              const int down = w % 2 * 8, across = 16 * (j + b) + w / 2 * 8;
              const float* values = acc[j + b].v + 2 * w;
              if (row + down < N && column + across < K)
                store(to + static_cast<i64>(down) * K + across,
                      Pack<float, 2>{{before[b][w][0] + values[0], before[b][w][1] + values[1]}});
            }
        }
      } else {
        float* to = workspace + (static_cast<i64>(work.slot) * (P::BM * PAIR) + above) * BN +
                    lane() % 4 * 2;
#pragma unroll
        for (int j = 0; j < BN / 16; j++)
#pragma unroll
          for (int w = 0; w < 4; w++)
            store(to + w % 2 * 8 * BN + 16 * j + w / 2 * 8,
                  Pack<float, 2>{{acc[j].v[2 * w], acc[j].v[2 * w + 1]}});
      }
    }
    product.leave();
  }
}

// dweight += the pieces of every tile that came in pieces, in their order. A block takes 1024 elements of
// a tile of `height` rows by BN columns; grid: (tiles in pieces, height BN / 1024).
constexpr int PIECES_THREADS = 256;

template <int BN>
DEVICE void add_pieces(const float* workspace, float* dweight, int N, int K, int height,
                       const Plan& plan) {
  take_turn();
  const int element = (block_index_y() * PIECES_THREADS + thread_index()) * 4;
  const Pieces pieces = plan.pieces(block_index());
  const Corner at = plan.corner(plan.whole + block_index());
  const int row = at.row * height + element / BN, column = at.column * BN + element % BN;
  if (row >= N || column >= K) return;
  const i64 size = static_cast<i64>(height) * BN;
  float* to = dweight + static_cast<i64>(row) * K + column;
  Pack<float, 4> total = {};
  const auto add = [&](int slot) {
    const auto more = load_once<4>(workspace + slot * size + element);
#pragma unroll
    for (int e = 0; e < 4; e++) total[e] += more[e];
  };
#pragma unroll 8
  for (int band = 0; band < plan.bands; band++) add(block_index() + band * pieces.tiles);
#pragma unroll 4
  for (int slot = pieces.first; slot < pieces.last; slot++) add(slot);
  const auto before = load<4>(to);
#pragma unroll
  for (int e = 0; e < 4; e++) total[e] += before[e];
  store(to, total);
}

// --- variants ----------------------------------------------------------------------------------

#define CLUSTER(n) __cluster_dims__(n, 1, 1)
#define MAP const __grid_constant__ TensorMap
#define PLAN int rows, int columns, int steps, int whole, int bands, int band, int share
#define PLANNED(PAIR) Plan(PAIR, rows, columns, steps, whole, bands, band, share, blocks)

#define VARIANT(T, BN, PAIR, suffix)                                                               \
  extern "C" __global__ __launch_bounds__(512, 1) CLUSTER(PAIR)                                    \
  void linear_forward_##suffix(MAP x, MAP weight, const T* bias, const T* residual,                \
                               T* preactivation, T* out, int M, int N, int activation, int blocks, \
                               PLAN) {                                                             \
    forward<T, BN, PAIR>(x, weight, bias, residual, preactivation, out, M, N, activation,          \
                         PLANNED(PAIR));                                                           \
  }                                                                                                \
  extern "C" __global__ __launch_bounds__(512, 1) CLUSTER(PAIR)                                    \
  void linear_input_##suffix(MAP dout, MAP weight, const T* preactivation, T* out, int M, int K,   \
                             int activation, int blocks, PLAN) {                                   \
    input<T, BN, PAIR>(dout, weight, preactivation, out, M, K, activation, PLANNED(PAIR));         \
  }

VARIANT(bf16, 192, 2, tma192_bf16)
VARIANT(bf16, 128, 1, tma128_bf16)
VARIANT(f16, 192, 2, tma192_f16)
VARIANT(f16, 128, 1, tma128_f16)

#define WEIGHT_VARIANT(T, BN, PAIR, suffix)                                                   \
  extern "C" __global__ __launch_bounds__(384, 1) CLUSTER(PAIR)                               \
  void linear_weight_##suffix(MAP dout, MAP x, float* dweight, float* workspace, int N, int K, \
                              int blocks, PLAN) {                                             \
    weight<T, BN, PAIR>(dout, x, dweight, workspace, N, K, PLANNED(PAIR));                    \
  }

WEIGHT_VARIANT(bf16, 256, 2, tma256_bf16)
WEIGHT_VARIANT(bf16, 128, 1, tma128_bf16)
WEIGHT_VARIANT(f16, 256, 2, tma256_f16)
WEIGHT_VARIANT(f16, 128, 1, tma128_f16)

#define PIECES_VARIANT(BN, PAIR)                                                                  \
  KERNEL(PIECES_THREADS)                                                                          \
  void linear_pieces_##BN(const float* workspace, float* dweight, int N, int K, int blocks, PLAN) { \
    add_pieces<BN>(workspace, dweight, N, K, TMA_BM * PAIR, PLANNED(PAIR));                       \
  }

PIECES_VARIANT(256, 2)
PIECES_VARIANT(128, 1)

#endif
