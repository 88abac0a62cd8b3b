"""Linear interpolation between two float32 arrays: csrc/lerp.hip."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hipgpt_kernels import checks
from hipgpt_kernels.hip.dtypes import float32
from hipgpt_kernels.hip.kernel import FLOAT, INT, LONG, POINTER, Kernel
from hipgpt_kernels.hip.ops.basic import THREADS, WIDTH, block_count, vector_width

if TYPE_CHECKING:
    from hipgpt_kernels.hip.array import DeviceArray
    from hipgpt_kernels.hip.backend import HipBackend

LERP = Kernel("lerp", "lerp", POINTER, POINTER, POINTER, LONG, FLOAT, INT, INT)


def lerp(
    backend: HipBackend,
    start: DeviceArray,
    end: DeviceArray,
    weight: float,
    *,
    out: DeviceArray | None = None,
) -> DeviceArray:
    """See `Backend.lerp`."""
    checks.lerp(start, end, weight, out)
    out = backend.empty(start.shape, float32) if out is None else out
    vector = vector_width(start, end, out)
    blocks = block_count(backend, start.size, WIDTH // start.itemsize if vector else 1)
    LERP.launch(
        backend, "", blocks, THREADS, *(out, start, end, start.size, weight, blocks, vector)
    )
    return out
