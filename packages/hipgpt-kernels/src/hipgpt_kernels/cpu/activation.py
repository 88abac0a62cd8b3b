"""GELU in its two forms, ReLU and SwiGLU in blocks that stay in a core's cache.

The block functions stand apart from the ops because `linear.py` calls them too, on the blocks of
its product.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks

if TYPE_CHECKING:
    from hipgpt_kernels.backend import Activation
    from hipgpt_kernels.cpu.threads import Workers

GELU_SCALE = np.float32(math.sqrt(2.0 / math.pi))
GELU_CUBIC = np.float32(0.044715)
NORMAL_SCALE = np.float32(1.0 / math.sqrt(2.0 * math.pi))
NORMAL_TAIL = (
    -0.091070376516, 0.338160640146, -0.258173652778, 0.269616290821,
    0.033042999479, 0.10914643824, 0.099277654782,
)  # fmt: skip
"""P of `normal`: coefficients of t⁷ … t."""
BLOCK = 1 << 14
"""Elements a block: three float32 arrays of it fit in a 256 KB cache beside their neighbours."""


def forward_block(x: np.ndarray, activation: Activation, out: np.ndarray) -> None:
    """out = activation(x) for a block (m, n); out may alias x, but for swiglu: (m, n / 2)."""
    if activation == "relu":
        np.maximum(x, np.float32(0.0), out=out)
    elif activation == "gelu":
        half = gelu_half(x)
        np.multiply(x, half, out=out)
    elif activation == "gelu_erf":
        cdf, _ = normal(x)
        np.multiply(x, cdf, out=out)
    else:
        F = out.shape[-1]
        gate, up = x[..., :F], x[..., F:]
        weight = sigmoid(gate)
        weight *= gate
        np.multiply(weight, up, out=out)


def backward_block(
    dout: np.ndarray, x: np.ndarray, activation: Activation, out: np.ndarray
) -> None:
    """out = dout · activation'(x) for one block, both shaped like x but dout for swiglu."""
    if activation == "relu":
        np.multiply(dout, x > 0, out=out)
    elif activation == "gelu":
        # With h = (1 + tanh u)/2:  gelu' = h + x · h' ,  h' = 2·h·(1 − h) · u'
        half = gelu_half(x)
        slope = np.multiply(x, x)
        slope *= np.float32(3.0) * GELU_CUBIC * GELU_SCALE
        slope += GELU_SCALE  # u'
        slope *= x
        slope *= np.float32(2.0)
        slope *= half
        np.multiply(slope, np.float32(1.0) - half, out=slope)
        slope += half
        np.multiply(dout, slope, out=out)
    elif activation == "gelu_erf":
        slope, density = normal(x)
        density *= x
        slope += density  # Φ(x) + x · φ(x)
        np.multiply(dout, slope, out=out)
    else:
        F = dout.shape[-1]
        gate, up = x[..., :F], x[..., F:]
        weight = sigmoid(gate)  # s
        silu = weight * gate
        dup = dout * silu
        # silu' = s + g·s·(1 − s) = s + silu·(1 − s)
        slope = np.subtract(np.float32(1.0), weight)
        slope *= silu
        slope += weight
        slope *= up
        np.multiply(dout, slope, out=out[..., :F])
        out[..., F:] = dup


def gelu_half(x: np.ndarray) -> np.ndarray:
    """(1 + tanh(√(2/π)·(x + 0.044715·x³))) / 2: what gelu multiplies x with."""
    u = np.multiply(x, x)
    u *= GELU_CUBIC * GELU_SCALE
    u += GELU_SCALE
    u *= x
    np.tanh(u, out=u)
    u += np.float32(1.0)
    u *= np.float32(0.5)
    return u


def normal(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Φ(x), the normal distribution, which the erf form of gelu multiplies x with, and its density.

    The tail Φ(−a) is e^(−a²/2) · P(t), t = 1 / (1 + a/4): the form of Abramowitz and Stegun 1964,
    26.2.17, with `NORMAL_TAIL` fitted to it by weighted least squares; the error is below 6e-9.
    """
    density = np.multiply(x, x)
    density *= np.float32(-0.5)
    np.exp(density, out=density)
    t = np.abs(x)
    t *= np.float32(0.25)
    t += np.float32(1.0)
    np.reciprocal(t, out=t)
    tail = np.full_like(t, NORMAL_TAIL[0])
    for coefficient in NORMAL_TAIL[1:]:
        tail *= t
        tail += np.float32(coefficient)
    tail *= t
    tail *= density
    density *= NORMAL_SCALE
    np.subtract(np.float32(1.0), tail, out=tail, where=x >= 0)
    return tail, density


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(−x)); below −88, where exp(88) ends float32's range, that of −88."""
    y = np.negative(x)
    np.minimum(y, np.float32(88.0), out=y)
    np.exp(y, out=y)
    y += np.float32(1.0)
    np.reciprocal(y, out=y)
    return y


def activation_forward(
    workers: Workers, x: np.ndarray, activation: Activation, *, out: np.ndarray | None = None
) -> np.ndarray:
    """See `Backend.activation_forward`."""
    shape = checks.activation_forward(x, activation, out)
    out = np.empty(shape, np.float32) if out is None else out
    rows = x.reshape(-1, x.shape[-1])
    results = out.reshape(-1, shape[-1])
    step = max(1, BLOCK // max(1, x.shape[-1]))

    def work(start: int, stop: int) -> None:
        for a in range(start, stop, step):
            b = min(a + step, stop)
            forward_block(rows[a:b], activation, results[a:b])

    workers.run(work, rows.shape[0], elements=x.size)
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
    gradients = dout.reshape(-1, dout.shape[-1])
    rows = x.reshape(-1, x.shape[-1])
    results = out.reshape(-1, x.shape[-1])
    step = max(1, BLOCK // max(1, x.shape[-1]))

    def work(start: int, stop: int) -> None:
        for a in range(start, stop, step):
            b = min(a + step, stop)
            backward_block(gradients[a:b], rows[a:b], activation, results[a:b])

    workers.run(work, rows.shape[0], elements=x.size)
    return out
