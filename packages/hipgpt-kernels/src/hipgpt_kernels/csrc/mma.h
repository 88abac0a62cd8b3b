// The matrix-core tile: D(16, 16) += A(16, DEPTH) * B(DEPTH, 16), the same six calls on every GPU.
//
// The odd thing: on AMD matrix cores the two operands are given to the instruction the other way
// round. D^T = B^T * A^T is the same product, and it leaves a lane with consecutive *columns* of D,
// as NVIDIA's instruction does: rows are stored in wide pieces, and an accumulator that is rounded
// is at once the left operand of the next product (attention's P * V) with no shuffle.
//
//   GPU               instruction           DEPTH  ACCS      lane l, accumulator r hold D(i, j)
//   gfx950            mfma 16x16x32           32   4         i = l%16, j = 4(l/16)+r
//   gfx90a, gfx942    2 x mfma 16x16x16       32   4         i = l%16, j = 4(l/16)+r
//   gfx1201           wmma 16x16x16           16   8         i = l%16, j = 8(l/16)+r
//   gfx1100           wmma 16x16x16           16   8         i = l%16, j = 2r+l/16
//   sm_80 and later   2 x mma.sync m16n8k16   16   8         i = l/4+8(r/2%2), j = 8(r/4)+2(l%4)+r%2
//   float32, gfx1030  fused multiply-add     4, 8  256/WAVE  i = l/8+(WAVE/8)(r/2), j = l%8+8(r%2)
//
// (l is the lane, r the accumulator.) Code that uses this header asks `row` and `column` and never
// writes these formulas down. Sources: AMD's matrix instruction calculator, the RDNA 3 and RDNA 4
// ISA guides section 7.9, the PTX ISA section "Matrix fragments for mma.m16n8k16".
//
//   Mma<T>                            T is float, bf16 or f16; everything below is a member of it
//   MATRIX                            is there a matrix core for T?
//   A, B                              operands: 16 rows of A, or 16 columns of B, DEPTH deep
//   Acc                               float v[ACCS]; zero it with clear(acc)
//   load_a(a, tile, i, k)             tile.at(i, k): A(i.., k..) from LDS that holds rows of k
//   load_b(b, tile, j, k)             tile.at(j, k): B(k.., j..) from LDS that holds B^T, rows of k
//   load_a_transposed(a, tile, k, i)  tile.at(k, i): from LDS that holds, for each k, the 16 rows
//   load_b_transposed(b, tile, k, j)  tile.at(k, j): from LDS that holds, for each k, the 16 columns
//   mma(acc, a, b)                    acc += A * B, in float32
//   row(r), column(r)                 where accumulator r of this lane lies in D
//   rounded(a[], acc[])               N tiles D side by side as the 16 N / DEPTH left operands of a
//                                     next product, rounded to T
//
// A `tile` is Padded or Swizzled below (or anything with `at(row, column)` that gives a T*): pieces
// of eight 16-bit or four 32-bit elements must be 16-byte aligned and contiguous there. i, j, k are
// multiples of 16, 16, DEPTH. All lanes of a wave take part; no call has a barrier in it.
//
// The order of k within DEPTH is free as long as A and B agree. Natural order is used by all the
// loads. `rounded` gives k in the order in which accumulators lie, which on CDNA is another one:
// load the operand that meets it with load_b_transposed<ORDER_ROUNDED> (natural elsewhere).
//
// Sums over a row of D (softmax): a lane holds ROWS different rows; slot(r) says to which of them
// accumulator r belongs (row is the same for equal slots), and the lanes that hold the rest of the
// row are those at lane ^ m for m = ROW_FIRST, 2 ROW_FIRST, ... up to ROW_LAST.
#pragma once

#include "device.h"

// Which instruction 16-bit types use. Feature names, so that no kernel asks for an architecture.
#if defined(__gfx950__)
#define MMA_MFMA 1
#define MMA_MFMA_DEEP 1
#elif defined(__gfx90a__) || defined(__gfx942__) || defined(__gfx940__) || defined(__gfx941__) || \
  defined(__gfx9_4_generic__)
