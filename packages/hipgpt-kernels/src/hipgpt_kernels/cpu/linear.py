"""Matrix products with what stands before and after them, block by block.

Each worker multiplies a block of rows and at once adds its bias, activation or residual, while the
block is in its cache. Where there are few rows (decoding), the columns are shared out instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.cpu.activation import backward_block, forward_block

if TYPE_CHECKING:
    from hipgpt_kernels.backend import Activation
    from hipgpt_kernels.cpu.threads import Workers

BLOCK_ELEMENTS = 1 << 18
"""Elements of a block of results: 1 MB, of the size of a core's second-level cache."""
LEAST_ROWS = 128
"""Fewer rows than this make a product slow: its operands are packed anew for every block."""


def row_step(columns: int) -> int:
    """Rows of a block with so many columns."""
    return max(LEAST_ROWS, BLOCK_ELEMENTS // max(1, columns) // 8 * 8)


def linear_forward(
    workers: Workers,
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    activation: Activation | None = None,
    preactivation: np.ndarray | None = None,
    residual: np.ndarray | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """See `Backend.linear_forward`."""
    M, N, K, shape = checks.linear_forward(
        x, weight, bias, activation, preactivation, residual, out
    )
    out = np.empty(shape, np.float32) if out is None else out
    rows = x.reshape(M, K)
    results = out.reshape(M, shape[-1])
    residuals = None if residual is None else residual.reshape(M, N)
    before = None if preactivation is None else preactivation.reshape(M, N)
    # A residual that is also the output would be overwritten by the product before it is added.
    aliased = residuals is not None and np.may_share_memory(residuals, results)
    # relu and gelu can be applied where the product was written; the others need another place.
    scratch = before is None and (activation == "swiglu" or aliased)

    def product(a: int, b: int, c: int, d: int) -> None:
        """Rows a … b, columns c … d of the product, and what follows it."""
        target = before if before is not None else results
        block = np.empty((b - a, d - c), np.float32) if scratch else target[a:b, c:d]
        np.matmul(rows[a:b], weight[c:d].T, out=block)  # (b-a, K) · (K, d-c)
        if bias is not None:
            block += bias[c:d]
        if activation is not None:
            forward_block(
                block, activation, results[a:b, : shape[-1]] if d - c == N else results[a:b, c:d]
            )
        elif residuals is not None:
            np.add(block, residuals[a:b, c:d], out=results[a:b, c:d])

    step = row_step(N)
    if M >= workers.threads * LEAST_ROWS or activation == "swiglu" or workers.threads == 1:

        def by_rows(start: int, stop: int) -> None:
            for a in range(start, stop, step):
                product(a, min(a + step, stop), 0, N)

        workers.run(by_rows, M, elements=M * N, multiple=8)
    else:
        workers.run(lambda c, d: product(0, M, c, d), N, elements=N * K, multiple=16)
    return out


def linear_backward_input(
    workers: Workers,
    dout: np.ndarray,
    weight: np.ndarray,
    *,
    activation: Activation | None = None,
    preactivation: np.ndarray | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """See `Backend.linear_backward_input`."""
    M, N, K, shape = checks.linear_backward_input(dout, weight, activation, preactivation, out)
    out = np.empty(shape, np.float32) if out is None else out
    gradients = dout.reshape(M, N)
    results = out.reshape(M, shape[-1])
    before = None if preactivation is None else preactivation.reshape(M, shape[-1])

    def product(a: int, b: int, c: int, d: int) -> None:
        """Rows a … b, columns c … d of dout · weight, times the slope of the activation."""
        if activation is None or before is None:
            np.matmul(gradients[a:b], weight[:, c:d], out=results[a:b, c:d])
            return
        block = np.matmul(gradients[a:b], weight[:, c:d])
        if activation == "swiglu":
            backward_block(block, before[a:b], activation, results[a:b])
        else:
            backward_block(block, before[a:b, c:d], activation, results[a:b, c:d])

    step = row_step(K)
    if M >= workers.threads * LEAST_ROWS or activation == "swiglu" or workers.threads == 1:

        def by_rows(start: int, stop: int) -> None:
            for a in range(start, stop, step):
                product(a, min(a + step, stop), 0, K)

        workers.run(by_rows, M, elements=M * K, multiple=8)
    else:
        workers.run(lambda c, d: product(0, M, c, d), K, elements=N * K, multiple=16)
    return out


def linear_backward_weight(
    workers: Workers,
    dout: np.ndarray,
    x: np.ndarray,
    dweight: np.ndarray,
    dbias: np.ndarray | None = None,
) -> None:
    """See `Backend.linear_backward_weight`."""
    M, N, K = checks.linear_backward_weight(dout, x, dweight, dbias)
    gradients = dout.reshape(M, N)
    rows = x.reshape(M, K)
    ones = np.ones(M, np.float32)
    step = row_step(K)

    def work(start: int, stop: int) -> None:
        # The outputs are shared out, so each worker adds to its own rows of dweight.
        for a in range(start, stop, step):
            b = min(a + step, stop)
            dweight[a:b] += gradients[:, a:b].T @ rows  # (b-a, M) · (M, K)
        if dbias is not None:
            dbias[start:stop] += ones @ gradients[:, start:stop]

    workers.run(work, N, elements=M * N, multiple=16)
