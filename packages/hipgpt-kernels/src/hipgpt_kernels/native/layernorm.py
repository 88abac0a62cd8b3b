"""LayerNorm by the compiled library."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.native.library import address, load_library

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
    pointers = map(address, (out, mean, rstd))
    load_library().hipgpt_layernorm_forward(
        workers.threads, *map(address, (x, weight, bias)), epsilon, *pointers, M, E
    )
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
    arrays = (dout, x, weight, mean, rstd, dx, dweight, dbias)
    load_library().hipgpt_layernorm_backward(workers.threads, *map(address, arrays), M, E)
