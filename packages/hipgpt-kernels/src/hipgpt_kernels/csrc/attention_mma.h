// Products for attention: a wave's own 16 rows against a panel in LDS, and back.
//
// All attention kernels are made of two products, with "own" the rows that a wave keeps (queries,
// or keys where keys gather gradients) and "other" the rows that stream through LDS:
//
//     scores   S(own, other)  = Own(own, D) * Panel(other, D)^T
//     weigh    Out(own, D)   += P(own, other) * Panel(other, D)
//
// The odd thing: P never leaves its registers. A 16x16 accumulator of S, rounded, is the operand
// of the next product on every matrix unit but RDNA 3's, which exchanges halves with lane ^ 16. AMD's
// instructions are given the operands the other way round (S^T = Panel * Own^T) for that.
//
//   unit                      accumulators   own row (of 16)    other column (of 16)   operand of a lane (row, k)
//   MFMA (CDNA)                4             l%16               4(l/16)+r              l%16, 4(l/16)+e, e<4
//   WMMA (RDNA 4)              8             l%16               8(l/16)+r              l%16, 8(l/16)+e, e<8
//   WMMA (RDNA 3)              8             l%16               2r+l/16                l%16, e, e<16
//   mma.sync (NVIDIA)          8             l/4+8((r/2)%2)     8(r/4)+2(l%4)+r%2      pairs, as PTX has it
//   fused multiply-add         256/WAVE      l%16               (WAVE/16)r+l/16        none: LDS and shuffles
//
// (l is the lane, r the accumulator.) Operands are 16 deep; MFMA on gfx950 takes two at once.
// Sources: AMD's matrix instruction calculator; RDNA 3 and RDNA 4 ISA guides, section 7.9; PTX ISA,
// "Matrix fragments for mma.m16n8k16".
#pragma once

#include "attention_tiles.h"
#include "device.h"

#define INFINITY_F __builtin_inff()
#if HIPGPT_NVIDIA
#define METHOD __device__ __forceinline__
#else
#define METHOD __device__ inline __attribute__((always_inline))
#endif

// Which unit 16-bit types use: feature names, so that nothing below asks for an architecture.
#if defined(__gfx950__)
#define ATTENTION_MFMA 1
#define ATTENTION_MFMA_DEEP 1
#elif defined(__gfx90a__) || defined(__gfx942__) || defined(__gfx9_4_generic__)
#define ATTENTION_MFMA 1
#elif defined(__GFX12__)
#define ATTENTION_WMMA_12 1
#elif defined(__GFX11__)
#define ATTENTION_WMMA_11 1
#elif HIPGPT_NVIDIA
#define ATTENTION_SYNC 1
#endif
#if defined(ATTENTION_MFMA) || defined(ATTENTION_WMMA_11) || defined(ATTENTION_WMMA_12) || \
    defined(ATTENTION_SYNC)
#define ATTENTION_MATRIX 1
#else
#define ATTENTION_MATRIX 0
#endif

// Keeps the compiler from starting all loads of a long unrolled product at once, which would spill.
DEVICE void schedule_fence() {
#if HIPGPT_AMD
    __builtin_amdgcn_sched_barrier(0);
#endif
}

// 0 to start a sum with, in a register. The emulator that the tests run AMD's code in takes the inline
// constant 0 of a matrix instruction for register 128; one register tile of zeros for all costs nothing.
DEVICE float register_zero() {
    float zero = 0.0f;
#if HIPGPT_AMD
    asm volatile("" : "+v"(zero));
#endif
    return zero;
}

// As device.h's load, through a value of its own: nvcc reads memory byte by byte when bit_cast is given it
// by reference.
template <int N, class T>
DEVICE Pack<T, N> read(const T* p) {
    typedef typename RawBytes<(int)sizeof(T) * N>::type Raw;
    const Raw raw = *reinterpret_cast<const Raw*>(p);
    return bit_cast<Pack<T, N>>(raw);
}

typedef Pack<u32, 2> Words2;
typedef Pack<u32, 4> Words4;

// Two floats rounded to nearest even, the first in the low half, and back.
template <class T>
struct Pair;

