// One block's tile of a matrix product, C(M, N) = A(M, K) * B(K, N), for operands stored either way.
//
//   global memory --> LDS (STAGES pieces of depth BK) --> operands in registers --> accumulators
//
// The odd thing: there are two ways into LDS. Where NVIDIA multiplies 16-bit types, cp.async copies
// 16-byte pieces as they lie, and ldmatrix turns what is stored the wrong way round. Everywhere else
// a piece passes through registers (fetched while the piece before is multiplied) and is turned on
// its way into LDS: four rows of k by one 16-byte piece become pieces with four k together.
//
// An operand is "deep" where k is its contiguous dimension (x and weight in the forward), else
// "wide" (weight in the input gradient, both in the weight gradient). Outside of the operand, zeros
// are put into LDS, so the loop itself has no guards.
#pragma once

#include "device.h"
#include "linear_tiles.h"
#include "mma.h"
#include "wgmma.h"

// C(rows) from a matrix in global memory, `extent` rows of C by `depth`, stored contiguously.
template <class T>
struct Source {
  const T* data;
  int extent;  // M for A, N for B
  int depth;   // K
  bool pieces;  // rows start on 16-byte borders, so 16-byte pieces may be read
};

template <class T, bool DEEP>
DEVICE Source<T> source(const T* data, int extent, int depth) {
  const int row = DEEP ? depth : extent;
  return {data, extent, depth, row % PACK<T> == 0 && aligned(data)};
}

// Eight 16-bit elements from any address: as few loads as its parity allows. On an odd address the
// words in the middle are aligned, and each result is made of two neighbours.
template <class T>
DEVICE Pack<T, 8> read_unaligned(const T* p) {
  Pack<u32, 4> words;
  if (aligned(p, 4)) {
    const u32* w = reinterpret_cast<const u32*>(p);
#pragma unroll
    for (int i = 0; i < 4; i++) words[i] = w[i];
  } else {
    const u32* w = reinterpret_cast<const u32*>(p + 1);
    u32 before = static_cast<u32>(p[0].bits) << 16;
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const u32 next = i < 3 ? w[i] : p[7].bits;
      words[i] = before >> 16 | next << 16;
      before = next;
    }
  }
  return bit_cast<Pack<T, 8>>(words);
}

// 16 bytes of a row that has `count` more elements; zeros after them, and where `inside` is false.
template <bool ALIGNED, class T>
DEVICE Pack<T, PACK<T>> read_piece(const T* p, bool inside, int count) {
  Pack<T, PACK<T>> piece = {};
  if (inside && count > 0) {
    if constexpr (ALIGNED) {
      piece = load<PACK<T>>(p);
    } else {
      if constexpr (sizeof(T) == 2) {
        if (count >= PACK<T>) return read_unaligned(p);
      }
#pragma unroll
      for (int e = 0; e < PACK<T>; e++)
        if (e < count) piece[e] = p[e];
    }
  }
  return piece;
}

#if HIPGPT_NVIDIA

// 16 bytes from global to shared memory behind the program's back; zeros where `inside` is false.
DEVICE void copy_async(void* to, const void* from, bool inside) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   static_cast<u32>(__cvta_generic_to_shared(to))),
               "l"(from), "r"(inside ? 16 : 0)
               : "memory");
}
DEVICE void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int PENDING>
DEVICE void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

#endif

// Members must be inlined, or the accumulators would live in memory.
#if HIPGPT_NVIDIA
#define MEMBER __device__ __forceinline__
#else
#define MEMBER __device__ inline __attribute__((always_inline))
#endif

// --- cp.async: LDS holds the matrix as it is stored --------------------------------------------

enum Way { REGISTERS, ASYNC, WGMMA };

template <bool YES, class T, class U>
struct Either {
  using Type = T;
};
template <class T, class U>
struct Either<false, T, U> {
  using Type = U;
};

template <class T, bool DEEP, int EXTENT, int BK, int THREADS, Way WAY>
struct Panel {
  static constexpr int ROWS = DEEP ? EXTENT : BK;
  static constexpr int WIDTH = DEEP ? BK : EXTENT;
  static constexpr int PIECES = WIDTH / PACK<T>;
  static constexpr int SIZE = EXTENT * BK;  // elements of a stage
  static constexpr int TURNS = ROWS * PIECES / THREADS;
  static constexpr bool BLOCKS = WAY == WGMMA && !DEEP;
  using Lds = typename Either<BLOCKS, Blocks<T, BK>, Swizzled<T, WIDTH, false>>::Type;
  static constexpr int PITCH = BLOCKS ? 64 : WIDTH;  // elements from one row to the next
  static_assert(ROWS * PIECES % THREADS == 0, "every thread copies as many pieces");

#if HIPGPT_NVIDIA
  // Every thread copies one piece of each TURN_ROWS rows: its addresses are a start and two strides.
  static constexpr int TURN_ROWS = THREADS / PIECES;
  static_assert(THREADS % PIECES == 0 && TURN_ROWS % 8 == 0, "the swizzle repeats every eight rows");

