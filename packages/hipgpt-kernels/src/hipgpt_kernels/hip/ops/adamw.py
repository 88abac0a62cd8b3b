"""AdamW and the gradient norm over flat float32 buffers; the norm stays on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.hip.dtypes import float32
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

PARTIALS = Kernel("adamw", "gradient_norm_partials", POINTER, POINTER, LONG, INT)
COMBINE = Kernel("adamw", "gradient_norm_combine", POINTER, POINTER, INT)
STEP = Kernel(
    "adamw",
    "adamw_step",
    *[POINTER] * 5,
    LONG,
    INT,
    *[DOUBLE] * 5,
    POINTER,
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
    PARTIALS.launch(backend, "", blocks, THREADS, gradients, partials, n, blocks)
    COMBINE.launch(backend, "", 1, THREADS, partials, norm, blocks)
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
) -> None:
    """See `Backend.adamw_step`.

    `learning_rate` may be a float32 and `step` an int64 on the device, which are read when the
    kernel runs: in a captured graph they change from step to step.
    """
    adamw_step_low(
        backend,
        weights,
        gradients,
        m,
        v,
        None,
        learning_rate=learning_rate,
        beta1=beta1,
        beta2=beta2,
        epsilon=epsilon,
        weight_decay=weight_decay,
        step=step,
        norm=norm,
        max_norm=max_norm,
    )


def adamw_step_low(
    backend: HipBackend,
    weights: DeviceArray,
    gradients: DeviceArray,
    m: DeviceArray,
    v: DeviceArray,
    low: DeviceArray | None,
    *,
    learning_rate: float | DeviceArray,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
    step: int | DeviceArray,
    norm: DeviceArray | None = None,
    max_norm: float = 0.0,
) -> None:
    """`adamw_step` that also writes the new weights as bfloat16 or float16, for the products.

    `low` is (n,), or None. Where the step is lost, because the norm is not finite, it stays as it
    is, like the weights.
    """
    op = "adamw_step"
    rate, rate_pointer = value_or_pointer(op, "learning_rate", learning_rate, 0.0, float32)
    count, step_pointer = value_or_pointer(op, "step", step, 1, INT64)
    n = checks.adamw_step(
        plain(weights),
        plain(gradients),
        plain(m),
        plain(v),
        learning_rate=rate,
        beta1=beta1,
        beta2=beta2,
        epsilon=epsilon,
        weight_decay=weight_decay,
        step=count,
        norm=plain(norm),
        max_norm=max_norm,
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
    changing = norm, rate, rate_pointer, count, step_pointer
    STEP.launch(backend, suffix, blocks, THREADS, *arrays, n, blocks, *numbers, *changing)
