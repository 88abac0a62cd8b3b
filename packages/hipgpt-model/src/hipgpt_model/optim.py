"""AdamW over the flat buffers: one norm, one decision, one update, and gradients are zero again.

The odd thing: clipping, loss scaling and the choice to skip an update cost nothing extra. The norm
stays on the device, `Backend.step_control` makes of it the factor that the gradient is multiplied
with, and the update reads that: nobody waits to hear whether a step was lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels.backend import Control

if TYPE_CHECKING:
    from hipgpt_kernels.backend import Array, Number
    from hipgpt_model.config import TrainConfig
    from hipgpt_model.parameters import Parameters

INITIAL_SCALE = 2.0**16
"""Of the loss in fp16, as in PyTorch's GradScaler: too large costs a few steps, too small costs
small gradients until it has grown."""
SCALE_GROWTH_STEPS = 2000
"""Steps without an overflow after which the scale doubles; PyTorch's too."""


class AdamW:
    """Loshchilov and Hutter 2019, algorithm 2, with clipping over all parameters at once.

    Weight decay applies to matrices (embeddings included), not to biases and gains.

    Args:
        parameters: whose weights and gradients.
        config: how they are updated.

    Attributes:
        control: (8,) float32 on the device, what decides about each update; its elements are named
            by `hipgpt_kernels.backend.Control`. A checkpoint keeps it.
    """

    def __init__(self, parameters: Parameters, config: TrainConfig) -> None:
        self.parameters = parameters
        self.config = config
        backend = parameters.backend
        self.scaled = parameters.dtype == "fp16"
        start = np.zeros(len(Control), np.float32)
        start[Control.LOSS_SCALE] = INITIAL_SCALE if self.scaled else 1.0
        self.control: Array = backend.from_numpy(start)
        self._factor = backend.zeros((), np.float64)  # what the gradient is multiplied with

    @property
    def loss_scale(self) -> Array | None:
        """() float32, what the loss is multiplied with before the backward; None for 1."""
        return self._element(Control.LOSS_SCALE) if self.scaled else None

    def step(self, learning_rate: Number, step: Number) -> Array:
        """Update every weight from the accumulated gradients, and zero these.

        Args:
            learning_rate: of this step; a float64 where it is on the device.
            step: counted from 1, for the bias correction of the moments; an int64 on the device.

        Returns:
            The gradient's norm before clipping: a float32 array of shape () on the device, valid
            until the next step. Where it is not finite, no weight has changed.
        """
        parameters, config, backend = self.parameters, self.config, self.parameters.backend
        backend.step_control(
            self.control,
            backend.gradient_norm(parameters.gradients),
            self._factor,
            max_norm=config.clip,
            outlier=config.skip_outliers,
            growth=SCALE_GROWTH_STEPS if self.scaled else 0,
        )
        backend.adamw_step(
            parameters.weights,
            parameters.gradients,
            parameters.m,
            parameters.v,
            learning_rate=learning_rate,
            beta1=config.beta1,
            beta2=config.beta2,
            epsilon=config.epsilon,
            weight_decay=config.weight_decay,
            step=step,
            factor=self._factor,
            decayed=parameters.decayed.stop,
            low=parameters.low,
            zero_gradients=True,
        )
        return self._element(Control.NORM)

    def _element(self, what: Control) -> Array:
        return self.control[int(what) : int(what) + 1].reshape(())
