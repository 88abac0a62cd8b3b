"""When to stop: the lowest validation loss so far, and how long ago that was.

The odd thing: its state is three numbers that travel in a checkpoint's `metrics`, so a resumed run
stops exactly where the uninterrupted one would have.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_LOSS, _STEP, _SINCE = "best_validation_loss", "best_validation_step", "evaluations_since_best"


@dataclass
class BestLoss:
    """The best evaluation of a run.

    Attributes:
        loss: the lowest validation loss; ∞ before the first evaluation.
        step: the step that it was reached at.
        since: evaluations since then, none of them lower.
    """

    loss: float = math.inf
    step: int = 0
    since: int = 0

    def add(self, step: int, loss: float) -> bool:
        """Note an evaluation; whether it is the best so far. A NaN never is."""
        if loss < self.loss:
            self.loss, self.step, self.since = loss, step, 0
            return True
        self.since += 1
        return False

    def exhausted(self, patience: int) -> bool:
        """Whether so many evaluations in a row were no better; never where patience is 0."""
        return 0 < patience <= self.since

    def to_metrics(self) -> dict[str, float]:
        """Its state, for a checkpoint's `metrics`; nothing before the first evaluation.

        Example:
            >>> BestLoss(1.5, 200, 1).to_metrics()["best_validation_step"]
            200.0
        """
        if math.isinf(self.loss) and not self.since:
            return {}
        return {_LOSS: self.loss, _STEP: float(self.step), _SINCE: float(self.since)}

    @classmethod
    def from_metrics(cls, metrics: Mapping[str, float]) -> BestLoss:
        """The inverse of `to_metrics`; a new one where a figure is missing."""
        if not {_LOSS, _STEP, _SINCE} <= metrics.keys():
            return cls()
        return cls(metrics[_LOSS], int(metrics[_STEP]), int(metrics[_SINCE]))
