"""Softmax cross-entropy: one block a row; training turns the logits into their gradient.

A row that fits in the registers of a small block is read once, a longer one twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.hip.dtypes import float32
from hipgpt_kernels.hip.kernel import FLOAT, INT, POINTER, Kernel
from hipgpt_kernels.hip.ops.errors import error_record
from hipgpt_kernels.hip.ops.seen import floating, plain, value_or_pointer, variant

if TYPE_CHECKING:
    from hipgpt_kernels.hip.array import DeviceArray
    from hipgpt_kernels.hip.backend import HipBackend

THREADS = 1024
HELD_THREADS = 256
HELD = 4
"""Packs of 16 bytes that a thread of the small block holds."""
FORWARD_TYPES = *[POINTER] * 4, INT, INT, POINTER
BACKWARD_TYPES = *[POINTER] * 4, INT, INT, FLOAT, POINTER, POINTER
FORWARD = (
    Kernel("cross_entropy", "cross_entropy_forward", *FORWARD_TYPES),
    Kernel("cross_entropy", "cross_entropy_forward_held", *FORWARD_TYPES),
)
FORWARD_BACKWARD = (
    Kernel("cross_entropy", "cross_entropy_forward_backward", *BACKWARD_TYPES),
    Kernel("cross_entropy", "cross_entropy_forward_backward_held", *BACKWARD_TYPES),
)


def choose(kernels: tuple[Kernel, Kernel], logits: DeviceArray, V: int) -> tuple[Kernel, int]:
    """The kernel for rows of V logits, and its threads."""
    held = V * logits.itemsize <= HELD_THREADS * HELD * 16
    return kernels[held], HELD_THREADS if held else THREADS


def cross_entropy_forward(
    backend: HipBackend,
    logits: DeviceArray,
    targets: DeviceArray,
    *,
    losses: DeviceArray | None = None,
    correct: DeviceArray | None = None,
    columns: int | None = None,
) -> DeviceArray:
    """See `Backend.cross_entropy_forward`. losses and correct are float32 whatever logits are.

    A target that is no id is told at the next wait.
    """
    op = "cross_entropy_forward"
    suffix = variant(op, logits=logits)
    M, V = checks.cross_entropy(
        op, floating(logits), plain(targets), None, plain(losses), plain(correct), columns
    )
    losses = backend.empty((M,), np.float32) if losses is None else losses
    errors = error_record(backend)
    arrays = logits, targets, losses, correct
    kernel, threads = choose(FORWARD, logits, V)
    kernel.launch(backend, suffix, M, threads, *arrays, V, logits.shape[1], errors, overlapped=True)
    return losses


def cross_entropy_forward_backward(
    backend: HipBackend,
    logits: DeviceArray,
    targets: DeviceArray,
    scale: float,
    *,
    losses: DeviceArray | None = None,
    correct: DeviceArray | None = None,
    loss_scale: float | DeviceArray | None = None,
    columns: int | None = None,
) -> DeviceArray:
    """See `Backend.cross_entropy_forward_backward`."""
    op = "cross_entropy_forward_backward"
    one = 1.0 if loss_scale is None else loss_scale
    number, pointer = value_or_pointer(op, "loss_scale", one, 1.0, float32)
    scale *= number
    suffix = variant(op, logits=logits)
    M, V = checks.cross_entropy(
        op, floating(logits), plain(targets), scale, plain(losses), plain(correct), columns
    )
    losses = backend.empty((M,), np.float32) if losses is None else losses
    errors = error_record(backend)
    arrays = logits, targets, losses, correct
    kernel, threads = choose(FORWARD_BACKWARD, logits, V)
    sizes = V, logits.shape[1]
    kernel.launch(
        backend, suffix, M, threads, *arrays, *sizes, scale, pointer, errors, overlapped=True
    )
    return losses