#define MMA_MFMA 1
#elif defined(__GFX12__)
#define MMA_WMMA_12 1
#elif defined(__GFX11__)
#define MMA_WMMA_11 1
#elif defined(__CUDA_ARCH__)
#define MMA_SYNC 1
#endif

enum MmaOrder { ORDER_NATURAL, ORDER_ROUNDED };

// LDS rows of STRIDE elements. Eight extra 16-bit (four 32-bit) elements a row keep 16-byte reads
// of consecutive rows in different banks.
template <class T, int STRIDE>
struct Padded {
  T* base;
  __device__ T* at(int row, int column) const { return base + row * STRIDE + column; }
};

// LDS rows of WIDTH elements without padding: 16-byte piece p of row i lies at p ^ f(i), so that
// eight rows read at one p meet every bank once. With STRIDED the same holds for eight rows at
// distance eight, which is how a tile is written that is transposed on the way.
template <class T, int WIDTH, bool STRIDED = true>
struct Swizzled {
  static constexpr int PIECE = 16 / static_cast<int>(sizeof(T));  // elements of 16 bytes
  static constexpr int PIECES = WIDTH / PIECE;                    // a power of two
  static constexpr int MASK = PIECES < 8 ? PIECES - 1 : 7;
  static constexpr int SHARE = PIECES < 8 ? 8 / PIECES : 1;  // rows in the 128 bytes of all banks
  static_assert((PIECES & (PIECES - 1)) == 0, "a row must be a power of two of 16-byte pieces");
  T* base;
  DEVICE int offset(int row, int column) {
    const int turn = (STRIDED ? (row / SHARE) ^ (row >> 3) : row / SHARE) & MASK;
    return row * WIDTH + (column / PIECE ^ turn) * PIECE + column % PIECE;
  }
  __device__ T* at(int row, int column) const { return base + offset(row, column); }
};

template <class T, class U>
struct Same {
  static constexpr bool value = false;
};
template <class T>
struct Same<T, T> {
  static constexpr bool value = true;
};

// Two floats rounded to nearest even, the first in the low half. Faster on AMD than device.h's: no
// operation is spent on a NaN whose upper 16 bits are all ones, which no bf16 input and no
// instruction makes; any other NaN stays one.
template <class T>
DEVICE u32 pack_pair(float low, float high) {
  if constexpr (Same<T, f16>::value) {
    return pack_f16(low, high);
  } else {
#if HIPGPT_NVIDIA
    return pack_bf16(low, high);
#elif defined(MMA_MFMA_DEEP)
    typedef __bf16 Pair __attribute__((ext_vector_type(2)));
    return bit_cast<u32>(Pair{static_cast<__bf16>(low), static_cast<__bf16>(high)});
#else
    u32 a = bit_cast<u32>(low), b = bit_cast<u32>(high);
    a += 0x7fffu + ((a >> 16) & 1u);
    b += 0x7fffu + ((b >> 16) & 1u);
    return (a >> 16) | (b & 0xffff0000u);
#endif
  }
}

// ------------------------------------------------------------------------------------------------
// Fused multiply-add: float32 on every GPU, and every type where there is no matrix core.
//
// A lane owns 128 / WAVE rows and two columns of D, at distance WAVE / 8 and 8: then the lanes of a
// wave read consecutive rows of the tile, which the swizzle puts in different banks.
// ------------------------------------------------------------------------------------------------

template <class T>
struct MmaFma {
  static constexpr bool MATRIX = false;
  static constexpr int DEPTH = PACK<T>;          // 16 bytes of a row: 4 or 8
  static constexpr int STEP = WAVE / 8;          // distance of the rows that a lane owns
  static constexpr int ROWS = 16 / STEP;         // rows of D in a lane: 4 (wave 32), 2 (wave 64)
  static constexpr int ACCS = 2 * ROWS;
  static constexpr int ROW_FIRST = 1, ROW_LAST = 4;

  struct A {
    Pack<T, DEPTH> p[ROWS];
  };
  struct B {
    Pack<T, DEPTH> p[2];
  };
  struct Acc {
    float v[ACCS];
  };

