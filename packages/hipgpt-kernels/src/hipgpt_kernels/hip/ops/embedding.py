"""Token and position rows; the gradient sorts the tokens first, so that no atomics are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.hip.kernel import INT, LONG, POINTER, Kernel
from hipgpt_kernels.hip.ops.errors import error_record
from hipgpt_kernels.hip.ops.seen import INT64, UINT64, floating, plain, value_or_pointer, variant

if TYPE_CHECKING:
    from hipgpt_kernels.hip.array import DeviceArray
    from hipgpt_kernels.hip.backend import HipBackend

FORWARD_THREADS = 256
SORT_THREADS = 256
SORT_TILE = 1024
"""Tokens that a block of the sort takes."""
DIGIT_BITS = 8
DIGITS = 1 << DIGIT_BITS
SUM_THREADS = 64
SUM_TILE = 32
"""Sorted tokens that a block of the sums takes."""
SUM_COLUMNS = 256
"""Columns of such a block: four a thread."""
MOST_TOKENS = 2**31 - 1
"""Tokens are counted in 32 bits."""

FORWARD = Kernel(
    "embedding", "embedding_forward", *[POINTER] * 4, LONG, *[INT] * 4, LONG, POINTER, POINTER
)
WORK = POINTER, POINTER, INT, INT, INT, INT
COUNT = Kernel("embedding", "embedding_sort_count", POINTER, POINTER, *[INT] * 4, *WORK)
SCATTER = Kernel("embedding", "embedding_sort_scatter", *[POINTER] * 5, *[INT] * 4, POINTER, *WORK)
TOKENS = Kernel("embedding", "embedding_backward_tokens", *[POINTER] * 5, INT, INT, INT)
SEAMS = Kernel("embedding", "embedding_backward_seams", *[POINTER] * 3, INT, INT, INT)


def embedding_forward(
    backend: HipBackend,
    tokens: DeviceArray,
    token_table: DeviceArray,
    position_table: DeviceArray | None = None,
    *,
    position: int | DeviceArray = 0,
    out: DeviceArray | None = None,
) -> DeviceArray:
    """See `Backend.embedding_forward`. An id outside the vocabulary is told at the next wait.

    `position` may be an int64 on the device, read when the kernel runs: in a captured graph of
    generation it changes from token to token. Then nothing checks it but the kernel, which stays
    within the table.
    """
    op = "embedding_forward"
    number, pointer = value_or_pointer(op, "position", position, 0, INT64, UINT64)
    suffix = variant(op, token_table=token_table, position_table=position_table, out=out)
    B, T, V, E = checks.embedding_forward(
        plain(tokens), floating(token_table), floating(position_table), number, floating(out)
    )
    out = backend.empty((B, T, E), token_table.dtype) if out is None else out
    M = B * T
    FORWARD.launch(
        backend,
        suffix,
        -(-M // (FORWARD_THREADS // backend.device.wave)),
        FORWARD_THREADS,
        tokens,
        token_table,
        position_table,
        out,
        M,
        T,
        V,
        E,
        0 if position_table is None else position_table.shape[0],
        number,
        pointer,
        error_record(backend),
        overlapped=True,
    )
    return out


class Positions(NamedTuple):
    """The position table's gradient, which travels with the launches of the sort."""

    dout: DeviceArray | None
    dposition_table: DeviceArray | None
    B: int
    T: int
    E: int


def sort_tokens(
    backend: HipBackend, tokens: DeviceArray, V: int, suffix: str, work: Positions
) -> tuple[DeviceArray, DeviceArray]:
    """The ids (n,) in increasing order, V for what is no id, and which token each was (n,).

    `work` is done on the way.
    """
    n = tokens.size
    tiles = -(-n // SORT_TILE)
    counts = backend.empty((tiles, DIGITS), np.int32)
    shifts = range(0, V.bit_length(), DIGIT_BITS)
    units = 0 if work.dposition_table is None else work.T * -(-work.E // SUM_COLUMNS)
    units_per_block = SORT_THREADS // SUM_THREADS
    blocks = -(-units // (2 * len(shifts) * units_per_block))  # in each launch
    first = 0
    keys, order = tokens, None
    for shift in shifts:
        sorted_keys, sorted_order = (backend.empty((n,), np.int32) for _ in range(2))
        pass_sizes = n, V, shift, tiles
        grid = tiles + blocks
        COUNT.launch(
            backend,
            suffix,
            grid,
            SORT_THREADS,
            keys,
            counts,
            *pass_sizes,
            *work,
            first,
            overlapped=True,
        )
        first += blocks * units_per_block
        arrays = keys, order, counts, sorted_keys, sorted_order
        errors = error_record(backend)
        SCATTER.launch(
            backend,
            suffix,
            grid,
            SORT_THREADS,
            *arrays,
            *pass_sizes,
            errors,
            *work,
            first,
            overlapped=True,
        )
        first += blocks * units_per_block
        keys, order = sorted_keys, sorted_order
    if order is None:
        raise ValueError("embedding_backward: dtoken_table has no rows")
    return keys, order


def embedding_backward(
    backend: HipBackend,
    dout: DeviceArray,
    tokens: DeviceArray,
    dtoken_table: DeviceArray,
    dposition_table: DeviceArray | None = None,
) -> None:
    """See `Backend.embedding_backward`. The tables are float32 whatever dout is.

    An id outside the vocabulary is told at the next wait, and its row of dout left out.
    """
    op = "embedding_backward"
    suffix = variant(op, dout=dout)
    B, T, V, E = checks.embedding_backward(
        floating(dout), plain(tokens), plain(dtoken_table), plain(dposition_table)
    )
    n = B * T
    if n == 0 or E == 0:
        return
    if n > MOST_TOKENS:
        raise ValueError(f"{op}: tokens has {n} elements, expected at most {MOST_TOKENS}")
    columns = -(-E // SUM_COLUMNS)
    work = Positions(dout, dposition_table, B, T, E)
    keys, order = sort_tokens(backend, tokens, V, suffix, work)
    tiles = -(-n // SUM_TILE)
    seams = backend.empty((tiles, 2, E), np.float32)
    arrays = keys, order, dtoken_table, seams
    TOKENS.launch(
        backend, suffix, (tiles, columns), SUM_THREADS, dout, *arrays, n, V, E, overlapped=True
    )
    SEAMS.launch(
        backend,
        "",
        (tiles, columns),
        SUM_THREADS,
        keys,
        dtoken_table,
        seams,
        n,
        V,
        E,
        overlapped=True,
    )
