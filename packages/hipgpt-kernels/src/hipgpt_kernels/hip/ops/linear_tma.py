"""Large matrix products of 16-bit types on Hopper: the plan of a persistent grid, and tensor maps.

Serves csrc/linear_tma.hip. The odd thing: what an operand is (address, shape, the box that is
copied at once) does not reach the kernel as numbers but in 128 bytes that the driver encodes; they
are kept, since a training step uses the same arrays again and again.
"""

from __future__ import annotations

import ctypes
import functools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hipgpt_kernels.hip.dtypes import bfloat16
from hipgpt_kernels.hip.kernel import INT, POINTER, Kernel
from hipgpt_kernels.hip.runtime import tensor_map_encoder

if TYPE_CHECKING:
    from hipgpt_kernels.hip.array import DeviceArray
    from hipgpt_kernels.hip.backend import HipBackend

FIRST_MAP, MAP = "48x128s", "128s"
"""A TensorMap of tma.h, which lies on a border of 64 bytes in the bank of constants where arguments
are. These begin at 0x210 there (cuobjdump --dump-elf, EIATTR_PARAM_CBANK), 48 bytes before one."""
PLAN = [INT] * 8
"""blocks, and PLAN of linear_tma.hip."""

FORWARD = Kernel("linear_tma", "linear_forward", FIRST_MAP, MAP, *[POINTER] * 4, *[INT] * 3, *PLAN)
INPUT = Kernel("linear_tma", "linear_input", FIRST_MAP, MAP, *[POINTER] * 2, *[INT] * 3, *PLAN)
WEIGHT = Kernel("linear_tma", "linear_weight", FIRST_MAP, MAP, *[POINTER] * 2, *[INT] * 2, *PLAN)
PIECES = Kernel("linear_tma", "linear_pieces", *[POINTER] * 2, *[INT] * 2, *PLAN)

BM, BK = 128, 64
"""TMA_BM and TMA_BK of linear_tma.hip: rows of a block's tile, depth of a stage."""
LDS = 227 * 1024
"""TMA_LDS: what a block asks for, all that there is."""
THREADS, WEIGHT_THREADS = 512, 384
PIECES_ELEMENTS = 1024
"""Elements of a tile that a block of `linear_pieces` adds up."""
SHALLOWEST = 4096
"""Rows below which a weight's gradient is left to linear.hip: too little for two launches."""
SMALLEST_BAND = 6
"""Steps below which a piece of a sum is not worth its way to memory and back."""


class Shape(NamedTuple):
    """A kernel's tile: BM x BN for a block, `pair` blocks one above the other."""

    BN: int
    pair: int
    step: int
    """Cycles that a step of BK takes, as measured."""
    tile: int
    """Cycles between two tiles of a block."""

    @property
    def name(self) -> str:
        """The middle of the kernel's name."""
        return f"tma{self.BN}"


SHAPES = (Shape(192, 2, 870, 2800), Shape(128, 1, 640, 1500))
"""Of the forward and the input's gradient."""
WEIGHT_SHAPES = (Shape(256, 2, 1150, 1200), Shape(128, 1, 750, 1000))
SMALL_STEP, SMALL_TILE, SMALL_RESIDENT = 1000, 500, 2
"""The same for the 64 x 64 tile of linear.hip, of which so many share a multiprocessor."""
START = 4500
"""Cycles until the first stage of a TMA kernel has been filled, and for its last results."""


class Plan(NamedTuple):
    """How tiles and their sums are shared out; csrc/linear_plan.h has the picture."""

    shape: Shape
    blocks: int
    rows: int
    columns: int
    steps: int
    whole: int
    bands: int
    band: int
    share: int

    @property
    def tail(self) -> int:
        """Tiles that come in pieces, or a last round of whole ones."""
        return self.rows * self.columns - self.whole

    @property
    def slots(self) -> int:
        """Pieces that the workspace must have room for."""
        if self.bands == 1 and self.share == 0:
            return 0
        workers = self.blocks // self.shape.pair
        rest = workers - self.bands * self.tail + self.tail if self.share else 0
        return self.bands * self.tail + rest

    @property
    def numbers(self) -> tuple[int, ...]:
        """What the kernels take."""
        return self[1:]


