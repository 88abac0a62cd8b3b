"""AdamW and the gradient norm by the compiled library."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.cpu.adamw import in_parts
from hipgpt_kernels.native.library import address, load_library

if TYPE_CHECKING:
    from hipgpt_kernels.backend import Number
    from hipgpt_kernels.cpu.adamw import Arrays, Factors
    from hipgpt_kernels.cpu.threads import Workers


def gradient_norm(workers: Workers, gradients: np.ndarray) -> np.ndarray:
    """See `Backend.gradient_norm`."""
    n = checks.gradient_norm(gradients)
    total = load_library().hipgpt_squares(workers.threads, gradients.ctypes.data, n)
    if not math.isfinite(total):  # a square left float32's range, or a gradient is not finite
        total = float(np.square(gradients, dtype=np.float64).sum())
    with np.errstate(over="ignore"):  # a norm beyond float32 is infinite
        return np.asarray(math.sqrt(total), np.float32)


def adamw_step(
    workers: Workers,
    weights: np.ndarray,
    gradients: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    *,
    learning_rate: Number,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
    step: Number,
    norm: np.ndarray | None = None,
    max_norm: float = 0.0,
    factor: np.ndarray | None = None,
    decayed: int | None = None,
    low: None = None,
    zero_gradients: bool = False,
) -> None:
    """See `Backend.adamw_step`. There is no `low`: the CPU computes in float32."""
    arrays = weights, gradients, m, v
    options = learning_rate, beta1, beta2, epsilon, weight_decay, step, norm, max_norm
    in_parts(workers, update, arrays, options, factor, decayed, low, zero_gradients=zero_gradients)


def update(workers: Workers, arrays: Arrays, use: Factors, beta1: float, beta2: float) -> None:
    """One update of some elements."""
    addresses = map(address, arrays)
    load_library().hipgpt_adamw(workers.threads, *addresses, arrays[0].size, beta1, beta2, *use)
