"""What a training step has to tell: loss, norm, speed, what was skipped."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StepReport:
    """What one optimizer step did.

    Attributes:
        step: optimizer steps done, this one included.
        steps: in the whole run.
        loss: mean over the step's tokens, in nats, before the update; None where not read.
        accuracy: how often the likeliest id was the right one, 0 … 1; None where not read.
        learning_rate: of this step.
        norm: of the gradient over all parameters, before clipping; None where not read.
        skipped: whether an update since the last report that was read was skipped.
        tokens: that the run has trained on, this step included.
        elapsed_s: seconds spent in steps since this trainer was made.
        tokens_per_s: over the steps since the last report that was read.
        overflows: updates of the run that were skipped, because the gradient was not finite; 0
            where not read.
        outliers: likewise, because its norm was far above the mean.
        loss_scale: what the loss is multiplied with in fp16; None elsewhere, and where not read.
    """

    step: int
    steps: int
    loss: float | None
    accuracy: float | None
    learning_rate: float
    norm: float | None
    skipped: bool
    tokens: int
    elapsed_s: float
    tokens_per_s: float
    overflows: int = 0
    outliers: int = 0
    loss_scale: float | None = None