template <>
struct Pair<bf16> {
    static METHOD u32 pack(float x, float y) {
#if HIPGPT_NVIDIA || defined(ATTENTION_MFMA_DEEP)
        return pack_bf16(x, y);
#else
        // As pack_bf16 but for a NaN with all bits set, which no instruction makes: half the work.
        u32 a = bit_cast<u32>(x), b = bit_cast<u32>(y);
        a += 0x7fffu + ((a >> 16) & 1u);
        b += 0x7fffu + ((b >> 16) & 1u);
        return (a >> 16) | (b & 0xffff0000u);
#endif
    }
    static METHOD float low(u32 w) { return bit_cast<float>(w << 16); }
    static METHOD float high(u32 w) { return bit_cast<float>(w & 0xffff0000u); }
};

template <>
struct Pair<f16> {
    static METHOD u32 pack(float x, float y) {
#if defined(__GFX9__) && !defined(ATTENTION_MFMA_DEEP)
        // As pack_f16, in as many operations; but it does not lean on conversions to clear the upper half, which
        // they do here and not in the emulator.
        return __builtin_amdgcn_perm(f16_bits(y), f16_bits(x), 0x05040100u);
#else
        return pack_f16(x, y);
#endif
    }
    static METHOD float low(u32 w) { return to_float(f16{(u16)w}); }
    static METHOD float high(u32 w) { return to_float(f16{(u16)(w >> 16)}); }
};

#if HIPGPT_NVIDIA
DEVICE u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }
#endif

// --- panels: rows in LDS ---------------------------------------------------------------------------

// 16-byte pieces of rows of WIDTH elements, piece p of row i at p ^ turn(i): lanes that read one piece of
// eight consecutive rows meet all banks. TURNED is for panels that are written a column at a time: then also
// one row of every eight does. Untwisted it is row % 8, which wgmma knows as the 128-byte swizzle.
template <class E, int WIDTH, bool TURNED = false>
struct Panel {
    static constexpr int PIECE = 16 / (int)sizeof(E);  // elements of 16 bytes
    static constexpr int PIECES = WIDTH / PIECE;
    static constexpr int MASK = PIECES < 8 ? PIECES - 1 : 7;
    static constexpr int SHARE = PIECES < 8 ? 8 / PIECES : 1;  // rows in the 128 bytes of all banks
    E* base;
    static METHOD int turn(int row) { return (TURNED ? (row / SHARE) ^ (row >> 3) : row / SHARE) & MASK; }
    METHOD E* at(int row, int column) const {
        return base + row * WIDTH + ((column / PIECE) ^ turn(row)) * PIECE + column % PIECE;
    }
    // Row row + l_row, column column + l_column, where row and column are multiples of 16 known to the
    // compiler and the lane's parts are below 16. Written so that few addresses serve all tiles.
    METHOD E* at(int row, int l_row, int column, int l_column) const {
        const int mine = l_row * WIDTH + l_column % PIECE, piece = (l_column / PIECE) ^ turn(l_row);
        const int fixed = (column / PIECE) ^ turn(row);
        return base + mine + (piece ^ (fixed & MASK)) * PIECE + (row * WIDTH + (fixed & ~MASK) * PIECE);
    }
};

// Rows with 16 bytes between them: neighbouring rows lie in different banks.
template <int WIDTH>
struct PaddedPanel {
    float* base;
    METHOD float* at(int row, int column) const { return base + row * (WIDTH + 4) + column; }
};

// --- fused multiply-add: float32, and every type without a matrix unit -----------------------------

// Panels hold float32 whatever T is. A lane owns one row and 256 / WAVE columns; panel reads are 16
// bytes at WAVE / 16 addresses, broadcast. P reaches the lanes of its row by shuffles.
template <class T>
struct FmaAttention {
    typedef float Element;                     // what panels hold
    static constexpr bool TRANSPOSED = false;  // `weigh` reads the panel as `scores` does
        static constexpr int ACCS = 256 / WAVE;
    static constexpr int ROWS = 1;             // own rows in a lane
    static constexpr int FIRST = 16, LAST = WAVE / 2;  // lanes that share a row: lane ^ FIRST ... ^ LAST
    static constexpr int GROUPS = WAVE / 16;
    template <int WIDTH>
    using PanelOf = PaddedPanel<WIDTH>;
    static constexpr int PADDING = 4;  // elements between rows
    static constexpr int KIND = FMA;
    static constexpr int TOGETHER = 1;  // waves that must take part in a product together
    static constexpr bool BEHIND = false;  // products run by themselves, in the background
    static constexpr int SHARERS = WAVE / 16;
    static METHOD int sharer() { return lane() / 16; }            // which of the lanes that share a row
    static METHOD bool writes_row() { return sharer() == 0; }
    static METHOD void published() {}                     // LDS was written, before the barrier
    template <int LEFT, class X>
    static METHOD void wait(X&) {}                        // for products that run by themselves
    // exp2((x - most) * unit)
    static METHOD float power(float x, float unit, float most) { return fast_exp2((x - most) * unit); }

