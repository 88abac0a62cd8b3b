"""The training loop as the command runs it: reports, evaluations, checkpoints, and an orderly stop.

The odd thing: it never prints a step or draws a bar itself; it drives what does (`progress.py`),
and it owns the promise that whatever happens, the last checkpoint on disk is whole and named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hipgpt_cli.errors import FULL, StoppedError, UserError, describe_os_error
from hipgpt_cli.progress import training_progress

if TYPE_CHECKING:
    from pathlib import Path

    from hipgpt_cli.metrics import Metrics
    from hipgpt_cli.progress import TrainingProgress
    from hipgpt_cli.runs import Run
    from hipgpt_cli.signals import Interrupts
    from hipgpt_model.evaluate import EvalReport
    from hipgpt_model.train import StepReport, Trainer


@dataclass(frozen=True)
class Saving:
    """What is written to disk when, and how much of it stays.

    Attributes:
        log_every: steps between lines of metrics.jsonl.
        every: steps between checkpoints; 0 is only at the end.
        keep_last: newest checkpoints that are kept.
    """

    log_every: int
    every: int
    keep_last: int


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Attributes:
        checkpoint: the last one written.
        evaluation: on held-out text at the end; None where it was stopped before.
        signal: the signal that stopped it, or None.
    """

    checkpoint: Path
    evaluation: EvalReport | None
    signal: int | None


class Fit:
    """Trains until the trainer's last step, or until a signal.

    Args:
        trainer: where it stands.
        run: where it is saved.
        metrics: where it is recorded.
        saving: when to save.
        fingerprint: the tokenizer's.
        interrupts: open while the loop runs.
    """

    def __init__(
        self,
        trainer: Trainer,
        run: Run,
        metrics: Metrics,
        saving: Saving,
        fingerprint: str,
        interrupts: Interrupts,
    ) -> None:
        self.trainer = trainer
        self.run = run
        self.metrics = metrics
        self.saving = saving
        self.fingerprint = fingerprint
        self.interrupts = interrupts
        self._figures: dict[str, float] = {}
        self._saved_step = -1

    def __call__(self) -> Outcome:
        """Train.

        Raises:
            UserError: the disk is full, or the training diverged; the sentence says what was kept.
            StoppedError: a second signal came.
        """
        try:
            with self.interrupts.deferred():
                return self._train()
        except StoppedError as error:
            raise StoppedError(error.signal, f"Stopped at once; {self._kept()}.") from None
        except FloatingPointError as error:
            raise UserError(
                "the training has diverged, its gradients are no longer finite: a new run wants a "
                f"lower --lr, a longer --warmup-steps or a smaller --clip; {self._kept()}"
            ) from error
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise UserError(f"{describe_os_error(error)}; {self._kept()}") from error

    def _train(self) -> Outcome:
        trainer, config = self.trainer, self.trainer.config
        tokens_per_step = config.batch_size * trainer.data.T * config.grad_accum
        evaluation = None
        with training_progress(tokens_per_step, trainer.step, config.steps) as progress:
            for report in trainer.run():
                self._record(report)
                progress.step(report)
                if report.skipped:
                    progress.line(
                        f"Step {report.step}: an update was skipped, its gradients were not finite"
                    )
                if self.interrupts.signal is not None:
                    break
                if trainer.evaluation_due:
                    evaluation = self._evaluate(progress)
                if self.saving.every and report.step % self.saving.every == 0:
                    self._save()
        if self._saved_step != trainer.step:
            self._save()
        done = trainer.step == config.steps and self.interrupts.signal is None
        return Outcome(
            self.run.checkpoint(trainer.step),
            evaluation if done else None,
            self.interrupts.signal,
        )

    def _record(self, report: StepReport) -> None:
        logged = report.step % self.saving.log_every == 0 or report.step == report.steps
        if report.loss is None or not logged:
            return
        self._figures["loss"] = report.loss
        self.metrics.add(
            report.step,
            loss=report.loss,
            accuracy=report.accuracy,
            learning_rate=report.learning_rate,
            norm=report.norm,
            tokens_per_s=report.tokens_per_s,
            elapsed_s=report.elapsed_s,
        )

    def _evaluate(self, progress: TrainingProgress) -> EvalReport:
        evaluation = self.trainer.evaluate()
        self._figures["validation_loss"] = evaluation.loss
        self.metrics.add(
            self.trainer.step,
            validation_loss=evaluation.loss,
            validation_perplexity=evaluation.perplexity,
            validation_accuracy=evaluation.accuracy,
        )
        progress.evaluation(self.trainer.step, evaluation)
        return evaluation

    def _save(self) -> None:
        from hipgpt_model.checkpoint import save_training

        step = self.trainer.step
        path = self.run.checkpoint(step)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_training(path, self.trainer, self.fingerprint, metrics=self._figures)
        self.run.saved(step, self.saving.keep_last)
        self._saved_step = step

    def _kept(self) -> str:
        newest = self.run.newest_checkpoint()
        if newest is None:
            return "there was no checkpoint yet, so nothing of this run is kept"
        return f"kept: {newest}, from which --resume goes on"
