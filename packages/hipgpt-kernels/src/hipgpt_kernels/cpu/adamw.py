"""AdamW and the gradient norm over flat buffers, one pass of cache-sized blocks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from hipgpt_kernels import checks

if TYPE_CHECKING:
    from collections.abc import Callable

    from hipgpt_kernels.backend import Number
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
    factor: np.ndarray | None,
) -> Factors | None:
    """The factors of an update, or None where nothing may change."""
    if norm is not None and not np.isfinite(norm):
        return None
    clip = 1.0
    if factor is not None:
        clip = float(factor)
        if math.isnan(clip):
            return None
    elif max_norm > 0.0:
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


Arrays: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""weights, gradients, m and v, each (n,)."""


def in_parts(
    workers: Workers,
    update: Callable[[Workers, Arrays, Factors, float, float], None],
    arrays: Arrays,
    options: tuple[Any, ...],
    factor: np.ndarray | None,
    decayed: int | None,
    low: None,
    *,
    zero_gradients: bool,
) -> None:
    """Check the arguments, then do the update of the elements that decay and of those that do not.

    Args:
        workers: who does it.
        update: does it for some elements: workers, arrays, factors, beta1, beta2.
        arrays: weights, gradients, m and v.
        options: learning_rate, beta1, beta2, epsilon, weight_decay, step, norm, max_norm.
        factor: as for `Backend.adamw_step`.
        decayed: likewise.
        low: likewise, and None.
        zero_gradients: likewise.
    """
    op = "adamw_step"
    rate, beta1, beta2, epsilon, weight_decay, step, norm, max_norm = options
    rate = checks.number(op, "learning_rate", rate, np.float64)
    step = checks.number(op, "step", step, np.int64)
    numbers = rate, beta1, beta2, epsilon, weight_decay, step
    n, decayed = checks.adamw_step(
        *arrays, *numbers, norm, max_norm, factor, decayed, zero_gradients=zero_gradients
    )
    if low is not None:
        raise TypeError(f"{op}: low is an array, expected None: the CPU computes in float32")
    for part, decay in ((slice(0, decayed), weight_decay), (slice(decayed, n), 0.0)):
        use = factors(rate, beta1, beta2, epsilon, decay, step, norm, max_norm, factor)
        if use is not None and part.start < part.stop:
            some = tuple(array[part] for array in arrays)
            update(workers, some, use, beta1, beta2)  # type: ignore[arg-type]
    if zero_gradients:
        gradients = arrays[1]
        workers.run(lambda start, stop: gradients[start:stop].fill(0), n, elements=n)


def update(workers: Workers, arrays: Arrays, use: Factors, beta1: float, beta2: float) -> None:
    """One update of some elements."""
    weights, gradients, m, v = arrays
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

    workers.run(work, weights.size, elements=weights.size, multiple=BLOCK)