  const T* from;     // this thread's first piece, at the next depth to fill
  i64 turn_stride;   // elements between its pieces
  i64 step_stride;   // elements between depths
  int row, column;   // of the first piece, in the matrix as it is stored
  int rows, columns;
  int place;         // where in a stage it goes

  MEMBER void start(const Source<T>& of, int first, int k) {
    const int r = thread_index() / PIECES, c = thread_index() % PIECES * PACK<T>;
    rows = DEEP ? of.extent : of.depth;
    columns = DEEP ? of.depth : of.extent;
    row = r + (DEEP ? first : k);
    column = c + (DEEP ? k : first);
    from = of.data + static_cast<i64>(row) * columns + column;
    turn_stride = static_cast<i64>(TURN_ROWS) * columns;
    step_stride = DEEP ? BK : static_cast<i64>(BK) * columns;
    place = Lds::offset(r, c);
  }

  // Fill a stage with the next depth. Pieces outside of the matrix become zeros.
  template <bool ALIGNED>
  MEMBER void fill(T* stage) {
    const int left = column < columns ? rows - row : 0;
    const T* p = from;
#pragma unroll
    for (int turn = 0; turn < TURNS; turn++) {
      T* to = stage + place + turn * TURN_ROWS * PITCH;
      if constexpr (ALIGNED)
        copy_async(to, p, turn * TURN_ROWS < left);
      else
        store(to, read_piece<false>(p, turn * TURN_ROWS < left, columns - column));
      p += turn_stride;
    }
    from += step_stride;
    (DEEP ? column : row) += BK;
  }
#endif

  template <class Operand>
  DEVICE void read_a(Operand& a, Lds tile, int i, int k) {
    if constexpr (DEEP) Mma<T>::load_a(a, tile, i, k);
    else Mma<T>::load_a_transposed(a, tile, k, i);
  }
  template <class Operand>
  DEVICE void read_b(Operand& b, Lds tile, int j, int k) {
    if constexpr (DEEP) Mma<T>::load_b(b, tile, j, k);
    else Mma<T>::load_b_transposed(b, tile, k, j);
  }
};

// --- through registers: LDS always holds rows of k ---------------------------------------------

template <class T, bool DEEP, int EXTENT, int BK, int THREADS>
struct Panel<T, DEEP, EXTENT, BK, THREADS, REGISTERS> {
  using Lds = Swizzled<T, BK>;
  static constexpr int SIZE = EXTENT * BK;
  static constexpr int KS = DEEP ? 1 : 4;  // rows of the stored matrix that a thread takes at once
  static constexpr int UNITS = SIZE / PACK<T> / KS;
  static constexpr int TURNS = (UNITS + THREADS - 1) / THREADS;
  static constexpr int PIECES = (DEEP ? BK : EXTENT) / PACK<T>;  // in a stored row

  Pack<T, PACK<T>> held[TURNS * KS];

  DEVICE bool idle(int unit) { return UNITS % THREADS != 0 && unit >= UNITS; }

  template <bool ALIGNED>
  MEMBER void fetch(const Source<T>& from, int first, int k) {
#pragma unroll
    for (int turn = 0; turn < TURNS; turn++) {
      const int unit = turn * THREADS + thread_index();
      if (idle(unit)) break;
      const int row = unit / PIECES, column = unit % PIECES * PACK<T>;
      if constexpr (DEEP) {
        held[turn] = read_piece<ALIGNED>(
            from.data + static_cast<i64>(first + row) * from.depth + k + column,
            first + row < from.extent, from.depth - k - column);
      } else {
#pragma unroll
        for (int s = 0; s < KS; s++)
          held[turn * KS + s] =
              read_piece<ALIGNED>(
                  from.data + static_cast<i64>(k + KS * row + s) * from.extent + first + column,
                  k + KS * row + s < from.depth, from.extent - first - column);
      }
    }
  }

  MEMBER void put(Lds to) {
#pragma unroll
    for (int turn = 0; turn < TURNS; turn++) {
      const int unit = turn * THREADS + thread_index();
      if (idle(unit)) break;
      const int row = unit / PIECES, column = unit % PIECES * PACK<T>;
      if constexpr (DEEP) {
        store(to.at(row, column), held[turn]);
      } else {
#pragma unroll
        for (int e = 0; e < PACK<T>; e++) {
          Pack<T, KS> together;
#pragma unroll
          for (int s = 0; s < KS; s++) together[s] = held[turn * KS + s][e];
          store(to.at(column + e, KS * row), together);
        }
      }
    }
  }