  DEVICE int row(int r) { return lane() / 8 + STEP * (r / 2); }
  DEVICE int column(int r) { return lane() % 8 + 8 * (r % 2); }
  constexpr DEVICE int slot(int r) { return r / 2; }

  template <class Tile>
  DEVICE void load_a(A& a, const Tile& tile, int i, int k) {
#pragma unroll
    for (int s = 0; s < ROWS; s++) a.p[s] = load<DEPTH>(tile.at(i + lane() / 8 + STEP * s, k));
  }
  template <class Tile>
  DEVICE void load_b(B& b, const Tile& tile, int j, int k) {
#pragma unroll
    for (int s = 0; s < 2; s++) b.p[s] = load<DEPTH>(tile.at(j + lane() % 8 + 8 * s, k));
  }
  template <MmaOrder ORDER = ORDER_NATURAL, class Tile>
  DEVICE void load_a_transposed(A& a, const Tile& tile, int k, int i) {
#pragma unroll
    for (int s = 0; s < ROWS; s++) gather(a.p[s], tile, k, i + lane() / 8 + STEP * s);
  }
  template <MmaOrder ORDER = ORDER_NATURAL, class Tile>
  DEVICE void load_b_transposed(B& b, const Tile& tile, int k, int j) {
#pragma unroll
    for (int s = 0; s < 2; s++) gather(b.p[s], tile, k, j + lane() % 8 + 8 * s);
  }

  DEVICE void mma(Acc& d, const A& a, const B& b) {
#pragma unroll
    for (int k = 0; k < DEPTH; k++)
#pragma unroll
      for (int s = 0; s < ROWS; s++)
#pragma unroll
        for (int c = 0; c < 2; c++)
          d.v[2 * s + c] = fmaf(to_float(a.p[s][k]), to_float(b.p[c][k]), d.v[2 * s + c]);
  }

  // N accumulator tiles side by side (columns 16 n ..) become 16 N / DEPTH operands. A row's
  // columns lie in the eight lanes that share it: each is fetched from its owner.
  template <int N>
  DEVICE void rounded(A (&a)[16 * N / DEPTH], const Acc (&d)[N]) {
#pragma unroll
    for (int k = 0; k < 16 * N; k++)
#pragma unroll
      for (int s = 0; s < ROWS; s++) {
        float x = shuffle(d[k / 16].v[2 * s + (k % 16) / 8], (lane() & ~7) + k % 8);
        a[k / DEPTH].p[s][k % DEPTH] = from_float<T>(x);
      }
  }

 private:
  template <class Tile>
  DEVICE void gather(Pack<T, DEPTH>& piece, const Tile& tile, int k, int i) {
#pragma unroll
    for (int e = 0; e < DEPTH; e++) piece[e] = *tile.at(k + e, i);
  }
};

// ------------------------------------------------------------------------------------------------
// Matrix cores: 16-bit types.
// ------------------------------------------------------------------------------------------------

#if defined(MMA_MFMA) || defined(MMA_WMMA_11) || defined(MMA_WMMA_12)

typedef float Float4 __attribute__((ext_vector_type(4)));
typedef float Float8 __attribute__((ext_vector_type(8)));
typedef short Short4 __attribute__((ext_vector_type(4)));
typedef short Short16 __attribute__((ext_vector_type(16)));
typedef short Short8 __attribute__((ext_vector_type(8)));
typedef __bf16 Bfloat8 __attribute__((ext_vector_type(8)));
typedef _Float16 Half4 __attribute__((ext_vector_type(4)));
typedef _Float16 Half8 __attribute__((ext_vector_type(8)));
typedef _Float16 Half16 __attribute__((ext_vector_type(16)));

#endif

#if defined(MMA_MFMA)

