// The tiles of the attention kernels: one line for each GPU family, unit and head size.
//
// The odd thing: Python reads this file too (hip/ops/attention.py), to know how many rows and threads
// a block has, so each line must stay one TILE(...) of plain numbers.
//
//   D                      head size that the kernel is compiled for; smaller ones are padded with 0
//   FORWARD, QUERIES, KEYS waves: waves in a block; tiles: 16-row tiles a wave owns; others: rows that
//                          stream through LDS at a time
//   KEEP                   own rows stay in registers: 3 always, 2 but in KEYS, 1 in FORWARD only, 0 never:
//                          they are read again (from L1) when needed
//   SLICE                  columns of dK and dV that a KEYS block makes; below D, blocks share a tile
//                          and make the scores again, because two accumulators of D would spill
//
// Reasoning. A wave reads the whole panel from LDS for its own rows: at 16 rows LDS is the limit (a
// 64x64 panel is 64 cycles of LDS, and 51 to 64 of matrix unit), at 32 rows it is not, where the
// registers allow it. Accumulators a lane: own x others / WAVE for each kind of score, own x D / WAVE
// for each output. KEYS has two of both, so its own rows stay at 16 a wave. LDS: others x D elements for each
// orientation (see docs/kernels/attention.md); all lines stay below 48 KB but CDNA and RDNA at D = 256.
#pragma once

enum AttentionFamily { CDNA, RDNA, RDNA3, NVIDIA, HOPPER };
enum AttentionUnitKind { MATRIX, FMA };
enum AttentionPass { FORWARD, QUERIES, KEYS };

template <int FAMILY, int UNIT, int D, int PASS>
struct Tile;

#define TILE_PASS(FAMILY, UNIT, D, PASS, W, R, O, K, S)                    \
    template <>                                                           \
    struct Tile<FAMILY, UNIT, D, PASS> {                                  \
        static constexpr int WAVES = W, TILES = R, OTHERS = O, SLICE = S; \
        static constexpr bool KEEP = K;                                   \
    };
#define TILE(FAMILY, UNIT, D, WF, RF, OF, WQ, RQ, OQ, WK, RK, OK, KEEP, SLICE) \
    TILE_PASS(FAMILY, UNIT, D, FORWARD, WF, RF, OF, KEEP >= 1, D)              \
    TILE_PASS(FAMILY, UNIT, D, QUERIES, WQ, RQ, OQ, KEEP >= 2, D)              \
    TILE_PASS(FAMILY, UNIT, D, KEYS, WK, RK, OK, KEEP >= 3, SLICE)

//                    FORWARD    QUERIES    KEYS       KEEP SLICE
//                 D  w  r  o    w  r  o    w  r  o
TILE(CDNA, MATRIX, 16, 4, 2, 64, 4, 2, 64, 4, 1, 64, 3, 16)
TILE(CDNA, MATRIX, 32, 4, 2, 64, 4, 2, 64, 4, 1, 64, 3, 32)
TILE(CDNA, MATRIX, 64, 4, 2, 64, 4, 2, 64, 4, 1, 32, 3, 64)
TILE(CDNA, MATRIX, 128, 4, 1, 64, 4, 1, 32, 4, 1, 32, 3, 128)
TILE(CDNA, MATRIX, 256, 4, 1, 32, 4, 1, 16, 4, 1, 16, 0, 256)
TILE(CDNA, FMA, 16, 4, 2, 32, 4, 2, 32, 4, 1, 32, 0, 16)
TILE(CDNA, FMA, 32, 4, 2, 32, 4, 2, 32, 4, 1, 32, 0, 32)
TILE(CDNA, FMA, 64, 4, 2, 32, 4, 2, 32, 4, 1, 32, 0, 64)
TILE(CDNA, FMA, 128, 4, 1, 32, 4, 1, 32, 4, 1, 32, 0, 128)
TILE(CDNA, FMA, 256, 4, 1, 16, 4, 1, 16, 4, 1, 16, 0, 256)

TILE(RDNA, MATRIX, 16, 4, 1, 64, 4, 1, 64, 4, 1, 32, 3, 16)
TILE(RDNA, MATRIX, 32, 4, 1, 64, 4, 1, 64, 4, 1, 32, 3, 32)
TILE(RDNA, MATRIX, 64, 4, 1, 64, 4, 1, 32, 4, 1, 32, 3, 64)
TILE(RDNA, MATRIX, 128, 4, 1, 32, 4, 1, 32, 4, 1, 32, 0, 64)
TILE(RDNA, MATRIX, 256, 4, 1, 16, 4, 1, 16, 4, 1, 16, 0, 64)
TILE(RDNA3, MATRIX, 16, 4, 1, 64, 4, 1, 32, 4, 1, 32, 3, 16)
TILE(RDNA3, MATRIX, 32, 4, 1, 64, 4, 1, 32, 4, 1, 32, 3, 32)
TILE(RDNA3, MATRIX, 64, 4, 1, 32, 4, 1, 32, 4, 1, 32, 2, 64)
TILE(RDNA3, MATRIX, 128, 4, 1, 32, 4, 1, 32, 4, 1, 32, 0, 64)
TILE(RDNA3, MATRIX, 256, 4, 1, 16, 4, 1, 16, 4, 1, 16, 0, 64)

TILE(RDNA, FMA, 16, 4, 2, 32, 4, 2, 32, 4, 1, 32, 0, 16)
TILE(RDNA, FMA, 32, 4, 2, 32, 4, 2, 32, 4, 1, 32, 0, 32)
TILE(RDNA, FMA, 64, 4, 1, 32, 4, 1, 32, 4, 1, 32, 0, 64)
TILE(RDNA, FMA, 128, 4, 1, 32, 4, 1, 32, 4, 1, 32, 0, 64)
TILE(RDNA, FMA, 256, 4, 1, 16, 4, 1, 16, 4, 1, 16, 0, 64)

TILE(NVIDIA, MATRIX, 16, 4, 2, 64, 4, 2, 64, 4, 1, 64, 3, 16)
TILE(NVIDIA, MATRIX, 32, 4, 1, 64, 4, 1, 64, 4, 1, 64, 3, 32)
TILE(NVIDIA, MATRIX, 64, 4, 2, 32, 4, 1, 64, 4, 1, 64, 3, 64)
TILE(NVIDIA, MATRIX, 128, 4, 1, 32, 4, 1, 32, 4, 1, 32, 3, 64)
TILE(NVIDIA, MATRIX, 256, 4, 1, 16, 4, 1, 16, 4, 1, 16, 0, 64)
TILE(NVIDIA, FMA, 16, 4, 2, 32, 4, 2, 32, 4, 1, 32, 0, 16)
TILE(NVIDIA, FMA, 32, 4, 2, 32, 4, 2, 32, 4, 1, 32, 0, 32)
TILE(NVIDIA, FMA, 64, 4, 2, 32, 4, 2, 32, 4, 1, 32, 0, 64)
TILE(NVIDIA, FMA, 128, 4, 1, 32, 4, 1, 32, 4, 1, 32, 0, 64)
TILE(NVIDIA, FMA, 256, 4, 1, 16, 4, 1, 16, 4, 1, 16, 0, 64)

TILE(HOPPER, MATRIX, 64, 4, 1, 64, 4, 1, 64, 4, 1, 64, 3, 64)
