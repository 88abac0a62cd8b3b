"""Dropout whose mask is a function of (seed, stream, element): no memory, no state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hipgpt_kernels import checks
from hipgpt_kernels.hip.kernel import FLOAT, LONG, POINTER, Kernel
from hipgpt_kernels.hip.ops.seen import INT64, UINT64, floating, value_or_pointer, variant

if TYPE_CHECKING:
    from hipgpt_kernels.hip.array import DeviceArray
    from hipgpt_kernels.hip.backend import HipBackend

THREADS = 256
PACK_BYTES = 16
"""What a thread loads at once: the elements of one counter, or of two."""
WORD32, WORD64 = "I", "Q"
DROPOUT = Kernel(
    "dropout", "dropout_forward", *[POINTER] * 3, LONG, WORD32, FLOAT, WORD64, WORD64, POINTER
)


def dropout_forward(
    backend: HipBackend,
    x: DeviceArray,
    probability: float,
    seed: int,
    stream: int | DeviceArray,
    *,
    residual: DeviceArray | None = None,
    out: DeviceArray | None = None,
) -> DeviceArray:
    """See `Backend.dropout_forward`."""
    number, pointer = value_or_pointer("dropout_forward", "stream", stream, 0, UINT64, INT64)
    suffix = variant("dropout_forward", x=x, residual=residual, out=out)
    checks.dropout_forward(
        floating(x), probability, seed, number, floating(residual), floating(out)
    )
    out = backend.empty(x.shape, x.dtype) if out is None else out
    # Probability 1 − 2⁻³³ and above would round to 2³², which no word reaches: keep the largest.
    threshold = min(round(probability * 2.0**32), 2**32 - 1)
    scale = 1.0 / (1.0 - probability)
    grid = -(-x.size // (THREADS * PACK_BYTES // x.itemsize))
    DROPOUT.launch(
        backend,
        suffix,
        grid,
        THREADS,
        x,
        residual,
        out,
        x.size,
        threshold,
        scale,
        seed,
        number,
        pointer,
    )
    return out
