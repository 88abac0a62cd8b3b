// Which tiles, and which part of their sums, each block (or pair of blocks) of a persistent grid takes.
//
// Tiles that fill the grid are taken whole, round after round. Those that are left, and the few tiles of a
// weight's gradient, are cut along their sums, in `steps` of BK:
//
//   step 0       band       2 band               steps
//        ┌─────────┬─────────┬────────────────────┐
//   tile │ worker  │ worker  │ the workers over,  │   `tail` tiles; bands x tail workers have one piece
//        │ t       │ tail + t│ `share` steps each │   each, the others share the rest, tile after tile
//        └─────────┴─────────┴────────────────────┘
//
// Every worker then has about the same number of steps, and those that run together read the same part of
// the sums: what they fetch is in the L2. The odd thing: a worker computes its segments, and the kernel
// that adds the pieces up computes their places, from these numbers alone (hip/ops/linear_tma.py chooses
// them), so no lists are written or read.
#pragma once

#include "device.h"

#if HIPGPT_NVIDIA
#define DEVICE_MEMBER __device__ __forceinline__
#else
#define DEVICE_MEMBER __device__ inline __attribute__((always_inline))
#endif

struct Segment {
  int tile;
  int first, last;  // steps
  int slot;         // where a piece is kept; -1: the tile is whole
};

struct Corner {
  int row, column;  // of a tile, in tiles
};

struct Pieces {
  int tiles;
  int first, last;  // slots of the rest; band b is in slot b tiles + tile
};

struct Plan {
  int rows, columns;  // tiles
  int steps;          // of the whole sum
  int whole;          // tiles that are not cut; a multiple of the workers where others are
  int bands, band;    // and the steps of one
  int share;          // steps of the rest that a worker takes; 0: there is no rest
  int worker, workers;

  DEVICE_MEMBER Plan(int pair, int rows_, int columns_, int steps_, int whole_, int bands_, int band_,
                     int share_, int blocks)
      : rows(rows_), columns(columns_), steps(steps_), whole(whole_), bands(bands_), band(band_),
        share(share_), worker(block_index() / pair), workers(blocks / pair) {}

  // Workers that run together share operands in the L2: they take tiles in groups of 8 rows, down first.
  DEVICE_MEMBER Corner corner(int tile) const {
    constexpr int GROUP = 8;
    const int group = tile / (GROUP * columns);
    const int height = minimum(GROUP, rows - group * GROUP);
    const int within = tile - group * GROUP * columns;
    return {group * GROUP + within % height, within / height};
  }

  // This worker's segment i; false where there are no more.
  DEVICE_MEMBER bool segment(int i, Segment& s) const {
    const int tail = rows * columns - whole;
    s.tile = worker + i * workers;
    s.first = 0, s.last = steps, s.slot = -1;
    if (s.tile >= whole) {
      if (tail == 0) return false;
      i -= whole / workers;
      if (worker < bands * tail) {
        if (i > 0) return false;
        const int at = worker / tail;
        s.tile = whole + worker - at * tail;
        s.first = at * band, s.last = minimum(s.first + band, steps);
        if (bands > 1 || share > 0) s.slot = worker;
      } else {
        if (share == 0) return false;
        const int one = worker - bands * tail, rest = steps - bands * band;
        const int from = one * share, to = minimum(from + share, tail * rest);
        const int tile = from / rest + i;
        const int begin = maximum(from, tile * rest), end = minimum(to, (tile + 1) * rest);
        if (begin >= end) return false;
        s.first = begin - tile * rest + bands * band;
        s.last = end - tile * rest + bands * band;
        s.slot = bands * tail + tile + one;
        s.tile = whole + tile;
      }
    }
    return true;
  }

  // Where the pieces of the tile-th of those that were cut are.
  DEVICE_MEMBER Pieces pieces(int tile) const {
    Pieces p;
    p.tiles = rows * columns - whole;
    p.first = p.last = 0;
    if (share > 0) {
      const int rest = steps - bands * band, start = bands * p.tiles + tile;
      p.first = start + tile * rest / share;
      p.last = start + ((tile + 1) * rest - 1) / share + 1;
    }
    return p;
  }
};
