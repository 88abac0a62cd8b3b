"""The learning rate of each step: a linear warm-up, then a fall to the minimum at the last step.

The fall is a cosine, a line, or what is left of 1 − √x after a long level stretch ("wsd"), so that
a run whose end is not known yet can be ended from any point of that stretch.

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
DECAY_FRACTION = 0.2
"""Of the steps, where "wsd" is given none (Hägele et al. 2024, section 4.1: 10 to 20 %)."""


def learning_rate(step: int, config: TrainConfig) -> float:
    """The learning rate of step 0, 1, … config.steps − 1; later steps keep the last one.

    Cosine: min + (peak − min) · (1 + cos(π · progress)) / 2, Loshchilov and Hutter 2017 ("SGDR",
    equation 5) without restarts. Wsd: peak + (min − peak) · √progress over the last decay_steps,
    Hägele et al. 2024 ("Scaling Laws and Compute-Optimal Training Beyond Fixed Training
    Durations", section 4); the name is that of Hu et al. 2024 ("MiniCPM", section 4).

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
    if config.schedule == "wsd":
        return _after_the_level(step, config, peak, low)
    falling_steps = max(config.steps - 1 - config.warmup_steps, 1)
    progress = min((step - config.warmup_steps) / falling_steps, 1.0)  # 0 … 1
    if config.schedule == "constant":
        return peak
    if config.schedule == "linear":
        return peak + (low - peak) * progress
    return low + (peak - low) * (1 + math.cos(math.pi * progress)) / 2


def _after_the_level(step: int, config: TrainConfig, peak: float, low: float) -> float:
    """The peak until decay_steps before the end, then a fall that is steep at first."""
    falling_steps = config.decay_steps
    if falling_steps is None:
        falling_steps = max(round(DECAY_FRACTION * config.steps), 1)
    falling_steps = min(falling_steps, max(config.steps - config.warmup_steps, 1))
    progress = (step + 1 - (config.steps - falling_steps)) / falling_steps  # 1 at the last step
    return peak + (low - peak) * math.sqrt(min(max(progress, 0.0), 1.0))
