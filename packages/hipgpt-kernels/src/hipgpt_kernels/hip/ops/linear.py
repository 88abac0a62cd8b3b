"""Matrix products of a linear layer on the GPU: which kernel and which tile, then one launch.

Few rows (decoding) go to the matrix-vector kernels. SwiGLU, whose output has half the columns of
the product, is a pass of its own. The odd thing: the gradient of a weight is small but deep, so its
depth is cut in pieces that write to a workspace and are added up in their order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.hip.kernel import INT, LONG, POINTER, Kernel
from hipgpt_kernels.hip.ops import activation as activations
from hipgpt_kernels.hip.ops import linear_tma
from hipgpt_kernels.hip.ops.seen import floating, plain, variant
from hipgpt_kernels.hip.ops.tiles import Tile, choose, choose_split

if TYPE_CHECKING:
    from hipgpt_kernels.backend import Activation
    from hipgpt_kernels.hip.array import DeviceArray
    from hipgpt_kernels.hip.backend import HipBackend

NUMBERS: dict[str | None, int] = {None: 0, "gelu": 1, "relu": 2, "swiglu": 0, "gelu_erf": 3}
"""What linear_activation.h calls them; swiglu is not done by a product."""

FORWARD = Kernel("linear", "linear_forward", *[POINTER] * 7, *[INT] * 4)
INPUT = Kernel("linear", "linear_input", *[POINTER] * 5, *[INT] * 4)
WEIGHT = Kernel("linear", "linear_weight", *[POINTER] * 4, *[INT] * 5)
BIAS = Kernel("linear", "linear_bias", *[POINTER] * 2, *[INT] * 3)
SUM = Kernel("linear", "linear_sum", *[POINTER] * 4, LONG, *[INT] * 4)
VECTOR = Kernel("gemv", "gemv", *[POINTER] * 6, *[INT] * 4)

DEEPEST = 1024
"""Depth of a float32 sum in one go: DEEPEST in linear.hip."""
SUM_THREADS = 256
SUM_ACROSS = 32
"""Threads of a block of `linear_bias` beside one another: each takes 16 bytes of a row."""
BIAS_BLOCKS = 8
"""Blocks of `linear_bias` for each compute unit."""
VECTOR_ROWS = 8
"""Rows up to which the matrix-vector kernels are taken."""
VECTOR_THREADS = 128
VECTOR_GROUPS = 4
"""GROUPS in gemv.hip."""


def vector_kernel(M: int, N: int) -> tuple[int, int]:
    """Rows and outputs a wave of the matrix-vector kernel for M rows: more outputs where there are
    enough of them to fill the chip, since each x is then read for all of them.
    """
    if M == 1:
        return 1, 4 if N >= 16384 else 2 if N >= 2048 else 1
    if M == 2:
        return 2, 4 if N >= 16384 else 2
    return (4, 4) if M <= 4 else (8, 4)


def partial_sums(
    backend: HipBackend, suffix: str, M: int, N: int, depth: int
) -> DeviceArray | None:
    """Where a float32 product (M, N) with a long sum keeps what it has so far."""
    return backend.empty((M, N), np.float32) if suffix == "f32" and depth > DEEPEST else None


def launch_tiles(
    backend: HipBackend,
    kernel: Kernel,
    suffix: str,
    size: str,
    tile: Tile,
    grid: int,
    *values: object,
) -> None:
    """Launch a product with one block a tile; the kernel calls await_previous (csrc/overlap.h)."""
    device = backend.device
    itemsize = 4 if suffix == "f32" else 2
    shared = tile.shared(itemsize, device.wave) if device.nvidia else 0
    threads = tile.threads(device.wave)
    kernel.launch(
        backend, f"{size}_{suffix}", grid, threads, *values, shared=shared, overlapped=True
    )


def linear_forward(
    backend: HipBackend,
    x: DeviceArray,
    weight: DeviceArray,
    bias: DeviceArray | None = None,
    *,
    activation: Activation | None = None,
    preactivation: DeviceArray | None = None,
    residual: DeviceArray | None = None,
    out: DeviceArray | None = None,
) -> DeviceArray:
    """See `Backend.linear_forward`."""
    op = "linear_forward"
    suffix = variant(
        op, x=x, weight=weight, bias=bias, preactivation=preactivation, residual=residual, out=out
    )
    M, N, K, shape = checks.linear_forward(
        floating(x),
        floating(weight),
        floating(bias),
        activation,
        floating(preactivation),
        floating(residual),
        floating(out),
    )
    out = backend.empty(shape, x.dtype) if out is None else out
    product, kept = out, preactivation
    if activation == "swiglu":
        lead = x.shape[:-1]
        product = backend.empty((*lead, N), x.dtype) if preactivation is None else preactivation
        kept = None
    arrays = x, weight, bias, residual, kept, product
    sizes = M, N, K, NUMBERS[activation]
    if M <= VECTOR_ROWS:
        rows, outputs = vector_kernel(M, N)
        grid = -(-N // (VECTOR_GROUPS * outputs)) if M else 0
        VECTOR.launch(backend, f"{rows}x{outputs}_{suffix}", grid, VECTOR_THREADS, *arrays, *sizes)
    elif plan := linear_tma.plan_of(backend, (M, N, K), (N, K), *arrays):
        linear_tma.forward(backend, suffix, plan, arrays, (M, N, K), NUMBERS[activation])
    else:
        device = backend.device
        size, tile = choose(device.architecture, device.compute_units, x.itemsize, M, N)
        values = *arrays, partial_sums(backend, suffix, M, N, K), *sizes
        launch_tiles(backend, FORWARD, suffix, size, tile, tile.tiles_in(M, N), *values)
    if activation == "swiglu":
        activations.activation_forward(backend, product, "swiglu", out=out)
    return out


def linear_backward_input(
    backend: HipBackend,
    dout: DeviceArray,
    weight: DeviceArray,
    *,
    activation: Activation | None = None,
    preactivation: DeviceArray | None = None,
    out: DeviceArray | None = None,
) -> DeviceArray:
    """See `Backend.linear_backward_input`."""
    op = "linear_backward_input"
    suffix = variant(op, dout=dout, weight=weight, preactivation=preactivation, out=out)
    M, N, K, shape = checks.linear_backward_input(
        floating(dout), floating(weight), activation, floating(preactivation), floating(out)
    )
    out = backend.empty(shape, dout.dtype) if out is None else out
    product, before = out, preactivation
    if activation == "swiglu":
        product, before = backend.empty((*dout.shape[:-1], K), dout.dtype), None
    arrays = dout, weight, before, product
    number = NUMBERS[activation]
    if plan := linear_tma.plan_of(backend, (M, K, N), (N, K), *arrays):
        linear_tma.backward_input(backend, suffix, plan, arrays, (M, N, K), number)
    else:
        device = backend.device
        size, tile = choose(device.architecture, device.compute_units, dout.itemsize, M, K)
        values = *arrays, partial_sums(backend, suffix, M, K, N), M, N, K, number
        launch_tiles(backend, INPUT, suffix, size, tile, tile.tiles_in(M, K), *values)
    if activation == "swiglu" and preactivation is not None:
        activations.activation_backward(backend, product, preactivation, "swiglu", out=out)
    return out


def linear_backward_weight(
    backend: HipBackend,
    dout: DeviceArray,
    x: DeviceArray,
    dweight: DeviceArray,
    dbias: DeviceArray | None = None,
) -> None:
    """See `Backend.linear_backward_weight`. dweight and dbias are float32 whatever x is."""
    suffix = variant("linear_backward_weight", dout=dout, x=x)
    M, N, K = checks.linear_backward_weight(
        floating(dout), floating(x), plain(dweight), plain(dbias)
    )
    if M == 0 or N == 0:
        return
    device = backend.device
    workspace, splits, blocks = None, 1, 0
    partial, pieces, across = None, 0, 0
    if plan := linear_tma.plan_of(backend, (N, K, M), (N, K), dout, x, dweight, pieces=True):
        linear_tma.backward_weight(backend, suffix, plan, dout, x, dweight, (M, N, K))
    else:
        size, tile, splits = choose_split(
            device.architecture, device.compute_units, x.itemsize, N, K, M
        )
        rows = -(-M // (splits * tile.BK)) * tile.BK
        workspace = backend.empty((splits, N, K), np.float32) if splits > 1 else None
        values = dout, x, dweight, workspace, M, N, K, splits, rows
        launch_tiles(backend, WEIGHT, suffix, size, tile, tile.tiles_in(N, K) * splits, *values)
        blocks = 0 if workspace is None else -(-dweight.size // (4 * SUM_THREADS))
    if dbias is not None:
        partial, pieces = bias_parts(backend, suffix, dout, M, N)
        across = -(-N // (SUM_ACROSS * 4))
    arrays = workspace, dweight, partial, dbias
    sizes = dweight.size, splits, blocks, pieces, N
    SUM.launch(backend, "", blocks + across, SUM_THREADS, *arrays, *sizes, overlapped=True)


def bias_parts(
    backend: HipBackend, suffix: str, dout: DeviceArray, M: int, N: int
) -> tuple[DeviceArray, int]:
    """The column sums of pieces of dout (M, N): (pieces, N) float32, and how many."""
    across = -(-N // (SUM_ACROSS * 16 // dout.itemsize))
    pieces = max(1, min(-(-M // 64), BIAS_BLOCKS * backend.device.compute_units // across, 128))
    rows = -(-M // pieces)
    pieces = -(-M // rows)
    partial = backend.empty((pieces, N), np.float32)
    values = dout, partial, M, N, rows
    BIAS.launch(backend, suffix, (across, pieces), SUM_THREADS, *values, overlapped=True)
    return partial, pieces
