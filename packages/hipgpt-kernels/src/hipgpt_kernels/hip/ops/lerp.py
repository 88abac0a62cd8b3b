"""Linear interpolation between two float32 arrays: csrc/lerp.hip."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.hip.dtypes import float32
from hipgpt_kernels.hip.kernel import FLOAT, INT, LONG, POINTER, Kernel
from hipgpt_kernels.hip.ops.basic import THREADS, WIDTH, block_count, vector_width
from hipgpt_kernels.hip.ops.seen import value_or_pointer

if TYPE_CHECKING:
    from hipgpt_kernels.hip.array import DeviceArray
    from hipgpt_kernels.hip.backend import HipBackend

LERP = Kernel("lerp", "lerp", *[POINTER] * 3, LONG, FLOAT, POINTER, INT, INT)


def lerp(
    backend: HipBackend,
    start: DeviceArray,
    end: DeviceArray,
    weight: float | DeviceArray,
    *,
    out: DeviceArray | None = None,
) -> DeviceArray:
    """See `Backend.lerp`."""
    number, pointer = value_or_pointer("lerp", "weight", weight, 0.0, np.dtype(np.float64))
    checks.lerp(start, end, number, out)
    out = backend.empty(start.shape, float32) if out is None else out
    vector = vector_width(start, end, out)
    blocks = block_count(backend, start.size, WIDTH // start.itemsize if vector else 1)
    arrays = out, start, end
    LERP.launch(backend, "", blocks, THREADS, *arrays, start.size, number, pointer, blocks, vector)
    return out