    struct Acc {
        float v[ACCS];
    };

    static METHOD int own(int) { return lane() % 16; }
    static constexpr METHOD int slot(int) { return 0; }
    static constexpr METHOD int first_of(int) { return 0; }
    static METHOD int other(int r) { return GROUPS * r + lane() / 16; }

    // The own row of this lane, read from memory (through the cache) whenever it is needed.
    template <int D, int R, bool KEEP>
    struct Own {
        const T* row[R];  // row of this lane
        int columns;
        bool wide;
        METHOD void load(const T* p, long long stride, int first, int rows, int columns_, bool wide_) {
            columns = columns_, wide = wide_;
#pragma unroll
            for (int i = 0; i < R; i++) {
                int at = first + 16 * i + lane() % 16;
                row[i] = p + (at < rows ? at : rows - 1) * stride;
            }
        }
        template <bool WIDE>
        METHOD void four(float (&x)[4], int i, int k) const {
            if (WIDE) {
                load4(x, row[i] + (k < columns ? k : 0));
#pragma unroll
                for (int e = 0; e < 4; e++) x[e] = k < columns ? x[e] : 0.0f;
            } else {
#pragma unroll
                for (int e = 0; e < 4; e++) x[e] = k + e < columns ? to_float(row[i][k + e]) : 0.0f;
            }
        }
        static METHOD void load4(float (&x)[4], const float* p) {
            Words4 w = read<4>((const u32*)p);
#pragma unroll
            for (int e = 0; e < 4; e++) x[e] = bit_cast<float>(w[e]);
        }
        template <class H>
        static METHOD void load4(float (&x)[4], const H* p) {
            Words2 w = read<2>((const u32*)p);
            x[0] = Pair<H>::low(w[0]), x[1] = Pair<H>::high(w[0]);
            x[2] = Pair<H>::low(w[1]), x[3] = Pair<H>::high(w[1]);
        }
    };

    // s[i][t] = own rows 16i .. x panel rows first + 16t ..
    template <int D, int R, int N, class O, class P>
    static METHOD void scores(Acc (&s)[R][N], const O& mine, const P& panel) {
        if (mine.wide)  // asked once, not for every load
            sum_products<D, true>(s, mine, panel);
        else
            sum_products<D, false>(s, mine, panel);
    }
    template <int D, bool WIDE, int R, int N, class O, class P>
    static METHOD void sum_products(Acc (&s)[R][N], const O& mine, const P& panel) {
        const int group = lane() / 16;
#pragma unroll
        for (int i = 0; i < R; i++)
#pragma unroll
            for (int t = 0; t < N; t++)
#pragma unroll
                for (int r = 0; r < ACCS; r++) s[i][t].v[r] = 0.0f;
#pragma unroll 2
        for (int k = 0; k < D; k += 4) {
            float x[R][4];
#pragma unroll
            for (int i = 0; i < R; i++) mine.template four<WIDE>(x[i], i, k);
#pragma unroll
            for (int t = 0; t < N; t++)
#pragma unroll
                for (int r = 0; r < ACCS; r++) {
                    Words4 y = read<4>((const u32*)panel.at(16 * t + GROUPS * r + group, k));
#pragma unroll
                    for (int i = 0; i < R; i++)
#pragma unroll
                        for (int e = 0; e < 4; e++)
                            s[i][t].v[r] = fmaf(x[i][e], bit_cast<float>(y[e]), s[i][t].v[r]);
                }
        }
    }

