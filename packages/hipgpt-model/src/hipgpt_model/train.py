"""Training: one optimizer step at a time, and a report on each. Nothing is printed here.

The odd thing: a run has no hidden state. The weights, AdamW's moments, the step and the data
position, with the configuration and the tokens, determine every later bit; so that is all that a
checkpoint holds. Reading a number back makes the device wait, so it is done only when asked for.
"""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from hipgpt_model.checkpoint import CheckpointError, TrainingState, load_training
from hipgpt_model.checkpoint_header import STEP_CONTROL_SIZE
from hipgpt_model.data_feed import Feed
from hipgpt_model.ema import WeightAverage
from hipgpt_model.evaluate import EvalReport
from hipgpt_model.gpt import GPT
from hipgpt_model.optim import AdamW
from hipgpt_model.parameters import Parameters
from hipgpt_model.schedule import learning_rate

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping

    from hipgpt_kernels.backend import Array, Backend
    from hipgpt_model.config import GPTConfig, TrainConfig
    from hipgpt_model.data import TokenData

LOST_UPDATES = 10
"""Updates lost in a row to gradients that are not finite, after which training gives up."""


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
        skipped: whether an update since the last report read was lost to a norm that is not finite.
        tokens: that the run has trained on, this step included.
        elapsed_s: seconds spent in steps since this trainer was made.
        tokens_per_s: over the steps since the last report that was read.
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

    Attributes:
        model: the model in training.
        average: the running average of its weights; None where config.ema is 0.
        step: optimizer steps done.
        micro_steps: passes of the next step that are done; 0 but after a pause.
        data_position: windows of training text consumed.
        should_pause: asked between the passes of a step; where it says so, `run` ends there, and
            the gradients so far are part of the state.

    Raises:
        ValueError: data, configuration and parameters do not fit each other.
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
    ) -> None:
        if data.T > model_config.max_seq_len:
            raise ValueError(
                f"the data has rows of {data.T} tokens, but the model's max_seq_len is "
                f"{model_config.max_seq_len}: make one fit the other"
            )
        if report_every < 1:
            raise ValueError(f"report_every must be at least 1; got {report_every}")
        data.check_ids(model_config.vocab_size)
        if parameters is None:
            parameters = Parameters(model_config, backend, training=True, dtype=train_config.dtype)
            parameters.initialize(train_config.seed)
        if not parameters.training:
            raise ValueError(
                "these parameters were made for inference and have no gradients; "
                "make or load them with training=True"
            )
        if parameters.dtype != train_config.dtype:
            raise ValueError(
                f"these parameters are for {parameters.dtype}, but the run is to train in "
                f"{train_config.dtype}: make or load them with dtype={train_config.dtype!r}"
            )
        self.config = train_config
        self.data = data
        self.backend = backend
        self.report_every = report_every
        self.model = GPT(model_config, backend, parameters)
        self.optimizer = AdamW(parameters, train_config)
        self.average = WeightAverage(parameters, train_config.ema) if train_config.ema else None
        self.should_pause: Callable[[], bool] = lambda: False
        self.step = 0
        self.micro_steps = 0
        self.data_position = 0

        B, T = train_config.batch_size, data.T
        self._feed = Feed(data, backend, B)
        self._inputs = backend.empty((B, T), np.int32)
        self._targets = backend.empty((B, T), np.int32)
        self._losses = backend.empty((train_config.grad_accum, B * T))  # of one whole step
        self._correct = backend.empty((train_config.grad_accum, B * T))
        self._step_tokens = train_config.grad_accum * B * T
        self._scale = 1 / self._step_tokens  # the gradient of the mean loss
        self._unread_norms: list[Array] = []
        self._unread_tokens, self._unread_s = 0, 0.0
        self._lost_in_a_row = 0
        self._elapsed_s = 0.0
        self._in_step = False

    # --- the step -----------------------------------------------------------------------------

    def train_step(self, *, count_correct: bool = False) -> Array:
        """One optimizer step: grad_accum batches forward and backward, then the update.

        Args:
            count_correct: also note which targets were the likeliest ids.

        Returns:
            The gradient's norm, on the device; the losses stay there too.
        """
        self._refuse_half_a_step()
        for micro_step in range(self.micro_steps, self.config.grad_accum):
            if micro_step and self.should_pause():
                if not count_correct:
                    self.backend.fill(self._correct, math.nan)  # was not counted so far
                self._in_step = False
                raise _PausedError
            self._in_step = True
            self._next_batch()
            self.model.forward_backward(
                self._inputs,
                self._targets,
                scale=self._scale,
                losses=self._losses[micro_step],
                correct=self._correct[micro_step] if count_correct else None,
                seed=self.config.seed,
                stream=self.data_position,
            )
            self.data_position += self.config.batch_size
            self.micro_steps = micro_step + 1

        norm = self.optimizer.step(learning_rate(self.step, self.config), self.step + 1)
        self.step += 1
        self.micro_steps = 0
        if self.average is not None:
            self.average.update(self.step)
        self._in_step = False
        return norm

    def _next_batch(self) -> None:
        """Fill inputs and targets (B, T) with the windows at the present data position."""
        starts = self.data.train_batch(self.data_position, self.config.batch_size, self.config.seed)
        self._feed.fill(starts, self._inputs, self._targets)

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
            FloatingPointError: `LOST_UPDATES` updates in a row were lost, because the gradients
                were infinite or not a number. The weights are those before the first of them.
        """
        config = self.config
        rate = learning_rate(self.step, config)
        read = (self.step + 1) % self.report_every == 0 or self.step + 1 == config.steps

        began = time.perf_counter()
        self._unread_norms.append(self.train_step(count_correct=read))
        loss = accuracy = norm = None
        skipped = False
        if read:
            loss = self.backend.mean(self._losses)
            accuracy = self.backend.mean(self._correct)
            norm, skipped = self._read_norms()
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
        )

    def _read_norms(self) -> tuple[float, bool]:
        """The last norm, and whether any since the last report was not finite."""
        skipped = False
        norm = math.nan
        for unread in self._unread_norms:
            norm = float(self.backend.to_numpy(unread))
            lost = not math.isfinite(norm)
            skipped = skipped or lost
            self._lost_in_a_row = self._lost_in_a_row + 1 if lost else 0
            if self._lost_in_a_row == LOST_UPDATES:
                raise FloatingPointError(
                    f"the gradients were not finite {LOST_UPDATES} steps in a row, up to step "
                    f"{self.step}: resume from an earlier checkpoint with a lower learning rate, "
                    "a longer warm-up or a smaller clip"
                )
        self._unread_norms.clear()
        return norm, skipped

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
        for starts in self.data.validation_batches(
            self.config.batch_size, self.config.eval_batches
        ):
            rows = len(starts)  # the last batch may be smaller
            inputs, targets = self._inputs[:rows], self._targets[:rows]
            count = rows * self.data.T
            losses = self._losses[0][:count]
            hits = self._correct[0][:count]
            self._feed.fill(starts, inputs, targets)
            self.model.loss(inputs, targets, losses=losses, correct=hits)
            loss += self.backend.mean(losses) * count
            correct += self.backend.mean(hits) * count
            tokens += count
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
            control=np.zeros(STEP_CONTROL_SIZE, np.float32),
            ema=None if self.average is None else self.average.values,
            micro_steps=self.micro_steps,
            losses=self._losses[: self.micro_steps] if self.micro_steps else None,
            correct=self._correct[: self.micro_steps] if self.micro_steps else None,
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

        Raises:
            CheckpointError: the file is no usable training checkpoint, or belongs to other data.
            OSError: the file could not be read.
        """
        header, state = load_training(
            path,
            backend,
            tokenizer=tokenizer,
            dtype=None if train_config is None else train_config.dtype,
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
        )
        trainer.step = state.step
        trainer.data_position = state.data_position
        trainer.micro_steps = state.micro_steps
        if trainer.average is not None and state.ema is not None:
            trainer.average.values = state.ema
        if state.micro_steps:
            backend.copy(trainer._losses[: state.micro_steps], state.losses)
            backend.copy(trainer._correct[: state.micro_steps], state.correct)
        return trainer


def _describe(data: Mapping[str, int | str] | None) -> str:
    """A data fingerprint in words.

    Example:
        >>> _describe({"tokens": 9, "train_tokens": 6, "row": 2, "crc32": 7})
        '9 tokens, 6 of them for training, rows of 2, CRC-32 00000007'
    """
    assert data is not None
    return (
        f"{data['tokens']} tokens, {data['train_tokens']} of them for training, "
        f"rows of {data['row']}, CRC-32 {data['crc32']:08x}"
    )
