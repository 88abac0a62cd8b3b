"""Linear interpolation between two arrays, in blocks that stay in the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks

if TYPE_CHECKING:
    from hipgpt_kernels.backend import Number
    from hipgpt_kernels.cpu.threads import Workers

BLOCK = 1 << 15
"""Elements a block: three arrays and one of scratch, 512 KB."""


def lerp(
    workers: Workers,
    start: np.ndarray,
    end: np.ndarray,
    weight: Number,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """See `Backend.lerp`."""
    weight = checks.number("lerp", "weight", weight, np.float64)
    checks.lerp(start, end, weight, out)
    result = np.empty_like(start) if out is None else out
    n = start.size
    of, to, into = start.reshape(-1), end.reshape(-1), result.reshape(-1)
    factor = np.float32(weight)

    def work(first: int, last: int) -> None:
        scratch = np.empty(min(BLOCK, last - first), np.float32)
        for a in range(first, last, BLOCK):
            b = min(a + BLOCK, last)
            part = scratch[: b - a]
            np.subtract(to[a:b], of[a:b], out=part)
            part *= factor
            np.add(of[a:b], part, out=into[a:b])

    workers.run(work, n, elements=n, multiple=BLOCK)
    return result
