"""Draw ids from logits on the device: one block a row, nothing sorted, nothing copied back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.hip.kernel import FLOAT, INT, POINTER, Kernel
from hipgpt_kernels.hip.ops.errors import error_record
from hipgpt_kernels.hip.ops.seen import INT64, UINT64, floating, plain, value_or_pointer, variant

if TYPE_CHECKING:
    from hipgpt_kernels.hip.array import DeviceArray
    from hipgpt_kernels.hip.backend import HipBackend

THREADS = 512
DOUBLE, WORD64 = "d", "Q"
LARGEST = float(np.finfo(np.float32).max)
"""A slope is cut to this: what is less likely than the likeliest then weighs nothing at all."""
GREEDY = -1.0
"""The slope that stands for temperature 0."""
SAMPLE = Kernel(
    "sampling",
    "sample",
    *[POINTER] * 3,
    INT,
    FLOAT,
    INT,
    DOUBLE,
    FLOAT,
    FLOAT,
    WORD64,
    WORD64,
    POINTER,
    POINTER,
)

SMALLEST_TOP_P = 1e-30
"""Keeps the likeliest id alone, as 0 does."""


def sample(
    backend: HipBackend,
    logits: DeviceArray,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    seen: DeviceArray | None = None,
    seed: int = 0,
    position: int | DeviceArray = 0,
    out: DeviceArray | None = None,
) -> DeviceArray:
    """See `Backend.sample`. Logits that are not finite are told at the next wait; the id is then 0.

    `position` may be a uint64 on the device, read when the kernel runs: in a captured graph of
    generation it changes from token to token.
    """
    number, pointer = value_or_pointer("sample", "position", position, 0, UINT64, INT64)
    suffix = variant("sample", logits=logits)
    B, V = checks.sample(
        floating(logits),
        temperature,
        top_k,
        top_p,
        min_p,
        repetition_penalty,
        plain(seen),
        seed,
        number,
        plain(out),
    )
    out = backend.empty((B,), np.int32) if out is None else out
    # The kernel keeps what comes before top_p is reached: nothing would do so before 0.
    top_p = max(top_p, SMALLEST_TOP_P)
    filters = slope(temperature), min(top_k, V), top_p, min_p, repetition_penalty
    draw = seed, number, pointer
    errors = error_record(backend)
    SAMPLE.launch(backend, suffix, B, THREADS, logits, seen, out, V, *filters, *draw, errors)
    return out


def slope(temperature: float) -> float:
    """What a difference of logits is multiplied with before 2 is raised to it.

    Example:
        >>> slope(0.0), slope(1e-300) == LARGEST
        (-1.0, True)
    """
    if temperature == 0.0:
        return GREEDY
    return (
        LARGEST
        if temperature < 1.0 / (LARGEST * math.log(2.0))
        else 1.0 / (math.log(2.0) * temperature)
    )
