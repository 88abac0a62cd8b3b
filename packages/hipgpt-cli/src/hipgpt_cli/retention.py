"""Which checkpoints of a run stay: the newest, every so many steps, and the best.

The odd thing: how good a checkpoint is stands in its own header, so the choice needs no list that
could be lost, and is the same after a resume.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Keep:
    """How many checkpoints stay.

    Attributes:
        last: the newest so many.
        best: the so many of the lowest validation loss.
        every: all whose step is a multiple of it; 0: none for that reason.
    """

    last: int
    best: int = 0
    every: int = 0

    def choose(self, found: Sequence[tuple[int, Path]]) -> set[int]:
        """The steps of the checkpoints that stay.

        Args:
            found: (step, path), by step.
        """
        steps = [step for step, _ in found]
        chosen = set(steps[-self.last :])
        if self.every:
            chosen.update(step for step in steps if step % self.every == 0)
        chosen.update(self.best_of(found))
        return chosen

    def best_of(self, found: Sequence[tuple[int, Path]]) -> list[int]:
        """The steps of the best checkpoints, the best first; the earlier of two equal ones."""
        if not self.best:
            return []
        losses = sorted((validation_loss(step, path), step) for step, path in found)
        return [step for loss, step in losses[: self.best] if loss < math.inf]


def validation_loss(step: int, path: Path) -> float:
    """The validation loss of a checkpoint's own step; ∞ where there was no evaluation then."""
    from hipgpt_model.checkpoint import CheckpointError, read_header

    try:
        metrics = read_header(path).metrics
    except (CheckpointError, OSError):
        return math.inf
    loss = metrics.get("validation_loss", math.inf)
    ours = metrics.get("validation_step") == step and not math.isnan(loss)
    return loss if ours else math.inf