    // out[i][t] += p(own, other) x panel(other, first + 16t ..)
    template <int COLUMNS, int R, int N, class P>
    static METHOD void weigh(Acc (&out)[R][COLUMNS / 16], const Acc (&p)[R][N], const P& panel, int first) {
        const int l = lane();
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll 1
            for (int group = 0; group < GROUPS; group++)
#pragma unroll
                for (int r = 0; r < ACCS; r++) {
                    float x[R];
#pragma unroll
                    for (int i = 0; i < R; i++) x[i] = shuffle(p[i][n].v[r], l % 16 + 16 * group);
                    const int row = 16 * n + GROUPS * r + group;
#pragma unroll
                    for (int t = 0; t < COLUMNS / 16; t++) {
                        if (COLUMNS > 64 && t % 4 == 0) schedule_fence();
#pragma unroll
                        for (int c = 0; c < ACCS; c += 4) {
                            Words4 y = read<4>((const u32*)panel.at(
                                row, first + 16 * t + ACCS * (l / 16) + c));
#pragma unroll
                            for (int i = 0; i < R; i++)
#pragma unroll
                                for (int e = 0; e < 4; e++)
                                    out[i][t].v[c + e] = fmaf(x[i], bit_cast<float>(y[e]), out[i][t].v[c + e]);
                        }
                    }
                }
    }

    // Store a tile of out: `row` of this lane, columns 16t ..; scaled.
    static METHOD void store(const Acc& out, T* const (&row)[1], int t, int columns, bool wide, const float (&scale)[1]) {
        const int c = 16 * t + ACCS * (lane() / 16);
        if (row[0] == nullptr) return;
#pragma unroll
        for (int r = 0; r < ACCS; r++)
            if (c + r < columns) row[0][c + r] = from_float<T>(out.v[r] * scale[0]);
    }
};

// --- matrix units ----------------------------------------------------------------------------------

#if ATTENTION_MATRIX

// One operand: 16 rows, 16 deep.
#if defined(ATTENTION_MFMA)
struct Operand {
    u32 w[2];
};
#elif defined(ATTENTION_WMMA_11)
struct Operand {
    u32 w[8];
};
#else
struct Operand {
    u32 w[4];
};
#endif

template <class T>
struct MatrixUnit;

#if defined(ATTENTION_MFMA)
typedef float Float4 __attribute__((ext_vector_type(4)));
typedef short Short4 __attribute__((ext_vector_type(4)));
typedef _Float16 Half4 __attribute__((ext_vector_type(4)));
typedef _Float16 Half8 __attribute__((ext_vector_type(8)));
typedef __bf16 Brain8 __attribute__((ext_vector_type(8)));

