"""The learning rate of each step: a linear warm-up, then a fall to the minimum at the last step.

The odd thing: steps count from 0 here, as indices, while AdamW counts its updates from 1. The first
step already trains (its rate is not 0), and the last one trains at the minimum exactly.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hipgpt_model.config import TrainConfig

MIN_FRACTION = 0.1
"""Of the peak, where no minimum is given: as GPT-3 (Brown et al. 2020, appendix B)."""


def learning_rate(step: int, config: TrainConfig) -> float:
    """The learning rate of step 0, 1, … config.steps − 1; later steps keep the last one.

    Cosine: min + (peak − min) · (1 + cos(π · progress)) / 2, Loshchilov and Hutter 2017 ("SGDR",
    equation 5) without restarts.

    Args:
        step: counted from 0.
        config: peak, minimum, warm-up, schedule and number of steps.

    Example:
        >>> from hipgpt_model.config import TrainConfig
        >>> learning_rate(49, TrainConfig(learning_rate=1.0, warmup_steps=100))
        0.5
    """
    peak, low = config.learning_rate, config.min_learning_rate
    if low is None:
        low = MIN_FRACTION * peak
    if step < config.warmup_steps:
        return peak * (step + 1) / config.warmup_steps
    falling_steps = max(config.steps - 1 - config.warmup_steps, 1)
    progress = min((step - config.warmup_steps) / falling_steps, 1.0)  # 0 … 1
    if config.schedule == "constant":
        return peak
    if config.schedule == "linear":
        return peak + (low - peak) * progress
    return low + (peak - low) * (1 + math.cos(math.pi * progress)) / 2
