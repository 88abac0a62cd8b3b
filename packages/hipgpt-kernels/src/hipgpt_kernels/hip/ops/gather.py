"""Batches cut out of a corpus that lives on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.hip.kernel import INT, LONG, POINTER, Kernel
from hipgpt_kernels.hip.ops.errors import error_record
from hipgpt_kernels.hip.ops.seen import plain

if TYPE_CHECKING:
    from hipgpt_kernels.hip.array import DeviceArray
    from hipgpt_kernels.hip.backend import HipBackend

THREADS = 256
GATHER = Kernel("gather", "gather_batch", *[POINTER] * 4, LONG, INT, POINTER)


def gather_batch(
    backend: HipBackend,
    tokens: DeviceArray,
    starts: DeviceArray,
    inputs: DeviceArray,
    targets: DeviceArray,
) -> None:
    """See `Backend.gather_batch`. A start that does not fit is told at the next wait."""
    checks.gather_batch(*map(plain, (tokens, starts, inputs, targets)))
    B, T = inputs.shape
    N = tokens.shape[0]
    if B and T >= N:
        raise ValueError(f"gather_batch: {N} tokens are too few for rows of T + 1 = {T + 1}")
    suffix = "u16" if tokens.dtype == np.uint16 else "u32"
    grid = B * -(-T // THREADS)
    errors = error_record(backend)
    GATHER.launch(
        backend,
        suffix,
        grid,
        THREADS,
        tokens,
        starts,
        inputs,
        targets,
        N,
        T,
        errors,
        overlapped=True,
    )
