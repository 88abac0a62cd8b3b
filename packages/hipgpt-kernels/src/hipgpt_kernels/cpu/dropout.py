"""Dropout whose mask is a function of (seed, stream, element): no memory, no state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.philox import philox4x32

if TYPE_CHECKING:
    from hipgpt_kernels.backend import Number
    from hipgpt_kernels.cpu.threads import Workers

BLOCK = 1 << 14
"""Elements a block; a multiple of the four words that one counter gives."""


def dropout_forward(
    workers: Workers,
    x: np.ndarray,
    probability: float,
    seed: int,
    stream: Number,
    *,
    residual: np.ndarray | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """See `Backend.dropout_forward`."""
    stream = checks.number("dropout_forward", "stream", stream, np.uint64, np.int64)
    checks.dropout_forward(x, probability, seed, stream, residual, out)
    out = np.empty(x.shape, np.float32) if out is None else out
    flat, results = x.reshape(-1), out.reshape(-1)
    residuals = None if residual is None else residual.reshape(-1)
    threshold = np.uint64(round(probability * 2.0**32))
    scale = np.float32(1.0 / (1.0 - probability))

    def work(start: int, stop: int) -> None:
        for a in range(start, stop, BLOCK):
            b = min(a + BLOCK, stop)
            counter = np.arange(a // 4, -(-b // 4), dtype=np.uint64)  # a is a multiple of 4
            words = philox4x32(counter, seed, stream).reshape(-1)[: b - a]
            factor = (words >= threshold).astype(np.float32)
            factor *= scale
            if residuals is None:
                np.multiply(flat[a:b], factor, out=results[a:b])
            else:
                factor *= flat[a:b]
                np.add(factor, residuals[a:b], out=results[a:b])

    workers.run(work, flat.size, elements=flat.size, multiple=BLOCK)
    return out
