"""AdamW and the gradient norm over flat buffers, one pass of cache-sized blocks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hipgpt_kernels import checks

if TYPE_CHECKING:
    from hipgpt_kernels.cpu.threads import Workers

BLOCK = 1 << 14
"""Elements a block: four arrays and two of scratch, 384 KB."""
CLIP_EPSILON = 1e-6
"""Added to the norm before dividing, as the usual clipping does."""


def gradient_norm(workers: Workers, gradients: np.ndarray) -> np.ndarray:
    """See `Backend.gradient_norm`. Squares are summed in float32 a block, then in float64."""
    n = checks.gradient_norm(gradients)
    sums = np.zeros(-(-n // BLOCK), np.float64)

    def work(start: int, stop: int) -> None:
        for a in range(start, stop, BLOCK):
            block = gradients[a : min(a + BLOCK, stop)]
            with np.errstate(over="ignore"):  # seen below, in the sum
                sums[a // BLOCK] = np.dot(block, block)

    workers.run(work, n, elements=n, multiple=BLOCK)
    total = sums.sum()
    if not np.isfinite(total):  # a square left the range of float32, or a gradient is not finite
        total = np.square(gradients, dtype=np.float64).sum()
    with np.errstate(over="ignore"):  # a norm beyond float32 is infinite
        return np.asarray(math.sqrt(total), np.float32)


class Factors(NamedTuple):
    """What one update multiplies with, the same for every element."""

    clip: float
    """What clipping leaves of the gradient."""
    first: float
    """Of the clipped gradient, on its way into m: 1 − β₁."""
    second: float
    """Of its square, on its way into v: 1 − β₂."""
    step_size: float
    """Of m, with both bias corrections: lr·√(1−β₂ᵗ) / (1−β₁ᵗ)."""
    epsilon: float
    """Added to √v, likewise corrected: ε·√(1−β₂ᵗ)."""
    keep: float
    """Of the weight: 1 − lr·weight_decay."""


def factors(
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
    step: int,
    norm: np.ndarray | None,
    max_norm: float,
) -> Factors | None:
    """The factors of an update, or None where the norm is not finite and nothing may change."""
    if norm is not None and not np.isfinite(norm):
        return None
    clip = 1.0
    if max_norm > 0.0:
        assert norm is not None  # the arguments are checked
        clip = min(1.0, max_norm / (float(norm) + CLIP_EPSILON))
    root2 = math.sqrt(1.0 - beta2**step)
    step_size = learning_rate * root2 / (1.0 - beta1**step)
    return Factors(
        clip=clip,
        first=1.0 - beta1,
        second=1.0 - beta2,
        step_size=step_size,
        epsilon=epsilon * root2,
        keep=1.0 - learning_rate * weight_decay,
    )


def adamw_step(
    workers: Workers,
    weights: np.ndarray,
    gradients: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    *,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
    step: int,
    norm: np.ndarray | None = None,
    max_norm: float = 0.0,
) -> None:
    """See `Backend.adamw_step`."""
    n = checks.adamw_step(
        weights, gradients, m, v,
        learning_rate, beta1, beta2, epsilon, weight_decay, step, norm, max_norm,
    )  # fmt: skip
    use = factors(learning_rate, beta1, beta2, epsilon, weight_decay, step, norm, max_norm)
    if use is None:
        return
    clip, first, second, step_size, small, keep = map(np.float32, use)
    decay1, decay2 = np.float32(beta1), np.float32(beta2)

    def work(start: int, stop: int) -> None:
        scratch = np.empty(min(BLOCK, stop - start), np.float32)
        for a in range(start, stop, BLOCK):
            b = min(a + BLOCK, stop)
            gradient, one, two, weight = gradients[a:b], m[a:b], v[a:b], weights[a:b]
            part = scratch[: b - a]
            np.multiply(gradient, clip * first, out=part)
            one *= decay1
            one += part
            np.multiply(gradient, clip, out=part)  # before the square, which might overflow
            np.square(part, out=part)
            part *= second
            two *= decay2
            two += part
            np.sqrt(two, out=part)
            part += small
            np.divide(one, part, out=part)
            part *= step_size
            weight *= keep
            weight -= part

    workers.run(work, n, elements=n, multiple=BLOCK)
