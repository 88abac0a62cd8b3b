// Streams rows of a strided (rows, D) array through LDS, one tile of ROWS rows ahead of its use.
//
// The odd thing: one call order, three ways. NVIDIA copies asynchronously into the other of two
// buffers; AMD loads into registers and writes LDS when the buffer is free; where neither fits,
// tiles are loaded when they are needed. In all three:
//
//     fetch(0); for each j: land(j), barrier, fetch(j + 1), use panel(j), barrier unless DOUBLE
//
// AMD's matrix units want the second product's panel transposed. It is transposed on its way into LDS:
// a thread holds 8 columns of two rows and writes 8 pairs, a 32-bit word each.
#pragma once

#include "attention_mma.h"

// A (rows, columns) array, rows `stride` elements apart. wide: columns and stride are multiples of 16
// bytes and p is aligned to 16.
template <class T>
struct Source {
    const T* p;
    int stride;
    int rows, columns;
    bool wide;

    // 16 bytes of row r from column c of a wide array; zeros outside it.
    METHOD Words4 piece(int r, int c) const {
        Words4 w = {{0u, 0u, 0u, 0u}};
        if (r < rows && c < columns) w = read<4>((const u32*)(p + (i64)r * stride + c));
        return w;
    }
};

// SCORES, WEIGH: for which of the two products the panel serves. [FROM, FROM + SLICE) are the columns
// that `weigh` reads (all but in sliced KEYS blocks).
template <class T, class U, int ROWS, int D, int THREADS, bool SCORES, bool WEIGH, int SLICE = D>
struct Stream {
    typedef typename U::Element E;
    static constexpr bool PLAIN = SCORES || !U::TRANSPOSED;
    static constexpr bool TURNED = WEIGH && U::TRANSPOSED;
    static constexpr int PIECE = 16 / (int)sizeof(T);
    static constexpr int COUNT = TURNED ? 2 : 1;                    // rows a thread takes at once
    static constexpr int UNITS = ROWS / COUNT * (D / PIECE);
    static constexpr int TURNS = (UNITS + THREADS - 1) / THREADS;   // pieces of a thread
    static constexpr int WORDS = TURNS * COUNT * 4;                 // registers of a tile in flight
    static constexpr bool EARLY = !HIPGPT_NVIDIA && (WAVE == 64 ? WORDS <= 32 : WORDS <= 16 && D <= 128);
    static constexpr int PLAIN_BYTES = PLAIN ? ROWS * (D + U::PADDING) * (int)sizeof(E) : 0;
    static constexpr int BYTES = PLAIN_BYTES + (TURNED ? ROWS * SLICE * (int)sizeof(E) : 0);

    typedef typename U::template PanelOf<D> Plain;
    typedef Panel<E, ROWS, true> Turned;  // (SLICE, ROWS)

    Source<T> source;
    int from;  // first column of the slice
    Words4 flying[EARLY ? TURNS : 1][COUNT];

    static METHOD Plain plain(unsigned char* lds) { return Plain{(E*)lds}; }
    // The panel of `weigh`, and the column at which its slice begins there.
    static METHOD auto turned(unsigned char* lds) {
        if constexpr (TURNED)
            return Turned{(E*)(lds + PLAIN_BYTES)};
        else
            return Plain{(E*)lds};
    }
    METHOD int slice() const { return TURNED ? 0 : from; }

