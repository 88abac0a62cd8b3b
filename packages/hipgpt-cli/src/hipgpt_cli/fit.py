"""The training loop as the command runs it: reports, evaluations, checkpoints, and an orderly stop.

The odd thing: it never prints a step or draws a bar itself; it drives what does (`progress.py`),
and it owns the promise that whatever happens, the last checkpoint on disk is whole and named.
Checkpoints are written by a thread while training goes on (`hipgpt_model.saving`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hipgpt_cli import human
from hipgpt_cli.errors import FULL, StoppedError, UserError, describe_os_error
from hipgpt_cli.progress import training_progress

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hipgpt_cli.metrics import Metrics
    from hipgpt_cli.progress import TrainingProgress
    from hipgpt_cli.retention import Keep
    from hipgpt_cli.runs import Run
    from hipgpt_cli.signals import Interrupts
    from hipgpt_model.evaluate import EvalReport
    from hipgpt_model.saving import BackgroundSaver
    from hipgpt_model.train import StepReport, Trainer
    from hipgpt_tokenizer import Tokenizer


@dataclass(frozen=True)
class Saving:
    """What is written to disk when, and how much of it stays.

    Attributes:
        log_every: steps between lines of metrics.jsonl.
        every: steps between checkpoints; 0 is only at the end.
        keep: which checkpoints stay.
        sample_every: steps between samples; 0 makes none.
    """

    log_every: int
    every: int
    keep: Keep
    sample_every: int = 0


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Attributes:
        checkpoint: the last one written.
        evaluation: on held-out text at the end; None where it was stopped before.
        signal: the signal that stopped it, or None.
        best_step: the step of the best evaluation, where it ended because none since was better;
            else None.
    """

    checkpoint: Path
    evaluation: EvalReport | None
    signal: int | None
    best_step: int | None = None


