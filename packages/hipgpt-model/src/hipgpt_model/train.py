"""Training: one optimizer step at a time, and a report on each. Nothing is printed here.

A step is A passes, A being grad_accum, and an update (`passes.py`). The odd thing: nothing is read
back but what a report shows. Whether an update was skipped, too, is decided on the device and
noticed at the next report.

A run has no hidden state. The weights, AdamW's moments, the step control, the step and the data
position, with the configuration and the tokens, determine every later bit; so that is all that a
checkpoint holds.
"""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import numpy as np

from hipgpt_kernels.backend import Control
from hipgpt_model.checkpoint import load_training
from hipgpt_model.checkpoint_header import CheckpointError
from hipgpt_model.ema import WeightAverage
from hipgpt_model.evaluate import EvalReport
from hipgpt_model.gpt import GPT
from hipgpt_model.optim import AdamW
from hipgpt_model.passes import Passes
from hipgpt_model.run_setup import check_data, check_memory, check_parameters, first_parameters
from hipgpt_model.schedule import learning_rate
from hipgpt_model.step_report import StepReport
from hipgpt_model.training_state import TrainingState

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping

    from hipgpt_kernels.backend import Backend
    from hipgpt_model.config import GPTConfig, TrainConfig
    from hipgpt_model.data import TokenData
    from hipgpt_model.distributed.ranks import Ranks
    from hipgpt_model.parameters import Parameters

__all__ = ["LOST_UPDATES", "StepReport", "Trainer"]

LOST_UPDATES = 10
"""Updates lost in a row to gradients that are not finite, after which training gives up."""


class _PausedError(Exception):
    """Between two passes of a step, `Trainer.should_pause` asked for an end."""


