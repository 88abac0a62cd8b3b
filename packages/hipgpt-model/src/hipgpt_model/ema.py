"""A running average of the weights: smoother than the weights of any one step, and often better.

Polyak and Juditsky 1992, "Acceleration of Stochastic Approximation by Averaging", with weights that
fade exponentially. The odd thing: to evaluate or generate with the average, it changes places with
the weights for a while. Nothing else has to know that there are two, and no third copy is needed.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hipgpt_kernels.backend import Array, Number
    from hipgpt_model.parameters import Parameters

_ELEMENTS_AT_ONCE = 1 << 22
"""That change places: 16 MiB of scratch memory."""


def decay_at(decay: float, step: int) -> float:
    """How much of the average stays at a step: at most (1 + step) / (10 + step).

    The weights of the first steps, which have learnt nothing, are so soon forgotten.

    Args:
        decay: of later steps.
        step: optimizer steps done, this one included.
    """
    return min(decay, (1 + step) / (10 + step))


class WeightAverage:
    """The exponential moving average of a model's float32 weights.

    Args:
        parameters: whose weights; the average starts as a copy of them.
        decay: how much of the average stays at each step, in (0, 1).

    The memory is taken when the average is first used, or comes from a checkpoint.
    """

    def __init__(self, parameters: Parameters, decay: float) -> None:
        self.parameters = parameters
        self.decay = decay
        self._values: Array | None = None

    @property
    def values(self) -> Array:
        """The average, flat like `Parameters.weights`; at first a copy of them."""
        if self._values is None:
            backend = self.parameters.backend
            self._values = backend.empty(tuple(self.parameters.weights.shape))
            backend.copy(self._values, self.parameters.weights)
        return self._values

    @values.setter
    def values(self, values: Array) -> None:
        self._values = values

    def update(self, weight: Number) -> None:
        """average += weight · (weights − average), after an optimizer step.

        Args:
            weight: 1 − `decay_at` of the step; a float64 where it is on the device.
        """
        self.parameters.backend.lerp(self.values, self.parameters.weights, weight, out=self.values)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Inside, the model's weights are the average, and `values` holds its own weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        parameters, backend = self.parameters, self.parameters.backend
        size = parameters.weights.shape[0]
        scratch = backend.empty((min(_ELEMENTS_AT_ONCE, size),))
        for start in range(0, size, _ELEMENTS_AT_ONCE):
            part = slice(start, min(start + _ELEMENTS_AT_ONCE, size))
            kept = scratch[: part.stop - start]
            backend.copy(kept, self.values[part])
            backend.copy(self.values[part], parameters.weights[part])
            backend.copy(parameters.weights[part], kept)
        parameters.refresh()
