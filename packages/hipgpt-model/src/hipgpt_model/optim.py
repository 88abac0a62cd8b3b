"""AdamW over the flat buffers: one norm, two updates, and the gradients are zero again.

The odd thing: clipping costs nothing extra. The norm stays on the device and the update itself
divides by it, which also lets a step whose gradients overflowed pass without touching a weight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hipgpt_kernels.backend import Array
    from hipgpt_model.config import TrainConfig
    from hipgpt_model.parameters import Parameters


class AdamW:
    """Loshchilov and Hutter 2019, algorithm 2, with clipping over all parameters at once.

    Weight decay applies to matrices (embeddings included), not to biases and gains.
    """

    def __init__(self, parameters: Parameters, config: TrainConfig) -> None:
        self.parameters = parameters
        self.config = config

    def step(self, learning_rate: float, step: int) -> Array:
        """Update every weight from the accumulated gradients, and zero these.

        Args:
            learning_rate: of this step.
            step: counted from 1, for the bias correction of the moments.

        Returns:
            The gradient's norm before clipping: a float32 array of shape () on the device. Where
            it is not finite, no weight has changed.
        """
        parameters, config, backend = self.parameters, self.config, self.parameters.backend
        norm = backend.gradient_norm(parameters.gradients)
        for part, decay in (
            (parameters.decayed, config.weight_decay),
            (parameters.undecayed, 0.0),
        ):
            low = () if parameters.low is None else (parameters.low[part],)
            update = backend.adamw_step_low if low else backend.adamw_step  # type: ignore[attr-defined]
            update(
                parameters.weights[part],
                parameters.gradients[part],
                parameters.m[part],
                parameters.v[part],
                *low,
                learning_rate=learning_rate,
                beta1=config.beta1,
                beta2=config.beta2,
                epsilon=config.epsilon,
                weight_decay=decay,
                step=step,
                norm=norm,
                max_norm=config.clip,
            )
        backend.fill(parameters.gradients, 0.0)
        return norm
