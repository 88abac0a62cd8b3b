"""Everything that determines the rest of a training run, and the tensors that hold it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hipgpt_model.checkpoint_header import (
    CORRECT,
    EMA,
    GRADIENT,
    LOSSES,
    MOMENTS,
    STEP_CONTROL,
    CheckpointHeader,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy as np

    from hipgpt_kernels.backend import Array
    from hipgpt_model.config import TrainConfig
    from hipgpt_model.parameters import Parameters


@dataclass(frozen=True)
class TrainingState:
    """Everything that determines the rest of a run, given the data.

    Attributes:
        parameters: the weights and AdamW's moments (not copied); between the passes of a step the
            gradients too.
        config: how the run trains; the seed is here.
        step: optimizer steps done.
        data_position: windows of training text consumed.
        data: fingerprint of the data.
        control: (STEP_CONTROL_SIZE,) float32, what decides about each update.
        ema: the running average of the weights, flat like them; None where none is kept.
        micro_steps: passes of the next step that are done.
        losses: (micro_steps, B·T) of those passes; None where there are none.
        correct: likewise.
    """

    parameters: Parameters
    config: TrainConfig
    step: int
    data_position: int
    data: Mapping[str, int | str]
    control: Array
    ema: Array | None = None
    micro_steps: int = 0
    losses: Array | None = None
    correct: Array | None = None

    def header(
        self, tokenizer: str | None = None, metrics: Mapping[str, float] | None = None
    ) -> CheckpointHeader:
        """What its checkpoint says of itself."""
        return CheckpointHeader(
            "training",
            self.parameters.config,
            self.config,
            self.step,
            self.data_position,
            dict(self.data),
            tokenizer,
            dict(metrics or {}),
            self.micro_steps,
            self.parameters.dtype,  # type: ignore[arg-type]
        )

    def buffers(self) -> dict[str, Array]:
        """Every flat buffer that is saved, by the prefix of its tensors' names, in file order."""
        parameters = self.parameters
        found = {"": parameters.weights}
        found |= dict(zip(MOMENTS, (parameters.m, parameters.v), strict=True))
        if self.ema is not None:
            found[EMA] = self.ema
        if self.micro_steps:
            found[GRADIENT] = parameters.gradients
        return found

    def others(self) -> dict[str, Array]:
        """Every other array that is saved, by name, in file order."""
        found = {STEP_CONTROL: self.control}
        if self.micro_steps:
            found |= {LOSSES: self.losses, CORRECT: self.correct}
        return found

    def tensors(
        self,
        buffers: Mapping[str, Array],
        others: Mapping[str, Array],
        read: Callable[[Array], np.ndarray],
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Each tensor of the checkpoint by name, in file order, one at a time.

        Args:
            buffers: as `buffers` gives them, or copies of them.
            others: likewise.
            read: makes a NumPy array of a view.
        """
        for prefix, buffer in buffers.items():
            for spec in self.parameters.table:
                yield prefix + spec.name, read(self.parameters.view(buffer, spec.name))
        for name, array in others.items():
            yield name, read(array)


class HasState(Protocol):
    """A `Trainer`, without importing the module that imports this one."""

    def state(self) -> TrainingState:
        """See `Trainer.state`."""
        ...