class Trainer:
    """Trains a model on tokens.

    Args:
        model_config: the model.
        train_config: how it is trained.
        data: the tokens; their rows may be shorter than the model's max_seq_len, not longer.
        backend: where it runs.
        parameters: made for training, to start from; None: new ones from the seed.
        report_every: read loss, accuracy and norm every so many steps, and at the last.
        graph: launch each step as a captured graph where the backend can; without, it is launched
            op by op, which is slower and gives the same bits.
        ranks: the processes that train together, each of which makes a trainer at the same time and
            calls the same methods; None: this one alone. There is no graph then.

    Attributes:
        model: the model in training.
        average: the running average of its weights; None where config.ema is 0.
        step: optimizer steps done.
        micro_steps: passes of the next step that are done; 0 but after a pause.
        data_position: windows of training text consumed.
        should_pause: asked between the passes of a step; where it says so, `run` ends there, and
            the gradients so far are part of the state.

    Raises:
        ValueError: data, configuration and parameters do not fit each other, or the backend does
            not compute in the dtype.
        MemoryError: the run does not fit; the message has its parts, and smaller runs that would.
    """

    def __init__(
        self,
        model_config: GPTConfig,
        train_config: TrainConfig,
        data: TokenData,
        backend: Backend,
        parameters: Parameters | None = None,
        *,
        report_every: int = 1,
        graph: bool = True,
        ranks: Ranks | None = None,
    ) -> None:
        check_data(data, model_config)
        if report_every < 1:
            raise ValueError(f"report_every must be at least 1; got {report_every}")
        backend.compute_dtype(train_config.dtype)  # refused before memory is looked at
        B, T = train_config.batch_size, data.T
        self._rows = slice(0, B) if ranks is None else ranks.rows(B)  # of a pass, this process's
        share = replace(train_config, batch_size=self._rows.stop - self._rows.start)
        owners = 1 if ranks is None else ranks.owners
        made = parameters is not None
        activations = check_memory(model_config, share, T, backend, owners=owners, made=made)
        if parameters is None:
            parameters = first_parameters(model_config, train_config, backend, ranks)
        check_parameters(parameters, train_config)
        self.config = train_config
        self.data = data
        self.backend = backend
        self.report_every = report_every
        self.model = GPT(
            model_config,
            backend,
            parameters,
            checkpoint_activations=train_config.checkpoint_activations,
        )
        self.model.arena.reserve(activations)
        self.ranks = ranks
        if ranks is None:
            self.optimizer = AdamW(parameters, train_config)
        else:
            self.optimizer = ranks.optimizer(parameters, train_config)
        self.average = WeightAverage(parameters, train_config.ema) if train_config.ema else None
        self.should_pause: Callable[[], bool] = lambda: False
        self.step = 0
        self.micro_steps = 0
        self.data_position = 0

        self._passes = Passes(
            self.model,
            self.optimizer,
            self.average,
            data,
            train_config,
            rows=self._rows,
            ranks=ranks,
            graph=graph,
        )
        self._step_tokens = train_config.grad_accum * B * T
        self._skipped_before = 0
        self._unread_tokens, self._unread_s = 0, 0.0
        self._elapsed_s = 0.0
        self._first_step = 0  # of this trainer; later where it goes on from a checkpoint
        self._in_step = False

    # --- the step -----------------------------------------------------------------------------

    def train_step(self, *, count_correct: bool = False) -> None:
        """One optimizer step: grad_accum batches forward and backward, then the update.

        Args:
            count_correct: also note which targets were the likeliest ids.
        """
        self._refuse_half_a_step()
        for micro_step in range(self.micro_steps, self.config.grad_accum):
            if micro_step and self.ranks is None and self.should_pause():
                if not count_correct:
                    self.backend.fill(self._passes.correct, math.nan)  # was not counted so far
                self._in_step = False
                raise _PausedError
            self._in_step = True
            self.micro_steps = micro_step
            self._passes.do(self.step, micro_step, self.data_position, count_correct=count_correct)
            self.data_position += self.config.batch_size
            self.micro_steps = micro_step + 1

        self.step += 1
        self.micro_steps = 0
        self._in_step = False

    # --- the run ------------------------------------------------------------------------------

    def run(self, steps: int | None = None) -> Iterator[StepReport]:
        """Train until config.steps are done, or only so many steps more; one report a step.

        It ends sooner where `should_pause` says so in the middle of a step.

        Raises:
            FloatingPointError: as `step_report`.
        """
        last = self.config.steps
        if steps is not None:
            last = min(self.step + steps, last)
        while self.step < last:
            try:
                report = self.step_report()
            except _PausedError:
                return
            yield report

    def step_report(self) -> StepReport:
        """Do one optimizer step and report on it.

        Raises:
            FloatingPointError: `LOST_UPDATES` updates in a row or more were lost, because the
                gradients were infinite or not a number. The weights are those before the first.
        """
        config = self.config
        rate = learning_rate(self.step, config)
        read = (self.step + 1) % self.report_every == 0 or self.step + 1 == config.steps

        began = time.perf_counter()
        self.train_step(count_correct=read)
        loss = accuracy = norm = loss_scale = None
        overflows = outliers = 0
        skipped = False
        if read:
            loss, accuracy = self._read_figures()
            control = self._read_control()
            norm = float(control[Control.NORM])
            overflows, outliers = int(control[Control.OVERFLOWS]), int(control[Control.OUTLIERS])
            skipped = overflows + outliers != self._skipped_before
            self._skipped_before = overflows + outliers
            if self.optimizer.scaled:
                loss_scale = float(control[Control.LOSS_SCALE])
        seconds = time.perf_counter() - began

        self._elapsed_s += seconds
        self._unread_s += seconds
        self._unread_tokens += self._step_tokens
        tokens_per_s = self._unread_tokens / self._unread_s
        if read:
            self._unread_tokens, self._unread_s = 0, 0.0
        return StepReport(
            step=self.step,
            steps=config.steps,
            loss=loss,
            accuracy=accuracy,
            learning_rate=rate,
            norm=norm,
            skipped=skipped,
            tokens=self.data_position * self.data.T,
            elapsed_s=self._elapsed_s,
            tokens_per_s=tokens_per_s,
            overflows=overflows,
            outliers=outliers,
            loss_scale=loss_scale,
        )

    def _read_figures(self) -> tuple[float, float]:
        """Mean loss and accuracy of the last step."""
        means = self._passes.figures()
        loss, accuracy = means if self.ranks is None else self.ranks.mean(means)
        return loss, accuracy

    def _read_control(self) -> np.ndarray:
        """The step control (8,), unless too many updates were lost."""
        control = self.backend.to_numpy(self.optimizer.control)
        lost = int(control[Control.LOST_IN_A_ROW])
        if lost >= LOST_UPDATES:
            raise FloatingPointError(
                f"the gradients were not finite {lost} steps in a row, up to step "
                f"{self.step}: resume from an earlier checkpoint with a lower learning rate, "
                "a longer warm-up or a smaller clip"
            )
        return control

    @property
    def tokens_per_s(self) -> float:
        """Over all steps since this trainer was made, in all processes together."""
        steps_done = self.step - self._first_step
        return steps_done * self._step_tokens / self._elapsed_s if self._elapsed_s else 0.0

    @property
    def evaluation_due(self) -> bool:
        """Whether config.eval_every calls for an evaluation after the steps done so far."""
        every = self.config.eval_every
        return self.step == self.config.steps or (every > 0 and self.step % every == 0)

    def averaged(self) -> AbstractContextManager[None]:
        """Inside, the model has its running average for weights, where one is kept."""
        return nullcontext() if self.average is None else self.average.in_use()

    def evaluate(self) -> EvalReport:
        """Figures on up to config.eval_batches batches of validation text, always the same ones.

        They are those of the running average of the weights, where one is kept.
        """
        with self.averaged():
            return self._evaluate()

    def _evaluate(self) -> EvalReport:
        loss = correct = 0.0
        tokens = 0
        passes = self._passes
        for batch in self.data.validation_batches(self.config.batch_size, self.config.eval_batches):
            starts = batch if self.ranks is None else self.ranks.share(batch)
            rows = len(starts)  # the last batch may be smaller
            if rows == 0:
                continue
            inputs, targets = passes.inputs[:rows], passes.targets[:rows]
            count = rows * self.data.T
            losses = passes.losses[0][:count]
            hits = passes.correct[0][:count]
            passes.feed.fill(starts, inputs, targets)
            self.model.loss(inputs, targets, losses=losses, correct=hits)
            loss += self.backend.mean(losses) * count
            correct += self.backend.mean(hits) * count
            tokens += count
        if self.ranks is not None:
            loss, correct, total = self.ranks.world.sum([loss, correct, float(tokens)])
            tokens = int(total)
        return EvalReport.from_sums(loss, correct, tokens)

    # --- saving and resuming ------------------------------------------------------------------

    def state(self) -> TrainingState:
        """Everything that the rest of the run depends on.

        Raises:
            RuntimeError: a step was interrupted half way, so that there is no consistent state.
        """
        self._refuse_half_a_step()
        return TrainingState(
            parameters=self.model.parameters,
            config=self.config,
            step=self.step,
            data_position=self.data_position,
            data=self.data.fingerprint(),
            control=self.optimizer.control,
            ema=None if self.average is None else self.average.values,
            micro_steps=self.micro_steps,
            losses=self._passes.losses[: self.micro_steps] if self.micro_steps else None,
            correct=self._passes.correct[: self.micro_steps] if self.micro_steps else None,
        )

    def _refuse_half_a_step(self) -> None:
        if self._in_step:
            raise RuntimeError(
                "a step was interrupted half way, so this run cannot go on or be saved as it is: "
                "resume it from its last checkpoint, and interrupt between two reports"
            )

    @classmethod
    def from_checkpoint(
        cls,
        path: str | os.PathLike[str],
        data: TokenData,
        backend: Backend,
        *,
        tokenizer: str | None = None,
        train_config: TrainConfig | None = None,
        report_every: int = 1,
        graph: bool = True,
        ranks: Ranks | None = None,
    ) -> Self:
        """Continue a saved run: the same bits as if it had never stopped.

        Args:
            path: a checkpoint of kind "training".
            data: the same tokens, split and cut the same way.
            backend: where it runs; another backend than before rounds differently.
            tokenizer: fingerprint of the tokenizer in use; None checks nothing.
            train_config: other training options from here on, such as more steps; None: the
                checkpoint's own, which alone give the same bits.
            report_every: as for a new trainer.
            graph: likewise.
            ranks: likewise; there may be another number of them than before.

        Raises:
            CheckpointError: the file is no usable training checkpoint, or belongs to other data.
            OSError: the file could not be read.
        """
        header, state = load_training(
            path,
            backend,
            tokenizer=tokenizer,
            dtype=None if train_config is None else train_config.dtype,
            ranks=ranks,
        )
        if header.data != data.fingerprint():
            raise CheckpointError(
                f"{path}: its run trained on other data ({_describe(header.data)}) than given "
                f"({_describe(data.fingerprint())}): give the same text, tokenizer and row length, "
                "or start a new run from its weights with Trainer(parameters=...)"
            )
        trainer = cls(
            header.model,
            train_config or state.config,
            data,
            backend,
            state.parameters,
            report_every=report_every,
            graph=graph,
            ranks=ranks,
        )
        trainer.step = trainer._first_step = state.step
        trainer.data_position = state.data_position
        trainer.micro_steps = state.micro_steps
        backend.copy(trainer.optimizer.control, state.control)
        trainer._skipped_before = int(  # what was reported already is no news
            state.control[Control.OVERFLOWS] + state.control[Control.OUTLIERS]
        )
        if trainer.average is not None and state.ema is not None:
            trainer.average.values = state.ema
        if state.micro_steps:
            passes = trainer._passes
            for mine, saved in ((passes.losses, state.losses), (passes.correct, state.correct)):
                by_row = np.asarray(saved).reshape(state.micro_steps, -1, data.T)[:, trainer._rows]
                backend.copy(mine[: state.micro_steps], by_row.reshape(state.micro_steps, -1))
            if ranks is not None and not ranks.world.leads:  # they are sums; rank 0 has them
                backend.fill(state.parameters.gradients, 0.0)
        return trainer


def _describe(data: Mapping[str, int | str] | None) -> str:
    """A data fingerprint in words.

    Example:
        >>> _describe({"tokens": 9, "train_tokens": 6, "row": 2, "crc32": 7})
        '9 tokens, 6 of them for training, rows of 2, CRC-32 00000007'
    """
    assert data is not None
    crc32 = data.get("crc32")
    return (
        f"{data.get('tokens')} tokens, {data.get('train_tokens')} of them for training, "
        f"rows of {data.get('row')}, CRC-32 {f'{crc32:08x}' if isinstance(crc32, int) else crc32}"
    )