struct MmaShape {
  static constexpr int DEPTH = 32;  // lane l holds eight k from 8 (l / 16), of row l % 16
  static constexpr int WORDS = 4;
  static constexpr int ACCS = 4;
  static constexpr int ROWS = 1;
  static constexpr int ROW_FIRST = 16, ROW_LAST = 32;
  DEVICE int row(int) { return lane() % 16; }
  DEVICE int column(int r) { return 4 * (lane() / 16) + r; }
  constexpr DEVICE int slot(int) { return 0; }
  DEVICE int first_k() { return 8 * (lane() / 16); }
  static constexpr int RUN = 8;     // elements of k in a lane
  DEVICE int k_of(MmaOrder order, int e) {
    // Two accumulator tiles: columns 4 g .. 4 g + 3 of the first, then of the second.
    int g = lane() / 16;
    return order == ORDER_ROUNDED ? 16 * (e / 4) + 4 * g + e % 4 : 8 * g + e;
  }
};

#elif defined(MMA_WMMA_12)

struct MmaShape {
  static constexpr int DEPTH = 16;  // lane l holds eight k from 8 (l / 16), of row l % 16
  static constexpr int WORDS = 4;
  static constexpr int ACCS = 8;
  static constexpr int ROWS = 1;
  static constexpr int ROW_FIRST = 16, ROW_LAST = 16;
  DEVICE int row(int) { return lane() % 16; }
  DEVICE int column(int r) { return 8 * (lane() / 16) + r; }
  constexpr DEVICE int slot(int) { return 0; }
  DEVICE int first_k() { return 8 * (lane() / 16); }
  static constexpr int RUN = 8;
  DEVICE int k_of(MmaOrder, int e) { return first_k() + e; }
};

#elif defined(MMA_WMMA_11)

struct MmaShape {
  static constexpr int DEPTH = 16;  // lanes l and l + 16 both hold all sixteen k of row l % 16
  static constexpr int WORDS = 8;
  static constexpr int ACCS = 8;
  static constexpr int ROWS = 1;
  static constexpr int ROW_FIRST = 16, ROW_LAST = 16;
  DEVICE int row(int) { return lane() % 16; }
  DEVICE int column(int r) { return 2 * r + lane() / 16; }
  constexpr DEVICE int slot(int) { return 0; }
  DEVICE int first_k() { return 0; }
  static constexpr int RUN = 16;
  DEVICE int k_of(MmaOrder, int e) { return e; }
};

#elif defined(MMA_SYNC)

struct MmaShape {
  static constexpr int DEPTH = 16;  // four 8x8 matrices: rows 0-7, 8-15 at k 0-7, then at k 8-15
  static constexpr int ACCS = 8;
  static constexpr int ROWS = 2;
  static constexpr int ROW_FIRST = 1, ROW_LAST = 2;
  DEVICE int row(int r) { return lane() / 4 + 8 * ((r / 2) % 2); }
  DEVICE int column(int r) { return 8 * (r / 4) + 2 * (lane() % 4) + r % 2; }
  constexpr DEVICE int slot(int r) { return (r / 2) % 2; }
};

#endif

#if defined(MMA_MFMA) || defined(MMA_WMMA_11) || defined(MMA_WMMA_12) || defined(MMA_SYNC)

template <class T>
struct MmaCore : MmaShape {
  static constexpr bool MATRIX = true;
  struct Acc {
    float v[ACCS];
  };

#if defined(MMA_SYNC)

  // The instruction takes A by matrices (rows 0-7, k 0-7), (8-15, 0-7), (0-7, 8-15), (8-15, 8-15), and
  // B, eight columns at a time, by (k 0-7), (k 8-15), each pair in neighbouring registers.
  struct A {
    u32 w[4];
  };
  struct B {
    u32 w[4];  // columns 0-7: k 0-7, k 8-15; columns 8-15: k 0-7, k 8-15
  };

  template <class Tile>
  DEVICE void load_a(A& a, const Tile& tile, int i, int k) {
    matrices(a.w, tile.at(i + lane() % 16, k + 8 * (lane() / 16)));
  }
  template <class Tile>
  DEVICE void load_b(B& b, const Tile& tile, int j, int k) {
    matrices(b.w, tile.at(j + lane() % 8 + 8 * (lane() / 16), k + 8 * (lane() / 8 % 2)));
  }
  template <MmaOrder ORDER = ORDER_NATURAL, class Tile>
  DEVICE void load_a_transposed(A& a, const Tile& tile, int k, int i) {
    matrices_transposed(a.w, tile.at(k + lane() % 8 + 8 * (lane() / 16), i + 8 * (lane() / 8 % 2)));
  }
  template <MmaOrder ORDER = ORDER_NATURAL, class Tile>
  DEVICE void load_b_transposed(B& b, const Tile& tile, int k, int j) {
    matrices_transposed(b.w, tile.at(k + lane() % 16, j + 8 * (lane() / 16)));
  }