template <>
struct MatrixUnit<bf16> {
    static METHOD void mma(float (&d)[4], const Operand& other, const Operand& own) {
        Float4 c = __builtin_bit_cast(Float4, d);
        c = __builtin_amdgcn_mfma_f32_16x16x16bf16_1k(__builtin_bit_cast(Short4, other),
                                                      __builtin_bit_cast(Short4, own), c, 0, 0, 0);
        *(Float4*)d = c;
    }
#if defined(ATTENTION_MFMA_DEEP)
    static METHOD void mma2(float (&d)[4], const Operand& other0, const Operand& other1,
                            const Operand& own0, const Operand& own1) {
        struct Pair {
            Operand low, high;
        };
        Float4 c = *(Float4*)d;
        c = __builtin_amdgcn_mfma_f32_16x16x32_bf16(__builtin_bit_cast(Brain8, (Pair{other0, other1})),
                                                    __builtin_bit_cast(Brain8, (Pair{own0, own1})), c, 0, 0, 0);
        *(Float4*)d = c;
    }
#endif
};
template <>
struct MatrixUnit<f16> {
    static METHOD void mma(float (&d)[4], const Operand& other, const Operand& own) {
        Float4 c = *(Float4*)d;
        c = __builtin_amdgcn_mfma_f32_16x16x16f16(__builtin_bit_cast(Half4, other),
                                                  __builtin_bit_cast(Half4, own), c, 0, 0, 0);
        *(Float4*)d = c;
    }
#if defined(ATTENTION_MFMA_DEEP)
    static METHOD void mma2(float (&d)[4], const Operand& other0, const Operand& other1,
                            const Operand& own0, const Operand& own1) {
        struct Pair {
            Operand low, high;
        };
        Float4 c = *(Float4*)d;
        c = __builtin_amdgcn_mfma_f32_16x16x32_f16(__builtin_bit_cast(Half8, (Pair{other0, other1})),
                                                   __builtin_bit_cast(Half8, (Pair{own0, own1})), c, 0, 0, 0);
        *(Float4*)d = c;
    }
#endif
};
#elif defined(ATTENTION_WMMA_11) || defined(ATTENTION_WMMA_12)
typedef float Float8 __attribute__((ext_vector_type(8)));
#if defined(ATTENTION_WMMA_11)
typedef short BrainK __attribute__((ext_vector_type(16)));
typedef _Float16 HalfK __attribute__((ext_vector_type(16)));
#define ATTENTION_WMMA_BF16 __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32
#define ATTENTION_WMMA_F16 __builtin_amdgcn_wmma_f32_16x16x16_f16_w32
#else
typedef short BrainK __attribute__((ext_vector_type(8)));
typedef _Float16 HalfK __attribute__((ext_vector_type(8)));
#define ATTENTION_WMMA_BF16 __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32_gfx12
#define ATTENTION_WMMA_F16 __builtin_amdgcn_wmma_f32_16x16x16_f16_w32_gfx12
#endif
template <>
struct MatrixUnit<bf16> {
    static METHOD void mma(float (&d)[8], const Operand& other, const Operand& own) {
        Float8 c = *(Float8*)d;
        c = ATTENTION_WMMA_BF16(__builtin_bit_cast(BrainK, other), __builtin_bit_cast(BrainK, own), c);
        *(Float8*)d = c;
    }
};
template <>
struct MatrixUnit<f16> {
    static METHOD void mma(float (&d)[8], const Operand& other, const Operand& own) {
        Float8 c = *(Float8*)d;
        c = ATTENTION_WMMA_F16(__builtin_bit_cast(HalfK, other), __builtin_bit_cast(HalfK, own), c);
        *(Float8*)d = c;
    }
};
#else
#define ATTENTION_MMA_SYNC(TYPE, D, A, B0, B1)                                                        \
    asm("mma.sync.aligned.m16n8k16.row.col.f32." TYPE "." TYPE ".f32 "                                \
        "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"                                       \
        : "+f"((D)[0]), "+f"((D)[1]), "+f"((D)[2]), "+f"((D)[3])                                      \
        : "r"((A).w[0]), "r"((A).w[1]), "r"((A).w[2]), "r"((A).w[3]), "r"(B0), "r"(B1))
template <>
struct MatrixUnit<bf16> {
    static METHOD void mma(float (&d)[8], const Operand& other, const Operand& own) {
        ATTENTION_MMA_SYNC("bf16", d, own, other.w[0], other.w[2]);
        ATTENTION_MMA_SYNC("bf16", d + 4, own, other.w[1], other.w[3]);
    }
};
template <>
struct MatrixUnit<f16> {
    static METHOD void mma(float (&d)[8], const Operand& other, const Operand& own) {
        ATTENTION_MMA_SYNC("f16", d, own, other.w[0], other.w[2]);
        ATTENTION_MMA_SYNC("f16", d + 4, own, other.w[1], other.w[3]);
    }
};
#endif

