"""Softmax cross-entropy over rows of logits, which training turns into their gradient.

A block of rows is read, exponentiated and scaled while it is in the cache, so the (M, V) array,
the largest of a step, passes through memory once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks

if TYPE_CHECKING:
    from hipgpt_kernels.backend import Number
    from hipgpt_kernels.cpu.threads import Workers

BLOCK = 1 << 16
"""Elements a block: 256 KB."""


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
    return run("cross_entropy_forward", workers, logits, targets, None, losses, correct, columns)


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
    return run(op, workers, logits, targets, scale, losses, correct, columns)


def run(
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
    check_targets(op, targets, V)
    if V < logits.shape[1] and scale is not None:
        logits[:, V:] = 0
    logits = logits[:, :V]
    losses = np.empty(M, np.float32) if losses is None else losses
    step = max(1, BLOCK // V)

    def work(start: int, stop: int) -> None:
        scratch = np.empty((min(step, stop - start), V), np.float32) if scale is None else None
        for a in range(start, stop, step):
            b = min(a + step, stop)
            block = logits[a:b]
            counted = targets[a:b] >= 0
            at = (np.arange(b - a), np.where(counted, targets[a:b], 0))
            if correct is not None:
                correct[a:b] = (block.argmax(axis=1) == at[1]) & counted
            most = block.max(axis=1)
            target_logit = block[at] - most
            exponent = block if scratch is None else scratch[: b - a]
            np.subtract(block, most[:, None], out=exponent)
            np.exp(exponent, out=exponent)
            total = exponent.sum(axis=1)
            losses[a:b] = np.where(counted, np.log(total) - target_logit, np.float32(0.0))
            if scale is not None:
                row_scale = np.where(counted, np.float32(scale), np.float32(0.0))
                block *= (row_scale / total)[:, None]
                block[at] -= row_scale

    workers.run(work, M, elements=logits.size)
    return losses


def check_targets(op: str, targets: np.ndarray, V: int) -> None:
    """Refuse targets that are neither ids nor −1."""
    if targets.size and (targets.min() < -1 or targets.max() >= V):
        wrong = int(targets[(targets < -1) | (targets >= V)][0])
        raise ValueError(f"{op}: targets holds {wrong}, expected ids in [0, {V}) or −1")
