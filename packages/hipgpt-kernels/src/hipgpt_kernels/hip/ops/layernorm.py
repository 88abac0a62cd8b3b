"""LayerNorm: a wave a row forward; backward, blocks that keep the sums of their columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.hip.kernel import FLOAT, INT, LONG, POINTER, Kernel
from hipgpt_kernels.hip.ops.seen import floating, plain, variant

if TYPE_CHECKING:
    from hipgpt_kernels.hip.array import DeviceArray
    from hipgpt_kernels.hip.backend import HipBackend

THREADS = 256
WAVE_BLOCKS_PER_UNIT = {8: 5, 16: 3, 24: 3, 32: 3}
"""Blocks of FORWARD_WAVE for each compute unit, by HELD: what the registers let run at once."""
BLOCKS_PER_UNIT = 6
"""Blocks of the backward for each compute unit: what the registers let run at once. More would only
make more partial sums."""
COLUMNS = 8
"""Columns that a block of the second pass adds up."""

FORWARD_WAVE = {
    held: Kernel("layernorm", f"layernorm_forward_{held}", *[POINTER] * 6, LONG, INT, FLOAT, INT)
    for held in (8, 16, 24, 32)
}
"""By the floats of a row that a lane keeps in registers; longer rows, and those that cannot move 16
bytes at a time, take a block each."""
PACK_BYTES = 16
FORWARD_BLOCK = Kernel("layernorm", "layernorm_forward_block", *[POINTER] * 6, INT, FLOAT)
SHORT = 256
"""Longest row whose kernels are launched `overlapped`: there a launch counts beside the work.
Longer ones reached less bandwidth that way."""
BACKWARD_ARGUMENTS = *[POINTER] * 7, LONG, INT, INT
BACKWARD_SHORT = Kernel("layernorm", "layernorm_backward_256", *BACKWARD_ARGUMENTS)
"""For rows of up to 256: 32 threads a row, eight columns each."""
SHORT_THREADS, SHORT_ROWS = 256, 8
SHORT_BLOCKS_PER_UNIT = 2
"""Blocks of BACKWARD_SHORT for each compute unit: what the registers let run at once."""
BACKWARD_ROW = {
    longest: Kernel("layernorm", f"layernorm_backward_{longest}", *BACKWARD_ARGUMENTS)
    for longest in (768, 1024, 1792)
}
"""By the longest row: 64 threads with 12, 16 or 28 columns each, all in registers."""
BACKWARD_BLOCK = Kernel("layernorm", "layernorm_backward_block", *BACKWARD_ARGUMENTS)
LONGEST_BLOCK = 2048
"""Columns that a block keeps in registers."""
BACKWARD_LONG = Kernel("layernorm", "layernorm_backward_long", *BACKWARD_ARGUMENTS)
ROW_THREADS = 64
"""Threads of a row in BACKWARD_ROW."""
ROW_COLUMNS = 4
"""Columns that such a thread loads at once."""
ROW_BLOCKS_PER_UNIT = 8
"""Blocks of BACKWARD_ROW for each compute unit: ten were a sixth slower on an H200."""
COMBINE = Kernel("layernorm", "layernorm_backward_combine", *[POINTER] * 3, INT, INT)


def layernorm_forward(
    backend: HipBackend,
    x: DeviceArray,
    weight: DeviceArray,
    bias: DeviceArray,
    *,
    epsilon: float = 1e-5,
    out: DeviceArray | None = None,
    mean: DeviceArray | None = None,
    rstd: DeviceArray | None = None,
) -> DeviceArray:
    """See `Backend.layernorm_forward`. mean and rstd are float32 whatever x is."""
    suffix = variant("layernorm_forward", x=x, weight=weight, bias=bias, out=out)
    M, E = checks.layernorm_forward(
        floating(x),
        floating(weight),
        floating(bias),
        epsilon,
        floating(out),
        plain(mean),
        plain(rstd),
    )
    out = backend.empty(x.shape, x.dtype) if out is None else out
    arrays = x, weight, bias, out, mean, rstd
    device = backend.device
    fitting = [held for held in FORWARD_WAVE if held * device.wave >= E]
    if fitting and moves_in_packs(E, PACK_BYTES // x.itemsize, x, weight, bias, out):
        held = fitting[0]
        most = WAVE_BLOCKS_PER_UNIT[held] * device.compute_units
        blocks = min(-(-M // (THREADS // device.wave)), most)
        values = *arrays, M, E, epsilon, blocks
        kernel = FORWARD_WAVE[held]
        kernel.launch(backend, suffix, blocks, THREADS, *values, overlapped=E <= SHORT)
    else:
        FORWARD_BLOCK.launch(backend, suffix, M, THREADS, *arrays, E, epsilon)
    return out


def layernorm_backward(
    backend: HipBackend,
    dout: DeviceArray,
    x: DeviceArray,
    weight: DeviceArray,
    mean: DeviceArray,
    rstd: DeviceArray,
    dx: DeviceArray,
    dweight: DeviceArray,
    dbias: DeviceArray,
) -> None:
    """See `Backend.layernorm_backward`. mean, rstd, dweight and dbias are float32 whatever x is."""
    suffix = variant("layernorm_backward", dout=dout, x=x, weight=weight, dx=dx)
    M, E = checks.layernorm_backward(
        floating(dout),
        floating(x),
        floating(weight),
        plain(mean),
        plain(rstd),
        floating(dx),
        plain(dweight),
        plain(dbias),
    )
    if M == 0 or E == 0:
        return
    fitting = [longest for longest in BACKWARD_ROW if longest >= E]
    arrays = dout, x, weight, dx
    rows = 1  # of a block at a time
    if E <= SHORT and moves_in_packs(E, PACK_BYTES // x.itemsize, *arrays):
        kernel, threads, per_unit = BACKWARD_SHORT, SHORT_THREADS, SHORT_BLOCKS_PER_UNIT
        rows = SHORT_ROWS
    elif fitting and moves_in_packs(E, ROW_COLUMNS, *arrays):
        kernel, threads, per_unit = BACKWARD_ROW[fitting[0]], ROW_THREADS, ROW_BLOCKS_PER_UNIT
    else:
        kernel = BACKWARD_BLOCK if E <= LONGEST_BLOCK else BACKWARD_LONG
        threads, per_unit = THREADS, BLOCKS_PER_UNIT
    blocks = min(-(-M // rows), per_unit * backend.device.compute_units)
    partial = backend.empty((blocks, 2, E), np.float32)
    values = dout, x, weight, mean, rstd, dx, partial, M, E, blocks
    early = E <= SHORT
    kernel.launch(backend, suffix, blocks, threads, *values, overlapped=early)
    grid = -(-2 * E // COLUMNS)
    sums = partial, dweight, dbias, E, blocks
    COMBINE.launch(backend, "", grid, THREADS, *sums, overlapped=early)


def moves_in_packs(E: int, columns: int, *arrays: DeviceArray) -> bool:
    """May each row of each array move `columns` values at a time?"""
    return E % columns == 0 and all(
        array.pointer % (columns * array.itemsize) == 0 for array in arrays
    )
