"""AdamW and the gradient norm over flat float32 buffers; the norm stays on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.hip.kernel import INT, LONG, POINTER, Kernel
from hipgpt_kernels.hip.ops.seen import INT64, floating, plain, value_or_pointer, variant

if TYPE_CHECKING:
    from hipgpt_kernels.hip.array import DeviceArray
    from hipgpt_kernels.hip.backend import HipBackend

THREADS = 256
ELEMENTS = 4
"""Floats that a thread loads at once."""
BLOCKS_PER_UNIT = 8
"""Blocks for each compute unit: as many threads as one can hold."""
DOUBLE = "d"
FLOAT64 = np.dtype(np.float64)

PARTIALS = Kernel("adamw", "gradient_norm_partials", POINTER, POINTER, LONG, INT)
COMBINE = Kernel("adamw", "gradient_norm_combine", POINTER, POINTER, INT)
STEP = Kernel(
    "adamw",
    "adamw_step",
    *[POINTER] * 5,
    *[LONG] * 2,
    *[INT] * 2,
    *[DOUBLE] * 5,
    *[POINTER] * 2,
    DOUBLE,
    POINTER,
    LONG,
    POINTER,
)


def blocks_for(backend: HipBackend, n: int) -> int:
    """Blocks of a grid over n floats: no more than the device holds at once."""
    return min(-(-n // (THREADS * ELEMENTS)), BLOCKS_PER_UNIT * backend.device.compute_units)


def gradient_norm(backend: HipBackend, gradients: DeviceArray) -> DeviceArray:
    """See `Backend.gradient_norm`. Squares are summed in float64."""
    n = checks.gradient_norm(plain(gradients))
    if n == 0:
        return backend.zeros((), np.float32)
    norm = backend.empty((), np.float32)
    blocks = blocks_for(backend, n)
    partials = backend.empty((blocks,), np.float64)
    PARTIALS.launch(backend, "", blocks, THREADS, gradients, partials, n, blocks, overlapped=True)
    COMBINE.launch(backend, "", 1, THREADS, partials, norm, blocks, overlapped=True)
    return norm


def adamw_step(
    backend: HipBackend,
    weights: DeviceArray,
    gradients: DeviceArray,
    m: DeviceArray,
    v: DeviceArray,
    *,
    learning_rate: float | DeviceArray,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
    step: int | DeviceArray,
    norm: DeviceArray | None = None,
    max_norm: float = 0.0,
    factor: DeviceArray | None = None,
    decayed: int | None = None,
    low: DeviceArray | None = None,
    zero_gradients: bool = False,
) -> None:
    """See `Backend.adamw_step`."""
    op = "adamw_step"
    rate, rate_pointer = value_or_pointer(op, "learning_rate", learning_rate, 0.0, FLOAT64)
    count, step_pointer = value_or_pointer(op, "step", step, 1, INT64)
    n, decaying = checks.adamw_step(
        plain(weights),
        plain(gradients),
        plain(m),
        plain(v),
        rate,
        beta1,
        beta2,
        epsilon,
        weight_decay,
        count,
        plain(norm),
        max_norm,
        plain(factor),
        decayed,
        zero_gradients=zero_gradients,
    )
    suffix = ""
    if low is not None:
        suffix = variant(op, low=low)
        if suffix == "f32":
            raise TypeError(f"{op}: low has dtype float32, expected bfloat16 or float16")
        checks.needed(op, low=floating(low))
        checks.shape(op, "low", low, (n,), "the shape of weights")
    blocks = blocks_for(backend, n)
    arrays = weights, gradients, m, v, low
    numbers = beta1, beta2, epsilon, weight_decay, max_norm
    changing = norm, factor, rate, rate_pointer, count, step_pointer
    sizes = n, decaying, blocks, zero_gradients
    STEP.launch(
        backend, suffix, blocks, THREADS, *arrays, *sizes, *numbers, *changing, overlapped=True
    )
