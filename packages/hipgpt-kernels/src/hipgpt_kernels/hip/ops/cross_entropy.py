"""Softmax cross-entropy: one block a row; training turns the logits into their gradient."""

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
FORWARD = Kernel("cross_entropy", "cross_entropy_forward", *[POINTER] * 4, INT, POINTER)
FORWARD_BACKWARD = Kernel(
    "cross_entropy",
    "cross_entropy_forward_backward",
    *[POINTER] * 4,
    INT,
    FLOAT,
    POINTER,
    POINTER,
)


def cross_entropy_forward(
    backend: HipBackend,
    logits: DeviceArray,
    targets: DeviceArray,
    *,
    losses: DeviceArray | None = None,
    correct: DeviceArray | None = None,
) -> DeviceArray:
    """See `Backend.cross_entropy_forward`. losses and correct are float32 whatever logits are.

    A target that is no id is told at the next wait.
    """
    op = "cross_entropy_forward"
    suffix = variant(op, logits=logits)
    M, V = checks.cross_entropy(
        op, floating(logits), plain(targets), None, plain(losses), plain(correct)
    )
    losses = backend.empty((M,), np.float32) if losses is None else losses
    errors = error_record(backend)
    FORWARD.launch(backend, suffix, M, THREADS, logits, targets, losses, correct, V, errors)
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
) -> DeviceArray:
    """See `Backend.cross_entropy_forward_backward`."""
    op = "cross_entropy_forward_backward"
    one = 1.0 if loss_scale is None else loss_scale
    number, pointer = value_or_pointer(op, "loss_scale", one, 1.0, float32)
    scale *= number
    suffix = variant(op, logits=logits)
    M, V = checks.cross_entropy(
        op, floating(logits), plain(targets), scale, plain(losses), plain(correct)
    )
    losses = backend.empty((M,), np.float32) if losses is None else losses
    errors = error_record(backend)
    arrays = logits, targets, losses, correct
    FORWARD_BACKWARD.launch(backend, suffix, M, THREADS, *arrays, V, scale, pointer, errors)
    return losses