template <class T>
struct MatrixAttention {
    typedef T Element;
#if defined(ATTENTION_SYNC)
    static constexpr bool TRANSPOSED = false;  // ldmatrix transposes
    static constexpr int ACCS = 8, ROWS = 2, FIRST = 1, LAST = 2;
    static METHOD int own(int r) { return lane() / 4 + 8 * ((r / 2) % 2); }
    static constexpr METHOD int slot(int r) { return (r / 2) % 2; }
    static constexpr METHOD int first_of(int slot) { return 2 * slot; }  // the first accumulator of it
    static METHOD int other(int r) { return 8 * (r / 4) + 2 * (lane() % 4) + r % 2; }
#else
    static constexpr bool TRANSPOSED = true;  // `weigh` reads a second panel, (D, other)
        static constexpr int ACCS = 256 / WAVE, ROWS = 1, FIRST = 16, LAST = WAVE / 2;
    static METHOD int own(int) { return lane() % 16; }
    static constexpr METHOD int slot(int) { return 0; }
    static constexpr METHOD int first_of(int) { return 0; }
#if defined(ATTENTION_WMMA_11)
    static METHOD int other(int r) { return 2 * r + lane() / 16; }
#else
    static METHOD int other(int r) { return ACCS * (lane() / 16) + r; }
#endif
#endif

#if defined(ATTENTION_SYNC)
    static METHOD int sharer() { return lane() % 4; }     // which of the lanes that share a row
#else
    static METHOD int sharer() { return lane() / 16; }
#endif
    static constexpr int TOGETHER = 1;  // waves that must take part in a product together
    static constexpr bool BEHIND = false;  // products run by themselves, in the background
    static constexpr int SHARERS = 2 * LAST / FIRST;
    static METHOD bool writes_row() { return sharer() == 0; }
    static METHOD void published() {}                     // LDS was written, before the barrier
    template <int LEFT, class X>
    static METHOD void wait(X&) {}                        // for products that run by themselves
    // exp2((x - most) * unit)
    static METHOD float power(float x, float unit, float most) { return fast_exp2(fmaf(x, unit, -most * unit)); }
    static constexpr int KIND = MATRIX;
    template <int WIDTH>
    using PanelOf = Panel<T, WIDTH>;
    static constexpr int PADDING = 0;  // elements between rows

    struct Acc {
        float v[ACCS];
    };

    static METHOD void mma(Acc& d, const Operand& other, const Operand& own) {
        MatrixUnit<T>::mma(d.v, other, own);
    }
    static METHOD void mma2(Acc& d, const Operand& other0, const Operand& other1, const Operand& own0,
                            const Operand& own1) {
#if defined(ATTENTION_MFMA_DEEP)
        MatrixUnit<T>::mma2(d.v, other0, other1, own0, own1);
#else
        mma(d, other0, own0);
        mma(d, other1, own1);
#endif
    }

    // Operand from LDS: rows i .., depth k ..
    template <class P>
    static METHOD void rows(Operand& a, const P& panel, int i, int k) {
        const int l = lane();
#if defined(ATTENTION_SYNC)
        u32 p = shared_address(panel.at(i, l % 16, k, 8 * (l / 16)));
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(a.w[0]), "=r"(a.w[1]), "=r"(a.w[2]), "=r"(a.w[3]) : "r"(p));
#elif defined(ATTENTION_MFMA)
        Words2 w = read<2>((const u32*)panel.at(i, l % 16, k, 4 * (l / 16)));
        a.w[0] = w[0], a.w[1] = w[1];
#elif defined(ATTENTION_WMMA_12)
        Words4 w = read<4>((const u32*)panel.at(i, l % 16, k, 8 * (l / 16)));
#pragma unroll
        for (int e = 0; e < 4; e++) a.w[e] = w[e];
#else
#pragma unroll
        for (int h = 0; h < 2; h++) {
            Words4 w = read<4>((const u32*)panel.at(i, l % 16, k, 8 * h));
#pragma unroll
            for (int e = 0; e < 4; e++) a.w[4 * h + e] = w[e];
        }
#endif
    }

    // Operand from LDS: rows are the panel's columns d .., depth its rows i ..
    template <class P>
    static METHOD void columns(Operand& a, const P& panel, int i, int d) {
#if defined(ATTENTION_SYNC)
        const int l = lane();
        u32 p = shared_address(panel.at(i, l % 8 + 8 * (l / 16), d, 8 * (l / 8 % 2)));
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(a.w[0]), "=r"(a.w[1]), "=r"(a.w[2]), "=r"(a.w[3]) : "r"(p));
#else
        rows(a, panel, d, i);  // the transposed panel
#endif
    }

    // A pair of elements of a row that may be short or lie at an odd address.
    static METHOD u32 pair(const T* p, int k, int columns) {
        u32 low = k < columns ? (u32)*(const u16*)(p + k) : 0u;
        u32 high = k + 1 < columns ? (u32)*(const u16*)(p + k + 1) : 0u;
        return low | high << 16;
    }

    // Operand from memory: rows `first` .. of which there are `rows` (past the end: the last one).
    static METHOD void from_memory(Operand& a, const T* p, long long stride, int first, int rows, int k,
                                   int columns, bool wide) {
        const int l = lane();
#if defined(ATTENTION_SYNC)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int at = first + l / 4 + 8 * h;
            const T* row = p + (at < rows ? at : rows - 1) * stride;
            const int c = k + 2 * (l % 4);
            if (wide) {
                a.w[h] = c < columns ? *(const u32*)(row + c) : 0u;
                a.w[2 + h] = c + 8 < columns ? *(const u32*)(row + c + 8) : 0u;
            } else {
                a.w[h] = pair(row, c, columns);
                a.w[2 + h] = pair(row, c + 8, columns);
            }
        }