    METHOD void get(Words4 (&w)[COUNT], int first, int turn) const {
        const int unit = thread_index() + turn * THREADS;
        if (UNITS % THREADS != 0 && unit >= UNITS) return;
        const int c = unit % (D / PIECE) * PIECE, r = unit / (D / PIECE) * COUNT;
#pragma unroll
        for (int n = 0; n < COUNT; n++) w[n] = source.piece(first + r + n, c);
    }
    METHOD void put(unsigned char* lds, const Words4 (&w)[COUNT], int turn) const {
        const int unit = thread_index() + turn * THREADS;
        if (UNITS % THREADS != 0 && unit >= UNITS) return;
        const int c = unit % (D / PIECE) * PIECE, r = unit / (D / PIECE) * COUNT;
        if constexpr (PLAIN) {
#pragma unroll
            for (int n = 0; n < COUNT; n++) {
                if constexpr (sizeof(T) == sizeof(E)) {
                    store((u32*)plain(lds).at(r + n, c), w[n]);
                } else {  // 16-bit types widen to float32
#pragma unroll
                    for (int h = 0; h < 2; h++) {
                        Words4 x;
#pragma unroll
                        for (int e = 0; e < 2; e++) {
                            x[2 * e] = bit_cast<u32>(Pair<T>::low(w[n][2 * h + e]));
                            x[2 * e + 1] = bit_cast<u32>(Pair<T>::high(w[n][2 * h + e]));
                        }
                        store((u32*)plain(lds).at(r + n, c + 4 * h), x);
                    }
                }
            }
        }
        if constexpr (TURNED) {
            if (SLICE == D || (c >= from && c < from + SLICE)) {
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    u32 a = w[0][e], b = w[1][e];
                    *(u32*)turned(lds).at(c - from + 2 * e, r) = (a & 0xffffu) | b << 16;
                    *(u32*)turned(lds).at(c - from + 2 * e + 1, r) = a >> 16 | (b & 0xffff0000u);
                }
            }
        }
    }
    // Any size, any alignment: element by element.
    METHOD void narrow(unsigned char* lds, int first) const {
#pragma unroll 1
        for (int n = thread_index(); n < ROWS * D; n += THREADS) {
            const int r = n / D, c = n % D;
            const bool inside = first + r < source.rows && c < source.columns;
            const T x = inside ? source.p[(i64)(first + r) * source.stride + c] : T{};
            if constexpr (PLAIN) {
                if constexpr (sizeof(T) == sizeof(E))
                    *(T*)plain(lds).at(r, c) = x;
                else
                    *plain(lds).at(r, c) = to_float(x);
            }
            if constexpr (TURNED) {
                if (SLICE == D || (c >= from && c < from + SLICE)) *turned(lds).at(c - from, r) = x;
            }
        }
    }
    METHOD void direct(unsigned char* lds, int first) const {
#pragma unroll
        for (int turn = 0; turn < TURNS; turn++) {
            Words4 w[COUNT];
            get(w, first, turn);
            put(lds, w, turn);
        }
    }
#if HIPGPT_NVIDIA
    // A thread's pieces lie in one column, THREADS / (D / PIECE) rows apart: one address and mostly one place
    // in LDS serve them all. Rows past the end become zeros, in a loop of their own: written like the
    // first, both would be executed with half of the copies switched off.
    METHOD void copy(unsigned char* lds, int first) const {
        constexpr int ACROSS = D / PIECE, STEP = THREADS / ACROSS;
        static_assert(THREADS % ACROSS == 0, "a thread stays in its column");
        constexpr bool REPEATS = U::PADDING > 0 || STEP % 8 == 0;  // the twist of a panel does, every 8 rows
        const int r = thread_index() / ACROSS, c = thread_index() % ACROSS * PIECE;
        if (UNITS < THREADS && thread_index() >= UNITS) return;
        const T* p = source.p + (i64)(first + r) * source.stride + c;
        u32 to = shared_address(plain(lds).at(r, c));
        const int bytes_across = (int)sizeof(T) * (D + U::PADDING) * STEP;
        if (first + ROWS <= source.rows && source.columns == D) {
#pragma unroll
            for (int turn = 0; turn < TURNS; turn++) {
                if (!REPEATS) to = shared_address(plain(lds).at(r + turn * STEP, c));
                asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(p) : "memory");
                to += bytes_across, p += (i64)STEP * source.stride;
            }
        } else {
            const int left = c < source.columns ? source.rows - first - r : 0;
#pragma unroll 1
            for (int turn = 0; turn < TURNS; turn++) {
                const bool inside = turn * STEP < left;
                if (!REPEATS) to = shared_address(plain(lds).at(r + turn * STEP, c));
                asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(inside ? p : source.p),
                             "r"(inside ? 16 : 0)
                             : "memory");
                to += bytes_across, p += (i64)STEP * source.stride;
            }
        }
    }
#endif
    template <bool DOUBLE>
    METHOD void fetch(unsigned char* lds, int first) {
#if HIPGPT_NVIDIA
        if (DOUBLE && source.wide) copy(lds, first);
#else
        if (EARLY && source.wide) {
#pragma unroll
            for (int turn = 0; turn < TURNS; turn++) get(flying[EARLY ? turn : 0], first, turn);
        }
#endif
    }
    template <bool DOUBLE>
    METHOD void land(unsigned char* lds, int first) {
#if HIPGPT_NVIDIA
        if (!source.wide)
            narrow(lds, first);
        else if (!DOUBLE)
            copy(lds, first);
        asm volatile("cp.async.wait_all;" ::: "memory");
#else
        if (!source.wide) {
            narrow(lds, first);
        } else if (EARLY) {
#pragma unroll
            for (int turn = 0; turn < TURNS; turn++) put(lds, flying[EARLY ? turn : 0], turn);
        } else {
            direct(lds, first);
        }
#endif
    }
};
