"""Dropout by the compiled library; the mask is that of philox.py, bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.native.library import address, load_library

if TYPE_CHECKING:
    from hipgpt_kernels.backend import Number
    from hipgpt_kernels.cpu.threads import Workers


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
    threshold = round(probability * 2.0**32)
    scale = 1.0 / (1.0 - probability)
    arrays = map(address, (x, residual, out))
    load_library().hipgpt_dropout(workers.threads, *arrays, x.size, threshold, scale, seed, stream)
    return out