  DEVICE void mma(Acc& d, const A& a, const B& b) {
    half_tile(d.v, a, b.w[0], b.w[1]);      // columns 0-7
    half_tile(d.v + 4, a, b.w[2], b.w[3]);  // columns 8-15
  }
  template <int N>
  DEVICE void rounded(A (&a)[N], const Acc (&d)[N]) {
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int r = 0; r < 8; r += 2)
        a[n].w[r / 2] = pack_pair<T>(d[n].v[r], d[n].v[r + 1]);
  }

 private:
  // Four 8x8 matrices; lane l gives the address of row l % 8 of matrix l / 8.
  DEVICE void matrices(u32* w, const T* p) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(w[0]), "=r"(w[1]), "=r"(w[2]), "=r"(w[3])
                 : "r"(static_cast<u32>(__cvta_generic_to_shared(p)))
                 : "memory");
  }
  DEVICE void matrices_transposed(u32* w, const T* p) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(w[0]), "=r"(w[1]), "=r"(w[2]), "=r"(w[3])
                 : "r"(static_cast<u32>(__cvta_generic_to_shared(p)))
                 : "memory");
  }
  DEVICE void half_tile(float* d, const A& a, u32 b0, u32 b1) {
    if constexpr (Same<T, bf16>::value)
      asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a.w[0]), "r"(a.w[1]), "r"(a.w[2]), "r"(a.w[3]), "r"(b0), "r"(b1));
    else
      asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a.w[0]), "r"(a.w[1]), "r"(a.w[2]), "r"(a.w[3]), "r"(b0), "r"(b1));
  }

#else  // AMD: one layout for both operands

  struct A {
    u32 w[WORDS];
  };
  typedef A B;

  template <class Tile>
  DEVICE void load_a(A& a, const Tile& tile, int i, int k) {
    load_rows(a, tile, i, k);
  }
  template <class Tile>
  DEVICE void load_b(B& b, const Tile& tile, int j, int k) {
    load_rows(b, tile, j, k);
  }
  template <MmaOrder ORDER = ORDER_NATURAL, class Tile>
  DEVICE void load_a_transposed(A& a, const Tile& tile, int k, int i) {
    load_columns<ORDER>(a, tile, k, i);
  }
  template <MmaOrder ORDER = ORDER_NATURAL, class Tile>
  DEVICE void load_b_transposed(B& b, const Tile& tile, int k, int j) {
    load_columns<ORDER>(b, tile, k, j);
  }

  template <class Tile>
  DEVICE void load_rows(A& a, const Tile& tile, int i, int k) {
#pragma unroll
    for (int e = 0; e < RUN; e += 8) {
      const T* source = tile.at(i + lane() % 16, k + first_k() + e);
      const auto piece = bit_cast<Pack<u32, 4>>(load<8>(source));
#pragma unroll
      for (int w = 0; w < 4; w++) a.w[e / 2 + w] = piece[w];
    }
  }
  template <MmaOrder ORDER, class Tile>
  DEVICE void load_columns(A& a, const Tile& tile, int k, int i) {
#pragma unroll
    for (int e = 0; e < RUN; e += 2) {
      const u32 low = tile.at(k + k_of(ORDER, e), i + lane() % 16)->bits;
      const u32 high = tile.at(k + k_of(ORDER, e + 1), i + lane() % 16)->bits;
      a.w[e / 2] = low | (high << 16);
    }
  }