class Fit:
    """Trains until the trainer's last step, or until a signal.

    Args:
        trainer: where it stands.
        run: where it is saved.
        metrics: where it is recorded.
        saving: when to save.
        tokenizer: whose ids it trains on.
        interrupts: open while the loop runs.
        figures: what the checkpoint that it goes on from says in its `metrics`.
    """

    def __init__(
        self,
        trainer: Trainer,
        run: Run,
        metrics: Metrics,
        saving: Saving,
        tokenizer: Tokenizer,
        interrupts: Interrupts,
        figures: Mapping[str, float] | None = None,
    ) -> None:
        from hipgpt_model.stopping import BestLoss

        self.trainer = trainer
        self.run = run
        self.metrics = metrics
        self.saving = saving
        self.tokenizer = tokenizer
        self.interrupts = interrupts
        self._figures = dict(figures or {})
        self._best = BestLoss.from_metrics(self._figures)
        self._saved_at: tuple[int, int] | None = None

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
        trainer.should_pause = lambda: self.interrupts.signal is not None
        tokens_per_step = config.batch_size * trainer.data.T * config.grad_accum
        evaluation, ended = None, False
        with (
            training_progress(tokens_per_step, trainer.step, config.steps) as progress,
            self._saver() as saver,
        ):
            if self._evaluation_is_owed():
                evaluation = self._evaluate(progress, saver)
            for report in trainer.run():
                self._record(report)
                progress.step(report)
                if report.norm is not None:
                    self._tell_skipped(progress, report.overflows, report.outliers)
                self._report_saved(saver, progress)
                if self.interrupts.signal is not None:
                    break
                if trainer.evaluation_due:
                    evaluation = self._evaluate(progress, saver)
                if self.saving.sample_every and report.step % self.saving.sample_every == 0:
                    self._sample(progress)
                if self.saving.every and report.step % self.saving.every == 0:
                    self._save(saver)
                if ended := self._best.exhausted(config.patience):
                    break
            self._tell_skipped_at_the_end(progress)
            self._save(saver)
            saver.wait()
            self._report_saved(saver, progress)
        done = ended or (trainer.step == config.steps and self.interrupts.signal is None)
        return Outcome(
            self.run.checkpoint(trainer.step),
            evaluation if done else None,
            self.interrupts.signal,
            self._best.step if ended and trainer.step < config.steps else None,
        )

    def _saver(self) -> BackgroundSaver:
        """What writes checkpoints: a thread, or all ranks together."""
        from hipgpt_model.saving import BackgroundSaver

        if self.trainer.ranks is None:
            return BackgroundSaver()
        from hipgpt_model.distributed.lead import TogetherSaver

        return TogetherSaver()  # type: ignore[return-value]  # in all that is used here

    def _evaluation_is_owed(self) -> bool:
        """Whether a signal came just when this step should have been evaluated."""
        trainer = self.trainer
        done = self._figures.get("validation_step") == trainer.step
        return trainer.step > 0 and trainer.evaluation_due and not done and not trainer.micro_steps

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
            **self._counts(report),
        )

    def _counts(self, report: StepReport) -> dict[str, float]:
        """What only some runs have: updates skipped so far, and the loss scale."""
        counts: dict[str, float] = {}
        if report.overflows or report.outliers:
            counts = {"overflows": report.overflows, "outliers": report.outliers}
        if report.loss_scale is not None:
            counts["loss_scale"] = report.loss_scale
        return counts

    def _tell_skipped_at_the_end(self, progress: TrainingProgress) -> None:
        """Tell of updates skipped since the last report that was read."""
        from hipgpt_kernels.backend import Control

        control = self.trainer.backend.to_numpy(self.trainer.optimizer.control)
        self._tell_skipped(
            progress, int(control[Control.OVERFLOWS]), int(control[Control.OUTLIERS])
        )

    def _tell_skipped(self, progress: TrainingProgress, overflows: int, outliers: int) -> None:
        """Say which updates were skipped since this was said last, before a resume too."""
        lost = overflows - int(self._figures.get("overflows", 0))
        out = outliers - int(self._figures.get("outliers", 0))
        reasons = []
        if lost:
            reasons.append(f"{human.count(lost)} with a gradient that is not finite")
        if out:
            factor = self.trainer.config.skip_outliers
            reasons.append(f"{human.count(out)} with a norm above {factor:g} times its mean")
        if reasons:
            total = human.count(overflows + outliers)
            skipped = f"{' and '.join(reasons)}; {total} so far"
            progress.line(f"[Skip {self.trainer.step}] Updates skipped: {skipped}")
            self._figures |= {"overflows": float(overflows), "outliers": float(outliers)}

    def _evaluate(self, progress: TrainingProgress, saver: BackgroundSaver) -> EvalReport:
        step = self.trainer.step
        evaluation = self.trainer.evaluate()
        self._best.add(step, evaluation.loss)
        self._figures |= {"validation_loss": evaluation.loss, "validation_step": float(step)}
        self._figures |= self._best.to_metrics()
        self.metrics.add(
            step,
            validation_loss=evaluation.loss,
            validation_perplexity=evaluation.perplexity,
            validation_accuracy=evaluation.accuracy,
        )
        progress.evaluation(step, evaluation)
        if self.saving.keep.best and self._best.step == step:
            self._save(saver)
        return evaluation

    def _sample(self, progress: TrainingProgress) -> None:
        from hipgpt_cli.sample import make_sample, record_sample

        step = self.trainer.step
        sample = make_sample(self.trainer, self.tokenizer)
        if sample is not None:
            record_sample(self.run.samples, step, sample)
            self.metrics.sample(step, sample.prompt, sample.text)
            progress.line(f"[Sample {step}] {' '.join((sample.prompt + sample.text).split())}")

    def _save(self, saver: BackgroundSaver) -> None:
        """Begin to save, unless just this state is being saved already."""
        trainer = self.trainer
        here = trainer.step, trainer.micro_steps
        if self._saved_at == here:
            return
        path = self.run.checkpoint(trainer.step)
        path.parent.mkdir(parents=True, exist_ok=True)
        saver.save(
            path,
            trainer,
            self.tokenizer.fingerprint,
            metrics=self._figures,
            done=lambda saved: self.run.saved(saved.step, self.saving.keep),
        )
        self._saved_at = here

    def _report_saved(self, saver: BackgroundSaver, progress: TrainingProgress) -> None:
        """Tell of checkpoints that are complete; raise the error of one that is not."""
        for saved in saver.finished():
            beside = f", beside training; copied in {human.duration(saved.copy_s)}"
            progress.line(
                f"[Save {saved.step}] {human.size(saved.nbytes)} in "
                f"{human.duration(saved.write_s)} ({saved.mb_per_s:.0f} MB/s)"
                f"{beside if saved.beside else ', by all ranks'}"
            )

    def _kept(self) -> str:
        newest = self.run.newest_checkpoint()
        if newest is None:
            return "there was no checkpoint yet, so nothing of this run is kept"
        return f"kept: {newest}, from which --resume goes on"