  template <class Operand>
  DEVICE void read_a(Operand& a, Lds tile, int i, int k) {
    Mma<T>::load_a(a, tile, i, k);
  }
  template <class Operand>
  DEVICE void read_b(Operand& b, Lds tile, int j, int k) {
    Mma<T>::load_b(b, tile, j, k);
  }
};

// --- the product -------------------------------------------------------------------------------

template <class T, class Tile, bool A_DEEP, bool B_DEEP>
struct Product {
  using M = Mma<T>;
  // A tile whose waves have 16 rows and all columns is one for wgmma.
  static constexpr Way WAY = !HIPGPT_NVIDIA || sizeof(T) != 2                         ? REGISTERS
                             : HOPPER && Tile::WM == 16 && Tile::WN == Tile::BN ? WGMMA
                                                                                : ASYNC;
  using PanelA = Panel<T, A_DEEP, Tile::BM, Tile::BK, Tile::THREADS, WAY>;
  using PanelB = Panel<T, B_DEEP, Tile::BN, Tile::BK, Tile::THREADS, WAY>;
  static constexpr int STAGE = PanelA::SIZE + PanelB::SIZE;  // elements
  static constexpr int FM = Tile::WM / 16, FN = Tile::WN / 16;

  // Results leave by LDS, 16 rows of a wave at a time, so that a lane gets eight columns together.
  // The padding puts what the lanes of a wave write at once in different banks.
  static constexpr int OUT_STRIDE = Tile::WN + (HIPGPT_NVIDIA ? 8 : 4);
  static constexpr int OUT_BYTES = Tile::THREADS / WAVE * 16 * OUT_STRIDE * 4;
  static constexpr int STAGE_BYTES = Tile::STAGES * STAGE * static_cast<int>(sizeof(T));
  static constexpr int LDS_BYTES = STAGE_BYTES > OUT_BYTES ? STAGE_BYTES : OUT_BYTES;

  typename M::Acc acc[FM][FN];
  int wave_m, wave_n;  // where the wave's part of the tile starts

  // acc = A(m0 .., k0 .. k1) * B(.., n0 ..); k0 is a multiple of BK.
  MEMBER void run(unsigned char* lds, const Source<T>& a, const Source<T>& b, int m0, int n0,
                      int k0, int k1) {
    wave_m = wave_index() / Tile::WAVES_N * Tile::WM;
    wave_n = wave_index() % Tile::WAVES_N * Tile::WN;
#pragma unroll
    for (int i = 0; i < FM; i++)
#pragma unroll
      for (int j = 0; j < FN; j++) clear(acc[i][j]);
    // Two copies of the loop, so that the usual one has no path for single elements in it.
    if (a.pieces && b.pieces)
      loop<true>(reinterpret_cast<T*>(lds), a, b, m0, n0, k0, k1);
    else
      loop<false>(reinterpret_cast<T*>(lds), a, b, m0, n0, k0, k1);
    barrier();  // LDS is free for the results
  }

  template <bool ALIGNED>
  MEMBER void loop(T* stages, const Source<T>& a, const Source<T>& b, int m0, int n0, int k0,
                       int k1) {
    const int steps = (k1 - k0 + Tile::BK - 1) / Tile::BK;
    PanelA panel_a;
    PanelB panel_b;
#if HIPGPT_NVIDIA
    if constexpr (WAY != REGISTERS) {
      // A stage is filled again AHEAD steps before it is needed. wgmma may still be reading the one of
      // the step before, so it leaves one stage more alone.
      constexpr int AHEAD = Tile::STAGES - (WAY == WGMMA ? 2 : 1);
      panel_a.start(a, m0, k0);
      panel_b.start(b, n0, k0);
      auto fill = [&](int step) {
        T* stage = stages + step % Tile::STAGES * STAGE;
        if (step < steps) {
          panel_a.template fill<ALIGNED>(stage);
          panel_b.template fill<ALIGNED>(stage + PanelA::SIZE);
        }
        copy_commit();  // empty groups keep the count right at the end
      };
#pragma unroll
      for (int step = 0; step < AHEAD; step++) fill(step);
      for (int step = 0; step < steps; step++) {
        T* stage = stages + step % Tile::STAGES * STAGE;
        copy_wait<AHEAD - 1>();
#if HOPPER
        if constexpr (WAY == WGMMA) {
          wgmma_see();
          barrier();  // this step's pieces are there, and all have done with the step before the last
          multiply_behind(stage);
          fill(step + AHEAD);
          wgmma_wait<1>();
          wgmma_hold(acc[0]);
        } else
#endif
        {
          barrier();  // this step's pieces are there, and the stage filled next is free
          fill(step + AHEAD);
          multiply(stage);
        }
      }
      copy_wait<0>();
#if HOPPER
      if constexpr (WAY == WGMMA) {
        wgmma_wait<0>();
        wgmma_hold(acc[0]);
      }
#endif
    } else
#endif
    {
      panel_a.template fetch<ALIGNED>(a, m0, k0);
      panel_b.template fetch<ALIGNED>(b, n0, k0);
      for (int step = 0; step < steps; step++) {
        T* stage = stages + step % Tile::STAGES * STAGE;
        if (Tile::STAGES == 1) barrier();  // the stage has been read
        panel_a.put({stage});
        panel_b.put({stage + PanelA::SIZE});
        barrier();
        if (step + 1 < steps) {
          panel_a.template fetch<ALIGNED>(a, m0, k0 + (step + 1) * Tile::BK);
          panel_b.template fetch<ALIGNED>(b, n0, k0 + (step + 1) * Tile::BK);
        }
        multiply(stage);
      }
    }
  }

