"""How progress looks: a live bar on a terminal, plain lines anywhere else.

The odd thing: the plain lines are, field for field, those that the C++ program of the same name
printed, so that scripts which read its log go on working.
"""

from __future__ import annotations

import os
import sys
import time
from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from hipgpt_cli import human, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress

    from hipgpt_model.evaluate import EvalReport
    from hipgpt_model.train import StepReport


LINES_EVERY_S = 10.0
"""Between two lines about a stage of work, where there is no bar."""


def is_live(stream: str = "stdout") -> bool:
    """Whether standard output, or error, can show something that changes."""
    return say.is_terminal(stream) and os.environ.get("TERM") != "dumb"


class TrainingProgress(ABC):
    """Shows a training; use it as a context.

    Args:
        tokens_per_step: of the whole run; turns tokens/s into ms a step.
    """

    def __init__(self, tokens_per_step: int) -> None:
        self.tokens_per_step = tokens_per_step

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """No step follows."""

    @abstractmethod
    def step(self, report: StepReport) -> None:
        """A step is done; its loss may not have been read."""

    @abstractmethod
    def line(self, text: str) -> None:
        """Print a line that stays."""

    def evaluation(self, step: int, report: EvalReport) -> None:
        """Held-out text was looked at."""
        self.line(
            f"[Eval {step}] Loss: {report.loss:.4f} | Perplexity: {report.perplexity:.2f} | "
            f"Accuracy: {100 * report.accuracy:.2f}%"
        )


class PlainProgress(TrainingProgress):
    """One line for every report whose loss was read."""

    def close(self) -> None:
        """See `TrainingProgress.close`: every line is out already."""

    def step(self, report: StepReport) -> None:
        """See `TrainingProgress.step`."""
        if report.loss is None:
            return
        ms = 1000 * self.tokens_per_step / report.tokens_per_s if report.tokens_per_s else 0.0
        self.line(
            f"[Step {report.step}] Loss: {report.loss:.4f} | "
            f"Perplexity: {human.perplexity(report.loss):.2f} | "
            f"Accuracy: {100 * (report.accuracy or 0):.2f}% | LR: {report.learning_rate:.6g} | "
            f"Time: {ms:.2f} ms | {report.tokens_per_s:.0f} tok/s"
        )

    def line(self, text: str) -> None:
        """See `TrainingProgress.line`."""
        say.line(text)


class LiveProgress(TrainingProgress):
    """A bar with loss, learning rate, tokens/s and time left; evaluations stay above it."""

    def __init__(self, tokens_per_step: int, done: int, steps: int) -> None:
        super().__init__(tokens_per_step)
        self._begin, self._start = done, time.perf_counter()
        self._loss = self._speed = "…"
        self._bar = _bar(
            "{task.fields[count]}", "{task.fields[figures]}", "{task.fields[left]}", expand=True
        )
        self._wide = self._bar.console.width >= 76
        self._task = self._bar.add_task(
            "Training", total=steps, completed=done, count=f"{done}/{steps}", figures="", left=""
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def close(self) -> None:
        """Leave the bar where it stands."""
        self._bar.stop()

    def step(self, report: StepReport) -> None:
        """See `TrainingProgress.step`."""
        if report.loss is not None:
            self._loss, self._speed = f"{report.loss:.3f}", human.short(report.tokens_per_s)
        figures = f"loss {self._loss}"
        if self._wide:
            figures += f"  lr {report.learning_rate:.1e}  {self._speed} tok/s"
        spent = time.perf_counter() - self._start
        left = spent / (report.step - self._begin) * (report.steps - report.step)
        self._bar.update(
            self._task,
            completed=report.step,
            count=f"{report.step}/{report.steps}",
            figures=figures,
            left=f"{human.clock(left)} left" if report.step < report.steps else human.clock(spent),
        )

    def line(self, text: str) -> None:
        """See `TrainingProgress.line`."""
        self._bar.console.print(text, markup=False, highlight=False)

    def evaluation(self, step: int, report: EvalReport) -> None:
        """See `TrainingProgress.evaluation`."""
        self.line(f"{f'Step {step}'.ljust(say.LABEL_WIDTH)}{describe_evaluation(report)}")


def report_every(log_every: int) -> int:
    """Steps between readings of the loss: a live bar wants it sooner than a log does.

    Returns:
        log_every, or on a terminal its largest divisor of at most 10, so that every step that is
        logged is one whose loss is read.
    """
    if not is_live():
        return log_every
    return max(divisor for divisor in range(1, 11) if log_every % divisor == 0)


def training_progress(tokens_per_step: int, done: int, steps: int) -> TrainingProgress:
    """What fits standard output.

    Args:
        tokens_per_step: B · S · grad_accum.
        done: steps done before.
        steps: where the run ends.
    """
    if is_live():
        return LiveProgress(tokens_per_step, done, steps)
    return PlainProgress(tokens_per_step)


def describe_evaluation(report: EvalReport) -> str:
    """The figures of held-out text in one line."""
    return (
        f"held-out loss {report.loss:.3f}, perplexity {report.perplexity:.1f}, "
        f"{human.percent(report.accuracy)} of next tokens guessed right"
    )


@contextmanager
def stages() -> Iterator[Callable[..., None]]:
    """Show work that comes in stages: give the context's value (stage, done, total, note).

    A total of 0 is one that nobody knows; the note, which may be left out, stands behind the bar.
    The bar is gone when the work is done; what came of it is the caller's to say. Where standard
    output goes elsewhere, the bar is on standard error; where that is no terminal either, a line
    comes every ten seconds.
    """
    stream = next((name for name in ("stdout", "stderr") if is_live(name)), None)
    if stream is None:
        yield _Lines()
        return
    tasks: dict[str, Any] = {}
    texts = "{task.fields[share]}", "{task.fields[note]}"
    with _bar(*texts, transient=True, stream=stream) as bar:

        def show(stage: str, done: int, total: int, note: str = "") -> None:
            if stage not in tasks:
                for task in tasks.values():
                    bar.remove_task(task)
                tasks.clear()
                tasks[stage] = bar.add_task(
                    stage.capitalize(), total=total or None, share="", note=""
                )
            share = f"{100 * done / total:>3.0f}%" if total else ""
            bar.update(tasks[stage], completed=done, share=share, note=note)

        yield show


class _Lines:
    """Stages as lines in a log, on standard error, from the tenth second on."""

    def __init__(self) -> None:
        self._next = time.perf_counter() + LINES_EVERY_S

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        now = time.perf_counter()
        if now < self._next:
            return
        self._next = now + LINES_EVERY_S
        share = f"{100 * done / total:.0f}%" if total else ""
        say.fact(stage.capitalize(), f"{share} {note}".strip() or "…", err=True)


def _bar(
    *texts: str, transient: bool = False, expand: bool = False, stream: str = "stdout"
) -> Progress:
    """A rich progress bar: description, bar, then these columns."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        TextColumn(f"{{task.description:<{say.LABEL_WIDTH - 1}}}", markup=False),
        BarColumn(bar_width=None if expand else 40),
        *(TextColumn(text, markup=False) for text in texts),
        console=Console(file=getattr(sys, stream)),
        transient=transient,
        expand=expand,
        refresh_per_second=8,
    )
