"""LayerNorm in blocks of rows; sums over rows are kept per worker, then added in a fixed order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks

if TYPE_CHECKING:
    from hipgpt_kernels.cpu.threads import Workers

BLOCK = 1 << 15
"""Elements a block: 128 KB, so that a block and its scratch stay in a core's cache."""


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
    rows, results = x.reshape(M, E), out.reshape(M, E)
    means = None if mean is None else mean.reshape(M)
    rstds = None if rstd is None else rstd.reshape(M)
    step = max(1, BLOCK // E)
    inverse = np.float32(1.0 / E)

    def work(start: int, stop: int) -> None:
        for a in range(start, stop, step):
            b = min(a + step, stop)
            average = rows[a:b].sum(axis=1)
            average *= inverse
            centred = rows[a:b] - average[:, None]  # (b-a, E)
            scale = np.einsum("me,me->m", centred, centred)
            scale *= inverse
            scale += np.float32(epsilon)
            np.sqrt(scale, out=scale)
            np.reciprocal(scale, out=scale)
            if means is not None:
                means[a:b] = average
            if rstds is not None:
                rstds[a:b] = scale
            centred *= scale[:, None]
            centred *= weight
            np.add(centred, bias, out=results[a:b])

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
    """See `Backend.layernorm_backward`. With x̂ = (x − mean)·rstd and g = dout·weight:

    dx += rstd · (g − mean(g) − x̂ · mean(g·x̂));  dweight += Σ dout·x̂;  dbias += Σ dout.
    """
    M, E = checks.layernorm_backward(dout, x, weight, mean, rstd, dx, dweight, dbias)
    gradients, rows, results = dout.reshape(M, E), x.reshape(M, E), dx.reshape(M, E)
    means, rstds = mean.reshape(M, 1), rstd.reshape(M, 1)
    step = max(1, BLOCK // E)
    inverse = np.float32(1.0 / E)
    partials: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def work(start: int, stop: int) -> None:
        sum_weight, sum_bias = np.zeros(E, np.float32), np.zeros(E, np.float32)
        ones = np.ones(step, np.float32)
        for a in range(start, stop, step):
            b = min(a + step, stop)
            gradient = gradients[a:b]
            normal = rows[a:b] - means[a:b]  # x̂ (b-a, E)
            normal *= rstds[a:b]
            product = gradient * normal
            sum_weight += ones[: b - a] @ product
            sum_bias += ones[: b - a] @ gradient
            mean_product = product @ weight  # Σ g·x̂ (b-a,)
            mean_gradient = gradient @ weight  # Σ g
            mean_product *= inverse
            mean_gradient *= inverse
            normal *= mean_product[:, None]
            normal += mean_gradient[:, None]
            np.multiply(gradient, weight, out=product)
            product -= normal
            product *= rstds[a:b]
            results[a:b] += product
        partials[start] = (sum_weight, sum_bias)

    workers.run(work, M, elements=x.size)
    for start in sorted(partials):  # in the order of the rows, whichever worker was done first
        dweight += partials[start][0]
        dbias += partials[start][1]
