"""GELU, ReLU and SwiGLU by the compiled library: workers get spans of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.native.library import FLOAT, KINDS, load_library

if TYPE_CHECKING:
    from hipgpt_kernels.backend import Activation
    from hipgpt_kernels.cpu.threads import Workers


def activation_forward(
    workers: Workers, x: np.ndarray, activation: Activation, *, out: np.ndarray | None = None
) -> np.ndarray:
    """See `Backend.activation_forward`."""
    shape = checks.activation_forward(x, activation, out)
    out = np.empty(shape, np.float32) if out is None else out
    function = load_library().hipgpt_activation_forward
    rows, columns, N = checks.rows(x), x.shape[-1], shape[-1]
    source, target, kind = x.ctypes.data, out.ctypes.data, KINDS[activation]

    def work(start: int, stop: int) -> None:
        function(
            source + FLOAT * start * columns, target + FLOAT * start * N, stop - start, N, kind
        )

    workers.run(work, rows, elements=x.size)
    return out


def activation_backward(
    workers: Workers,
    dout: np.ndarray,
    x: np.ndarray,
    activation: Activation,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """See `Backend.activation_backward`."""
    checks.activation_backward(dout, x, activation, out)
    out = np.empty(x.shape, np.float32) if out is None else out
    function = load_library().hipgpt_activation_backward
    rows, columns, N = checks.rows(x), x.shape[-1], dout.shape[-1]
    gradient, source, target = dout.ctypes.data, x.ctypes.data, out.ctypes.data
    kind = KINDS[activation]

    def work(start: int, stop: int) -> None:
        skip = FLOAT * start * columns
        function(gradient + FLOAT * start * N, source + skip, target + skip, stop - start, N, kind)

    workers.run(work, rows, elements=x.size)
    return out