#else
        constexpr int WORDS = sizeof(Operand) / 4;
        int at = first + l % 16;
        const T* row = p + (at < rows ? at : rows - 1) * stride;
#if !defined(ATTENTION_WMMA_11)
        k += 2 * WORDS * (l / 16);
#endif
        if (wide) {
#pragma unroll
            for (int e = 0; e < WORDS; e += 2) {
                Words2 w = {{0u, 0u}};
                if (k + 2 * e < columns) w = read<2>((const u32*)(row + k + 2 * e));
                a.w[e] = w[0], a.w[e + 1] = w[1];
            }
        } else {
#pragma unroll
            for (int e = 0; e < WORDS; e++) a.w[e] = pair(row, k + 2 * e, columns);
        }
#endif
    }

    // The own rows: kept in registers, or read again whenever they are needed.
    template <int D, int R, bool KEEP>
    struct Own {
        Operand kept[KEEP ? R : 1][KEEP ? D / 16 : 1];
        const T* p;
        long long stride;
        int first, rows, columns;
        bool wide;
        METHOD void load(const T* p_, long long stride_, int first_, int rows_, int columns_, bool wide_) {
            p = p_, stride = stride_, first = first_, rows = rows_, columns = columns_, wide = wide_;
            if (!KEEP) return;
            if (wide)  // asked once, not for every load
                keep(true);
            else
                keep(false);
        }
        METHOD void keep(bool wide_) {
#pragma unroll
            for (int i = 0; i < R; i++)
#pragma unroll
                for (int k = 0; k < D / 16; k++)
                    from_memory(kept[KEEP ? i : 0][KEEP ? k : 0], p, stride, first + 16 * i, rows, 16 * k, columns, wide_);
        }
        METHOD void get(Operand& a, int i, int k) const {
            if (KEEP)
                a = kept[i][k];
            else
                from_memory(a, p, stride, first + 16 * i, rows, 16 * k, columns, wide);
        }
    };

    template <int D, int R, int N, class O, class P>
    static METHOD void scores(Acc (&s)[R][N], const O& mine, const P& panel) {
        Acc zero;
#pragma unroll
        for (int r = 0; r < ACCS; r++) zero.v[r] = register_zero();
#pragma unroll
        for (int i = 0; i < R; i++)
#pragma unroll
            for (int t = 0; t < N; t++) s[i][t] = zero;
        if constexpr (D % 32 == 0) {
#pragma unroll(D > 128 ? 1 : D / 32)  // own rows that are read again may be indexed at run time
            for (int k = 0; k < D / 16; k += 2) {
                Operand own0[R], own1[R];
#pragma unroll
                for (int i = 0; i < R; i++) mine.get(own0[i], i, k), mine.get(own1[i], i, k + 1);
#pragma unroll
                for (int t = 0; t < N; t++) {
                    Operand other0, other1;
                    rows(other0, panel, 16 * t, 16 * k);
                    rows(other1, panel, 16 * t, 16 * k + 16);
#pragma unroll
                    for (int i = 0; i < R; i++) mma2(s[i][t], other0, other1, own0[i], own1[i]);
                }
            }
        } else {
#pragma unroll
            for (int k = 0; k < D / 16; k++)
#pragma unroll
                for (int t = 0; t < N; t++) {
                    Operand other0, own0;
                    rows(other0, panel, 16 * t, 16 * k);
#pragma unroll
                    for (int i = 0; i < R; i++) {
                        mine.get(own0, i, k);
                        mma(s[i][t], other0, own0);
                    }
                }
        }
    }

    // An accumulator tile as an operand whose rows are the own rows, rounded to T.
    static METHOD void rounded(Operand& a, const Acc& d) {
#if defined(ATTENTION_WMMA_11)
        // Half a row: this lane's columns are 2r + l/16, its partner's (lane ^ 16) the others.
        u32 mine[4], theirs[4];
        const u32 odd = lane() >= 16 ? ~0u : 0u;
#pragma unroll
        for (int e = 0; e < 4; e++) mine[e] = Pair<T>::pack(d.v[2 * e], d.v[2 * e + 1]);
#pragma unroll
        for (int e = 0; e < 4; e++) theirs[e] = shuffle(mine[e], lane() ^ 16);
#pragma unroll
        for (int e = 0; e < 4; e++) {
            u32 even = (theirs[e] & odd) | (mine[e] & ~odd), uneven = (mine[e] & odd) | (theirs[e] & ~odd);
            a.w[2 * e] = (even & 0xffffu) | uneven << 16;
            a.w[2 * e + 1] = even >> 16 | (uneven & 0xffff0000u);
        }
#else
#pragma unroll
        for (int e = 0; e < ACCS / 2; e++) a.w[e] = Pair<T>::pack(d.v[2 * e], d.v[2 * e + 1]);
#endif
    }

    template <int COLUMNS, int R, int N, class P>
    static METHOD void weigh(Acc (&out)[R][COLUMNS / 16], const Acc (&p)[R][N], const P& panel, int first) {
        if constexpr (N % 2 == 0) {
#pragma unroll
            for (int n = 0; n < N; n += 2) {
                Operand own0[R], own1[R];
#pragma unroll
                for (int i = 0; i < R; i++) rounded(own0[i], p[i][n]), rounded(own1[i], p[i][n + 1]);
#pragma unroll
                for (int t = 0; t < COLUMNS / 16; t++) {
                    if (COLUMNS > 128 && t % 4 == 0) schedule_fence();
                    Operand other0, other1;
                    columns(other0, panel, 16 * n, first + 16 * t);
                    columns(other1, panel, 16 * n + 16, first + 16 * t);
#pragma unroll
                    for (int i = 0; i < R; i++) mma2(out[i][t], other0, other1, own0[i], own1[i]);
                }
            }
        } else {
#pragma unroll
            for (int n = 0; n < N; n++) {
                Operand own0[R];
#pragma unroll
                for (int i = 0; i < R; i++) rounded(own0[i], p[i][n]);
#pragma unroll
                for (int t = 0; t < COLUMNS / 16; t++) {
                    if (COLUMNS > 128 && t % 4 == 0) schedule_fence();
                    Operand other0;
                    columns(other0, panel, 16 * n, first + 16 * t);
#pragma unroll
                    for (int i = 0; i < R; i++) mma(out[i][t], other0, own0[i]);
                }
            }
        }
    }

    // Store a tile: rows of this lane (nullptr: none), columns 16t ..; scaled.
    static METHOD void store(const Acc& out, T* const (&row)[ROWS], int t, int columns, bool wide,
                             const float (&scale)[ROWS]) {
        Acc scaled;
#pragma unroll
        for (int r = 0; r < ACCS; r++) scaled.v[r] = out.v[r] * scale[slot(r)];
        Operand a;
        rounded(a, scaled);  // all lanes take part
        const int l = lane();
#if defined(ATTENTION_SYNC)
#pragma unroll
        for (int e = 0; e < 4; e++)
            put(row[e % 2], 16 * t + 8 * (e / 2) + 2 * (l % 4), a.w[e], columns, wide);
#elif defined(ATTENTION_WMMA_11)
        const u32 upper = l >= 16 ? ~0u : 0u;  // no select: it would index a.w at run time
#pragma unroll
        for (int e = 0; e < 4; e++)
            put(row[0], 16 * t + 8 * (l / 16) + 2 * e, (a.w[4 + e] & upper) | (a.w[e] & ~upper), columns, wide);
#else
#pragma unroll
        for (int e = 0; e < ACCS / 2; e++)
            put(row[0], 16 * t + ACCS * (l / 16) + 2 * e, a.w[e], columns, wide);
#endif
    }
    static METHOD void put(T* row, int c, u32 w, int columns, bool wide) {
        if (row == nullptr) return;
        if (wide) {
            if (c < columns) *(u32*)(row + c) = w;
        } else {
            if (c < columns) *(u16*)(row + c) = (u16)w;
            if (c + 1 < columns) *(u16*)(row + c + 1) = (u16)(w >> 16);
        }
    }
};

#endif  // ATTENTION_MATRIX
