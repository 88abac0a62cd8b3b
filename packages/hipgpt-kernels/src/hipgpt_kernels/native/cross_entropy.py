"""Softmax cross-entropy by the compiled library."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.cpu.cross_entropy import check_targets, run
from hipgpt_kernels.native.library import address, load_library

if TYPE_CHECKING:
    from hipgpt_kernels.backend import Number
    from hipgpt_kernels.cpu.threads import Workers


def cross_entropy_forward(
    workers: Workers,
    logits: np.ndarray,
    targets: np.ndarray,
    *,
    losses: np.ndarray | None = None,
    correct: np.ndarray | None = None,
    columns: int | None = None,
) -> np.ndarray:
    """See `Backend.cross_entropy_forward`."""
    return cross_entropy(
        "cross_entropy_forward", workers, logits, targets, None, losses, correct, columns
    )


def cross_entropy_forward_backward(
    workers: Workers,
    logits: np.ndarray,
    targets: np.ndarray,
    scale: float,
    *,
    losses: np.ndarray | None = None,
    correct: np.ndarray | None = None,
    loss_scale: Number | None = None,
    columns: int | None = None,
) -> np.ndarray:
    """See `Backend.cross_entropy_forward_backward`."""
    op = "cross_entropy_forward_backward"
    if loss_scale is not None:
        scale *= checks.number(op, "loss_scale", loss_scale, np.float32)
    return cross_entropy(op, workers, logits, targets, scale, losses, correct, columns)


def cross_entropy(
    op: str,
    workers: Workers,
    logits: np.ndarray,
    targets: np.ndarray,
    scale: float | None,
    losses: np.ndarray | None,
    correct: np.ndarray | None,
    columns: int | None,
) -> np.ndarray:
    """Both forms; with a scale the logits become their gradient."""
    M, V = checks.cross_entropy(op, logits, targets, scale, losses, correct, columns)
    if V < logits.shape[1]:  # rows with gaps are NumPy's
        return run(op, workers, logits, targets, scale, losses, correct, columns)
    check_targets(op, targets, V)
    losses = np.empty(M, np.float32) if losses is None else losses
    load_library().hipgpt_cross_entropy(
        workers.threads,
        *map(address, (logits, targets, losses, correct)),
        M,
        V,
        scale is not None,
        scale or 0.0,
    )
    return losses
