"""The tiles of the matrix products: what a block computes, and how the work is cut into blocks.

The odd thing: the sizes are read out of csrc/linear_tiles.h, the table that the kernels are
compiled with, so that they stand in one place. `Tile` adds what follows from them.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from hipgpt_kernels.hip.build import SOURCES

LINE = re.compile(r'\{"(\w+)", "(\w+)", "(\w+)", (\d+), (\d+), (\d+), (\d+), (\d+), (\d+)\}')

BYTES_PER_FLOP = 1 / 150
"""How many bytes of device memory move while a chip makes one operation on its matrix cores; H200:
600 TFLOP/s against 4 TB/s. MI300X and the others are within a factor of two."""


class Tile(NamedTuple):
    """One line of the table."""

    BM: int
    """Rows of C in a block."""
    BN: int
    """Columns of C in a block."""
    BK: int
    """Depth of a stage."""
    WM: int
    """Rows of a wave."""
    WN: int
    """Columns of a wave."""
    STAGES: int
    """Stages in LDS."""

    def threads(self, wave: int) -> int:
        """Threads of a block."""
        return (self.BM // self.WM) * (self.BN // self.WN) * wave

    def shared(self, itemsize: int, wave: int) -> int:
        """Bytes of LDS: the stages, or 16 rows of results a wave (product.h, NVIDIA's padding)."""
        stages = self.STAGES * (self.BM + self.BN) * self.BK * itemsize
        return max(stages, self.threads(wave) // wave * 16 * (self.WN + 8) * 4)

    def tiles_in(self, M: int, N: int) -> int:
        """Tiles of a result (M, N)."""
        return -(-M // self.BM) * -(-N // self.BN)


@functools.cache
def table() -> dict[tuple[str, str, str], Tile]:
    """Tiles by GPU, type ("half" or "float") and size ("large" or "small")."""
    text = (SOURCES / "linear_tiles.h").read_text("utf-8")
    return {
        (gpu, kind, size): Tile(*map(int, numbers))
        for gpu, kind, size, *numbers in LINE.findall(text)
    }


def line_of(architecture: str) -> str:
    """The GPU whose line of the table an architecture is compiled with (TILE_GPU there)."""
    if architecture in ("gfx90a", "gfx950", "sm_90"):
        return architecture
    families = {"gfx9": "gfx942", "gfx10": "gfx1030", "gfx11": "gfx1100", "gfx12": "gfx1201"}
    for family, line in families.items():
        if architecture.startswith(family) and len(architecture) == len(line):
            return line
    for family, line in families.items():
        if architecture.startswith(f"{family}-"):  # generic targets, such as gfx11-generic
            return line
    return "sm_80"


@functools.cache
def choose(architecture: str, units: int, itemsize: int, M: int, N: int) -> tuple[str, Tile]:
    """The large tile where it gives every compute unit a block, else the small one."""
    kind = "half" if itemsize == 2 else "float"
    line = line_of(architecture)
    large = table()[line, kind, "large"]
    if large.tiles_in(M, N) >= units:
        return "large", large
    return "small", table()[line, kind, "small"]


@functools.cache
def choose_split(
    architecture: str, units: int, itemsize: int, M: int, N: int, depth: int
) -> tuple[str, Tile, int]:
    """A tile, and in how many pieces to cut a long `depth`, for a result (M, N) in float32.

    Estimates, in bytes of memory time, the rounds that the blocks need and what writing and adding
    up the pieces costs, and takes the least.
    """
    kind = "half" if itemsize == 2 else "float"
    line = line_of(architecture)
    best: tuple[float, str, Tile, int] | None = None
    for size in ("large", "small"):
        tile = table()[line, kind, size]
        steps = -(-depth // tile.BK)
        # A small tile reads more for each operation and has fewer of them to hide a wait behind.
        slowness = 1.0 if size == "large" else 2.0
        for splits in range(1, min(32, steps) + 1):
            each = -(-steps // splits)
            if -(-steps // each) != splits:
                continue  # the last piece would be empty
            rounds = -(-tile.tiles_in(M, N) * splits // units)
            # Two steps more: a block fills its stages, and its results leave it.
            flops = rounds * (each + 2) * 2 * tile.BM * tile.BN * tile.BK * units * slowness
            cost = flops * BYTES_PER_FLOP + 4 * M * N * (2 if splits == 1 else 2 * splits + 2)
            if best is None or cost < best[0]:
                best = cost, size, tile, splits
    assert best is not None  # one split of one tile is always among them
    return best[1:]
