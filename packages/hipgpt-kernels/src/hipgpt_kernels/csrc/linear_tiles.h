// Tile sizes of the matrix products, one line a GPU: the only place where they are written.
//
// The odd thing: Python reads this table too (hip/ops/tiles.py), as text, to size the grid. Keep one
// tile a line, plain numbers, in this order:
//
//   gpu, type ("half": bf16 and f16, "float": float32), size,
//   BM x BN x BK   what a block computes, and how deep it goes at once
//   WM x WN        what a wave computes: its accumulators are WM WN / WAVE registers
//   STAGES         pieces of depth BK in LDS at a time
//
// A block has (BM / WM) (BN / WN) waves. LDS bytes: STAGES (BM + BN) BK sizeof(T).
// docs/kernels/linear.md has the reasons, the registers and the occupancy.
#pragma once

struct TileRow {
  const char* gpu;
  const char* type;
  const char* size;
  int BM, BN, BK, WM, WN, STAGES;
};

// clang-format off
constexpr TileRow TILE_TABLE[] = {
    // CDNA 2 and 3: 64 KB of LDS, 512 registers. Two blocks share a CU (32 KB, 4 waves each), so one
    // computes while the other waits at its barriers; 64x64 a wave asks 64 bytes of LDS a cycle of the
    // 128 there are.
    {"gfx90a", "half", "large", 128, 128, 64, 64, 64, 1},
    {"gfx90a", "half", "small", 64, 64, 64, 32, 32, 1},
    {"gfx90a", "float", "large", 128, 128, 32, 64, 64, 1},
    {"gfx90a", "float", "small", 64, 64, 32, 32, 32, 1},
    {"gfx942", "half", "large", 128, 128, 64, 64, 64, 1},
    {"gfx942", "half", "small", 64, 64, 64, 32, 32, 1},
    {"gfx942", "float", "large", 128, 128, 32, 64, 64, 1},
    {"gfx942", "float", "small", 64, 64, 32, 32, 32, 1},
    // CDNA 4: 160 KB of LDS and twice the matrix rate from the same LDS width, so a wave takes 128x64
    // (96 bytes a cycle where 64x64 would ask for all 128), eight waves a block, two buffers. With BK = 64
    // the pieces on their way to LDS do not fit the 256 registers beside 128 accumulators.
    {"gfx950", "half", "large", 256, 256, 32, 128, 64, 2},
    {"gfx950", "half", "small", 64, 64, 64, 32, 32, 2},
    {"gfx950", "float", "large", 128, 128, 32, 64, 64, 1},
    {"gfx950", "float", "small", 64, 64, 32, 32, 32, 1},
    // RDNA 2: no matrix core; every operand is widened to float32 in registers, which leaves room for
    // 32 accumulators of 16-bit types.
    {"gfx1030", "half", "large", 128, 64, 32, 32, 32, 1},
    {"gfx1030", "half", "small", 64, 64, 32, 16, 32, 1},
    {"gfx1030", "float", "large", 128, 64, 32, 32, 32, 1},
    {"gfx1030", "float", "small", 64, 64, 32, 16, 32, 1},
    // RDNA 3: an operand of 16x16 takes eight registers (both halves of the wave hold it).
    {"gfx1100", "half", "large", 128, 128, 32, 64, 32, 2},
    {"gfx1100", "half", "small", 64, 64, 32, 32, 16, 2},
    {"gfx1100", "float", "large", 128, 64, 32, 32, 32, 1},
    {"gfx1100", "float", "small", 64, 64, 32, 16, 32, 1},
    {"gfx1201", "half", "large", 128, 128, 32, 64, 32, 2},
    {"gfx1201", "half", "small", 64, 64, 32, 32, 16, 2},
    {"gfx1201", "float", "large", 128, 64, 32, 32, 32, 1},
    {"gfx1201", "float", "small", 64, 64, 32, 16, 32, 1},
    // NVIDIA: cp.async fills the stages; 163 KB (sm_80) or 227 KB (sm_90) of shared memory. On sm_90 a
    // wave of 16 rows and all columns is a quarter of a warpgroup, and wgmma multiplies (wgmma.h); of
    // the tiles tried, this one has the most waves (16) to write its results with.
    {"sm_80", "half", "large", 128, 128, 32, 64, 32, 4},
    {"sm_80", "half", "small", 64, 64, 64, 32, 16, 3},
    {"sm_80", "float", "large", 128, 128, 32, 32, 64, 2},
    {"sm_80", "float", "small", 64, 64, 32, 16, 32, 1},
    {"sm_90", "half", "large", 256, 128, 64, 16, 128, 4},
    {"sm_90", "half", "small", 64, 64, 64, 32, 16, 4},
    {"sm_90", "float", "large", 128, 128, 32, 32, 64, 2},
    {"sm_90", "float", "small", 64, 64, 32, 16, 32, 1},
};
// clang-format on

// The line of the table that this compilation is for.
#if defined(__gfx90a__)
#define TILE_GPU "gfx90a"
#elif defined(__gfx950__)
#define TILE_GPU "gfx950"
#elif defined(__GFX9__)
#define TILE_GPU "gfx942"
#elif defined(__GFX10__)
#define TILE_GPU "gfx1030"
#elif defined(__GFX11__)
#define TILE_GPU "gfx1100"
#elif defined(__GFX12__)
#define TILE_GPU "gfx1201"
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900 && __CUDA_ARCH__ < 1000
#define TILE_GPU "sm_90"
#else
#define TILE_GPU "sm_80"
#endif

constexpr bool same_text(const char* a, const char* b) {
  while (*a != 0 && *a == *b) a++, b++;
  return *a == *b;
}

constexpr TileRow tile_row(const char* type, const char* size) {
  for (const TileRow& row : TILE_TABLE)
    if (same_text(row.gpu, TILE_GPU) && same_text(row.type, type) && same_text(row.size, size))
      return row;
  return TileRow{};
}

template <int BM_, int BN_, int BK_, int WM_, int WN_, int STAGES_>
struct Tile {
  static constexpr int BM = BM_, BN = BN_, BK = BK_, WM = WM_, WN = WN_, STAGES = STAGES_;
  static constexpr int WAVES_M = BM / WM, WAVES_N = BN / WN;
  static constexpr int THREADS = WAVES_M * WAVES_N * WAVE;
};

#define TILE(name, type, size)                                                        \
  using name = Tile<tile_row(type, size).BM, tile_row(type, size).BN,                 \
                    tile_row(type, size).BK, tile_row(type, size).WM,                 \
                    tile_row(type, size).WN, tile_row(type, size).STAGES>

TILE(HalfLarge, "half", "large");
TILE(HalfSmall, "half", "small");
TILE(FloatLarge, "float", "large");
TILE(FloatSmall, "float", "small");
