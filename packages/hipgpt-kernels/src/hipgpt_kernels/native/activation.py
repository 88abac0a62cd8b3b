"""GELU in its two forms, ReLU and SwiGLU by the compiled library."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.native.library import KINDS, load_library

if TYPE_CHECKING:
    from hipgpt_kernels.backend import Activation
    from hipgpt_kernels.cpu.threads import Workers


def activation_forward(
    workers: Workers, x: np.ndarray, activation: Activation, *, out: np.ndarray | None = None
) -> np.ndarray:
    """See `Backend.activation_forward`."""
    shape = checks.activation_forward(x, activation, out)
    out = np.empty(shape, np.float32) if out is None else out
    load_library().hipgpt_activation_forward(
        workers.threads,
        x.ctypes.data,
        out.ctypes.data,
        checks.rows(x),
        shape[-1],
        KINDS[activation],
    )
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
    load_library().hipgpt_activation_backward(
        workers.threads,
        dout.ctypes.data,
        x.ctypes.data,
        out.ctypes.data,
        checks.rows(x),
        dout.shape[-1],
        KINDS[activation],
    )
    return out
