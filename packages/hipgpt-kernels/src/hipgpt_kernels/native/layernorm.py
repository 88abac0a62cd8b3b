"""LayerNorm by the compiled library; sums over rows are kept per worker, then added in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.native.library import FLOAT, address, load_library

if TYPE_CHECKING:
    from hipgpt_kernels.cpu.threads import Workers


def layernorm_forward(
    workers: Workers,
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    *,
    epsilon: float = 1e-5,
    out: np.ndarray | None = None,
    mean: np.ndarray | None = None,
    rstd: np.ndarray | None = None,
) -> np.ndarray:
    """See `Backend.layernorm_forward`."""
    M, E = checks.layernorm_forward(x, weight, bias, epsilon, out, mean, rstd)
    out = np.empty(x.shape, np.float32) if out is None else out
    function = load_library().hipgpt_layernorm_forward
    source, target = x.ctypes.data, out.ctypes.data
    gain, shift, means, rstds = map(address, (weight, bias, mean, rstd))

    def work(start: int, stop: int) -> None:
        skip = FLOAT * start * E
        function(
            source + skip, gain, shift, epsilon, target + skip,
            None if means is None else means + FLOAT * start,
            None if rstds is None else rstds + FLOAT * start,
            stop - start, E,
        )  # fmt: skip

    workers.run(work, M, elements=x.size)
    return out


def layernorm_backward(
    workers: Workers,
    dout: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    mean: np.ndarray,
    rstd: np.ndarray,
    dx: np.ndarray,
    dweight: np.ndarray,
    dbias: np.ndarray,
) -> None:
    """See `Backend.layernorm_backward`."""
    M, E = checks.layernorm_backward(dout, x, weight, mean, rstd, dx, dweight, dbias)
    function = load_library().hipgpt_layernorm_backward
    gradient, source, gain, target = (a.ctypes.data for a in (dout, x, weight, dx))
    means, rstds = mean.ctypes.data, rstd.ctypes.data
    partials: dict[int, np.ndarray] = {}

    def work(start: int, stop: int) -> None:
        sums = np.zeros((2, E), np.float32)
        skip = FLOAT * start * E
        function(
            gradient + skip, source + skip, gain, means + FLOAT * start, rstds + FLOAT * start,
            target + skip, sums.ctypes.data, sums.ctypes.data + FLOAT * E, stop - start, E,
        )  # fmt: skip
        partials[start] = sums

    workers.run(work, M, elements=x.size)
    for start in sorted(partials):  # in the order of the rows, whichever worker was done first
        dweight += partials[start][0]
        dbias += partials[start][1]
