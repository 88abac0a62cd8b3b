"""The passes of a training step, and the update after the last: all that the device does in one.

What differs from one pass to the next lies on the device (`plan.py`), so where the backend can, a
pass is captured as a graph, with the update behind it or without, and launched from then on
(`program.py`). The odd thing: losses stay on the device too, those of all passes of a step side by
side, until somebody reads them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hipgpt_model.data_feed import Feed
from hipgpt_model.plan import Plan
from hipgpt_model.program import Program

if TYPE_CHECKING:
    from collections.abc import Callable

    from hipgpt_kernels.backend import Array
    from hipgpt_model.config import TrainConfig
    from hipgpt_model.data import TokenData
    from hipgpt_model.distributed.ranks import Ranks
    from hipgpt_model.ema import WeightAverage
    from hipgpt_model.gpt import GPT
    from hipgpt_model.optim import AdamW


class Passes:
    """What a `Trainer` has the device do.

    Args:
        model: the model in training.
        optimizer: of its parameters.
        average: the running average of its weights, or None.
        data: the tokens.
        config: how it is trained.
        rows: of a batch, those of this process.
        ranks: the processes that train together; None: this one alone.
        graph: launch each pass as a captured graph where the backend can.

    Attributes:
        feed: gives batches that are not in the plan, such as those of validation.
        inputs: (b, T) int32, the ids of a pass; b is the length of `rows`.
        targets: (b, T) int32, likewise.
        losses: (A, b·T), of the passes of one step, A being grad_accum.
        correct: likewise, 1 where the target was the likeliest id.
    """

    def __init__(
        self,
        model: GPT,
        optimizer: AdamW,
        average: WeightAverage | None,
        data: TokenData,
        config: TrainConfig,
        *,
        rows: slice,
        ranks: Ranks | None,
        graph: bool,
    ) -> None:
        backend = model.backend
        b, T, accum = rows.stop - rows.start, data.T, config.grad_accum
        self.feed = Feed(data, backend, b)
        self.inputs = backend.empty((b, T), np.int32)
        self.targets = backend.empty((b, T), np.int32)
        self._found = backend.empty((2, accum, b * T))  # losses and correct, of one whole step
        self.losses, self.correct = self._found[0], self._found[1]

        self._model = model
        self._optimizer = optimizer
        self._average = average
        self._config = config
        self._ranks = ranks
        self._backend = backend
        self._plan = Plan(config, data, backend, self.feed.tokens, model.dropouts, rows)
        self._programs: dict[tuple[Callable[[], None], ...], Program] = {}
        self._captures = graph and backend.can_capture and ranks is None
        # A captured pass writes to one place, from where it is copied where there are more passes.
        self._pass_found: Array | None = self._found.reshape((2, b * T)) if accum == 1 else None
        if self._captures and accum > 1:
            self._pass_found = backend.empty((2, b * T))
        self._scale = 1 / (accum * config.batch_size * T)  # the gradient of the mean loss
        self._micro_step = 0
        self._count_correct = False

    def do(self, step: int, micro_step: int, position: int, *, count_correct: bool) -> None:
        """One pass of a step, and the update after its last.

        Args:
            step: optimizer steps done before.
            micro_step: passes of this one done before.
            position: windows of training text consumed before.
            count_correct: also note which targets were the likeliest ids.
        """
        last = self._config.grad_accum - 1
        self._micro_step = micro_step
        self._count_correct = count_correct or self._captures
        self._plan.prepare(step, micro_step, position)
        if micro_step < last:
            self._do(self._pass)
        else:
            self._do(self._pass, self._update)
        if self._captures and last:
            self._backend.copy(self._found[:, micro_step], self._pass_found)

    def figures(self) -> list[float]:
        """Mean loss and accuracy of the last step, over the rows of this process."""
        found = self._found.reshape((2, self._found.shape[1] * self._found.shape[2]))
        means: list[float] = self._backend.to_numpy(self._backend.row_means(found)).tolist()
        return means

    def _do(self, *parts: Callable[[], None]) -> None:
        """Parts of a step, one after the other; captured as one graph where the backend can."""
        program = self._programs.get(parts)
        if program is None:

            def work() -> None:
                for part in parts:
                    part()

            program = Program(self._backend, work, self._model.arena, graph=self._captures)
            self._programs[parts] = program
        program()

    def _pass(self) -> None:
        """Forward and backward of the plan's next windows; gradients are added to the others."""
        plan, found = self._plan, self._pass_found
        if found is None:
            found = self._found[:, self._micro_step]
        plan.take()
        self._backend.gather_batch(plan.tokens, plan.starts, self.inputs, self.targets)
        self._model.forward_backward(
            self.inputs,
            self.targets,
            scale=self._scale,
            loss_scale=self._optimizer.loss_scale,
            losses=found[0],
            correct=found[1] if self._count_correct else None,
            seed=self._config.seed,
            streams=plan.streams,
            finished=self._finished(),
        )

    def _finished(self) -> Callable[[int], None] | None:
        """What wants to know of complete gradients: the other ranks, in a step's last pass."""
        last = self._micro_step == self._config.grad_accum - 1
        return self._ranks.finished if self._ranks is not None and last else None

    def _update(self) -> None:
        """What follows once the gradients are complete."""
        self._optimizer.step(self._plan.learning_rate, self._plan.step)
        if self._average is not None:
            self._average.update(self._plan.average_weight)