  MEMBER void multiply(T* stage) {
    const typename PanelA::Lds tile_a{stage};
    const typename PanelB::Lds tile_b{stage + PanelA::SIZE};
    // Matrix cores: all the way, so that operands are read ahead. Plain multiply-adds are many already.
    constexpr int UNROLL = M::MATRIX ? Tile::BK / M::DEPTH : 1;
#pragma unroll UNROLL
    for (int k = 0; k < Tile::BK; k += M::DEPTH) {
      typename M::A a[FM];
      typename M::B b[FN];
#pragma unroll
      for (int i = 0; i < FM; i++) PanelA::read_a(a[i], tile_a, wave_m + 16 * i, k);
#pragma unroll
      for (int j = 0; j < FN; j++) PanelB::read_b(b[j], tile_b, wave_n + 16 * j, k);
#pragma unroll
      for (int i = 0; i < FM; i++)
#pragma unroll
        for (int j = 0; j < FN; j++) M::mma(acc[i][j], a[i], b[j]);
    }
  }

#if HOPPER
  // Start the products of a stage; they are done after a wait.
  MEMBER void multiply_behind(T* stage) {
    const int group = wave_index() / 4;  // a warpgroup has 64 rows: 64 rows of 128 bytes, or a block
    const u64 a = descriptor<Tile::BK>(stage + group * 64 * 64);
    const u64 b = descriptor<Tile::BK>(stage + PanelA::SIZE);
    // 16 k further: 32 bytes along a row, or 16 rows of 128 bytes.
    constexpr u64 STEP_A = (A_DEEP ? 32 : 2048) / 16, STEP_B = (B_DEEP ? 32 : 2048) / 16;
    static_assert(Tile::BK == 64 || WAY != WGMMA, "a row of 128 bytes");
    wgmma_hold(acc[0]);
    wgmma_begin();
#pragma unroll
    for (int k = 0; k < Tile::BK / 16; k++)
      wgmma<T, A_DEEP, B_DEEP>(acc[0], a + k * STEP_A, b + k * STEP_B);
    wgmma_commit();
  }
#endif

  // Give the results to `use(row, column, values)`, row and column counted from the tile's corner:
  // eight columns at a time, neighbours in neighbouring lanes.
  template <class Use>
  MEMBER void results(unsigned char* lds, Use use) {
    float* strip = reinterpret_cast<float*>(lds) + wave_index() * 16 * OUT_STRIDE;
    constexpr int LANES = Tile::WN / 8;        // that share a row
    constexpr int ROWS = WAVE / LANES;         // written at once
#pragma unroll
    for (int i = 0; i < FM; i++) {
      wave_barrier();
#pragma unroll
      for (int j = 0; j < FN; j++)
#pragma unroll
        for (int r = 0; r < M::ACCS; r++)
          strip[M::row(r) * OUT_STRIDE + 16 * j + M::column(r)] = acc[i][j].v[r];
      wave_barrier();
#pragma unroll
      for (int turn = 0; turn < (16 + ROWS - 1) / ROWS; turn++) {
        const int row = turn * ROWS + lane() / LANES, column = lane() % LANES * 8;
        if (ROWS <= 16 || row < 16) {
          const float* p = strip + row * OUT_STRIDE + column;
          const Pack<float, 4> first = load<4>(p), second = load<4>(p + 4);
          Pack<float, 8> values;
#pragma unroll
          for (int e = 0; e < 4; e++) values[e] = first[e], values[e + 4] = second[e];
          use(wave_m + 16 * i + row, wave_n + column, values);
        }
      }
    }
  }
};