#if defined(MMA_MFMA)

  DEVICE void mma(Acc& d, const A& a, const B& b) {
    Float4 c = {d.v[0], d.v[1], d.v[2], d.v[3]};
    if constexpr (Same<T, bf16>::value) {
#if defined(MMA_MFMA_DEEP)
      c = __builtin_amdgcn_mfma_f32_16x16x32_bf16(bit_cast<Bfloat8>(b),
                            bit_cast<Bfloat8>(a), c, 0, 0, 0);
#else
      c = __builtin_amdgcn_mfma_f32_16x16x16bf16_1k(half<Short4>(b, 0), half<Short4>(a, 0), c,
                              0, 0, 0);
      c = __builtin_amdgcn_mfma_f32_16x16x16bf16_1k(half<Short4>(b, 2), half<Short4>(a, 2), c,
                              0, 0, 0);
#endif
    } else {
#if defined(MMA_MFMA_DEEP)
      c = __builtin_amdgcn_mfma_f32_16x16x32_f16(bit_cast<Half8>(b),
                             bit_cast<Half8>(a), c, 0, 0, 0);
#else
      c = __builtin_amdgcn_mfma_f32_16x16x16f16(half<Half4>(b, 0), half<Half4>(a, 0), c, 0, 0,
                            0);
      c = __builtin_amdgcn_mfma_f32_16x16x16f16(half<Half4>(b, 2), half<Half4>(a, 2), c, 0, 0,
                            0);
#endif
    }
#pragma unroll
    for (int r = 0; r < 4; r++) d.v[r] = c[r];
  }
  template <int N>
  DEVICE void rounded(A (&a)[N / 2], const Acc (&d)[N]) {
    static_assert(N % 2 == 0, "an operand of depth 32 is made of two tiles of 16 columns");
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int r = 0; r < 4; r += 2)
        a[n / 2].w[2 * (n % 2) + r / 2] = pack_pair<T>(d[n].v[r], d[n].v[r + 1]);
  }

 private:
  template <class V>
  DEVICE V half(const A& a, int w) {  // four elements: words w, w + 1
    return bit_cast<V>(Pack<u32, 2>{{a.w[w], a.w[w + 1]}});
  }

#else  // WMMA

  DEVICE void mma(Acc& d, const A& a, const B& b) {
    Float8 c;
#pragma unroll
    for (int r = 0; r < 8; r++) c[r] = d.v[r];
#if defined(MMA_WMMA_12)
    if constexpr (Same<T, bf16>::value)
      c = __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32_gfx12(
        bit_cast<Short8>(b), bit_cast<Short8>(a), c);
    else
      c = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32_gfx12(
        bit_cast<Half8>(b), bit_cast<Half8>(a), c);
#else
    if constexpr (Same<T, bf16>::value)
      c = __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32(
        bit_cast<Short16>(b), bit_cast<Short16>(a), c);
    else
      c = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(
        bit_cast<Half16>(b), bit_cast<Half16>(a), c);
#endif
#pragma unroll
    for (int r = 0; r < 8; r++) d.v[r] = c[r];
  }
  template <int N>
  DEVICE void rounded(A (&a)[N], const Acc (&d)[N]) {
#pragma unroll
    for (int n = 0; n < N; n++) {
#if defined(MMA_WMMA_12)
#pragma unroll
      for (int r = 0; r < 8; r += 2)
        a[n].w[r / 2] = pack_pair<T>(d[n].v[r], d[n].v[r + 1]);
#else
      // The lane has every second column; the lane 16 further has the others.
      int upper = lane() / 16;
#pragma unroll
      for (int r = 0; r < 8; r++) {
        float other = shuffle(d[n].v[r], lane() ^ 16);
        a[n].w[r] = pack_pair<T>(upper ? other : d[n].v[r], upper ? d[n].v[r] : other);
      }
#endif
    }
  }

#endif
#endif
};

template <class T>
struct Mma : MmaCore<T> {};
template <>
struct Mma<float> : MmaFma<float> {};

#else  // no matrix core

template <class T>
struct Mma : MmaFma<T> {};

#endif

template <class Acc>
DEVICE void clear(Acc& acc) {
#pragma unroll
  for (int r = 0; r < (int)(sizeof(acc.v) / sizeof(float)); r++) acc.v[r] = 0.0f;
}