def tiles_of(shape: Shape, M: int, N: int) -> tuple[int, int]:
    """Tiles of a result (M, N), down and across; a pair's two count as one."""
    return -(-M // (BM * shape.pair)), -(-N // shape.BN)


@functools.cache
def choose(units: int, M: int, N: int, depth: int) -> Plan | None:
    """The plan for a result (M, N) of 16 bits; None where linear.hip's small tile is better."""
    steps = -(-depth // BK)
    small = -(-M // 64) * -(-N // 64)
    best = -(-small // (units * SMALL_RESIDENT)) * (steps * SMALL_STEP + SMALL_TILE)
    plan = None
    for shape in SHAPES:
        rows, columns = tiles_of(shape, M, N)
        workers = units // shape.pair
        cost = -(-rows * columns // workers) * (steps * shape.step + shape.tile) + START
        if cost < best:
            blocks = min(rows * columns, workers) * shape.pair
            best, plan = (
                cost,
                Plan(shape, blocks, rows, columns, steps, rows * columns, 1, steps, 0),
            )
    return plan


@functools.cache
def choose_pieces(units: int, M: int, N: int, depth: int) -> Plan | None:
    """The plan for a result (M, N) in float32 with a long sum; None where it is too small."""
    plans = [cut(shape, units, M, N, -(-depth // BK)) for shape in WEIGHT_SHAPES]
    if depth < SHALLOWEST:
        return None
    return min(plans, key=lambda plan: cost_of(plan, M * N))


def cost_of(plan: Plan, size: int) -> float:
    """Cycles that the gradient of a weight takes, estimated."""
    shape, workers = plan.shape, plan.blocks // plan.shape.pair
    cost: float = -(-plan.whole // workers) * (plan.steps * shape.step + 4 * shape.tile)
    if plan.tail:
        cost += max(plan.band, plan.share) * shape.step + 3 * shape.tile
    # Pieces are written and read: 4 bytes each, 2,500 bytes a cycle; and another kernel starts.
    if plan.slots:
        cost += (8 * plan.slots * BM * shape.pair * shape.BN + 8 * size) / 2500 + 3000
    return cost


def cut(shape: Shape, units: int, M: int, N: int, steps: int) -> Plan:
    """Whole tiles first; what is left over in bands, so that every worker has about as much."""
    rows, columns = tiles_of(shape, M, N)
    tiles, workers = rows * columns, units // shape.pair
    whole = tiles // workers * workers
    tail = tiles - whole
    bands, band, share = 1, steps, 0
    if tail > 0.8 * workers and whole:
        whole = tiles
    elif tail:
        bands = min(workers // tail, max(1, steps // SMALLEST_BAND))
        band = -(-steps // bands)
        over = workers - bands * tail
        if bands == workers // tail and over > 0.07 * workers:
            band = -(-tail * steps // workers)
            share = max(0, -(-tail * (steps - bands * band) // over))
        if not share:
            band = -(-steps // bands)
            bands = -(-steps // band)
    return Plan(shape, workers * shape.pair, rows, columns, steps, whole, bands, band, share)


@functools.lru_cache(maxsize=4096)
def tensor_map(pointer: int, bfloat: bool, rows: int, columns: int, box_rows: int) -> bytes:
    """The encoded map of a matrix (rows, columns) of 16-bit elements at an address.

    Raises:
        ValueError: the driver refuses it.
    """
    buffer = ctypes.create_string_buffer(128 + 64)
    start = -(-ctypes.addressof(buffer) // 64) * 64  # the driver wants it so
    status = tensor_map_encoder()(start, pointer, int(bfloat), rows, columns, box_rows)
    if status != 0:
        raise ValueError(
            f"no tensor map for {rows} x {columns} at {pointer:#x}: the driver returned {status}"
        )
    return ctypes.string_at(start, 128)


def operand(array: DeviceArray, rows: int, columns: int, box_rows: int) -> bytes:
    """`tensor_map` of an array that is (rows, columns)."""
    return tensor_map(array.pointer, array.dtype == bfloat16, rows, columns, box_rows)


def plan_of(
    backend: HipBackend,
    sizes: tuple[int, int, int],
    columns: tuple[int, int],
    *arrays: DeviceArray | None,
    pieces: bool = False,
) -> Plan | None:
    """The plan of a product; None where these kernels cannot or should not compute it.

    Args:
        backend: whose GPU.
        sizes: rows and columns of the result, and the depth of its sums.
        columns: of the matrices that are read and written.
        arrays: these, a 16-bit one first.
        pieces: the result is float32, and its sums may be cut.
    """
    first = arrays[0]
    if (
        first is None
        or first.itemsize != 2
        or backend.device.architecture != "sm_90"
        or any(one % 8 for one in columns)
        or any(one is not None and one.pointer % 16 for one in arrays)
        or tensor_map_encoder() is None
    ):
        return None
    return (choose_pieces if pieces else choose)(backend.device.compute_units, *sizes)


def forward(
    backend: HipBackend,
    suffix: str,
    plan: Plan,
    arrays: tuple[DeviceArray | None, ...],
    sizes: tuple[int, int, int],
    activation: int,
) -> None:
    """x, weight, bias, residual, preactivation, out as linear_forward has them; sizes M, N, K."""
    x, weight, *others = arrays
    assert x is not None
    assert weight is not None
    M, N, K = sizes
    shape = plan.shape
    maps = operand(x, M, K, BM), operand(weight, N, K, shape.BN // shape.pair)
    launch(backend, FORWARD, suffix, plan, *maps, *others, M, N, activation)


def backward_input(
    backend: HipBackend,
    suffix: str,
    plan: Plan,
    arrays: tuple[DeviceArray | None, ...],
    sizes: tuple[int, int, int],
    activation: int,
) -> None:
    """dout, weight, preactivation, out as linear_backward_input has them; sizes M, N, K."""
    dout, weight, *others = arrays
    assert dout is not None
    assert weight is not None
    M, N, K = sizes
    maps = operand(dout, M, N, BM), operand(weight, N, K, BK // plan.shape.pair)
    launch(backend, INPUT, suffix, plan, *maps, *others, M, K, activation)


def backward_weight(
    backend: HipBackend,
    suffix: str,
    plan: Plan,
    dout: DeviceArray,
    x: DeviceArray,
    dweight: DeviceArray,
    sizes: tuple[int, int, int],
) -> None:
    """dweight (N, K) += doutᵀ · x; sizes M, N, K."""
    M, N, K = sizes
    shape = plan.shape
    workspace = None
    if plan.slots:
        size = plan.slots * BM * shape.pair * shape.BN
        workspace = backend.empty((size,), np.float32)
    maps = operand(dout, M, N, BK), operand(x, M, K, BK // shape.pair)
    launch(backend, WEIGHT, suffix, plan, *maps, dweight, workspace, N, K)
    if workspace is not None:
        grid = plan.tail, BM * shape.pair * shape.BN // PIECES_ELEMENTS
        values = workspace, dweight, N, K, *plan.numbers
        PIECES.launch(backend, str(shape.BN), grid, 256, *values, overlapped=True)


def launch(backend: HipBackend, kernel: Kernel, suffix: str, plan: Plan, *values: object) -> None:
    """Launch one of the products."""
    name = f"{plan.shape.name}_{suffix}"
    threads = WEIGHT_THREADS if kernel is WEIGHT else THREADS
    values = *values, *plan.numbers
    kernel.launch(backend, name, plan.blocks, threads, *values, shared=LDS, overlapped=True)
