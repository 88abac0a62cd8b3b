"""Rank 0 leads, the others follow: before it does anything together, it says what.

So a program that trains on one process trains on many with the same loop, which runs on rank 0
alone; the other ranks are in `follow`. The odd thing: a step costs one small broadcast between the
hosts, some ten microseconds, and in return no two ranks can ever disagree about what comes next.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from hipgpt_model.distributed.checkpoint import save_together
from hipgpt_model.saving import Saved
from hipgpt_model.train import StepReport, Trainer

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping

    from hipgpt_model.checkpoint_header import CheckpointHeader
    from hipgpt_model.evaluate import EvalReport

STEP, EVALUATE, AVERAGE, PLAIN, SAVE, END = "step", "evaluate", "average", "plain", "save", "end"
"""What rank 0 says: AVERAGE and PLAIN enclose the use of the running average of the weights."""


class LeadTrainer(Trainer):
    """The trainer of rank 0, whose `ranks` must be given.

    Attributes:
        busy: it is doing something together with the others, who cannot leave it just now.
    """

    busy = False

    @contextmanager
    def _together(self, *words: Any) -> Iterator[None]:
        """Say what comes, and then do it."""
        assert self.ranks is not None
        self.busy = True
        self.ranks.world.share(words)
        if self.ranks.watch is not None:
            self.ranks.watch.beat()
        yield
        self.busy = False  # not after an error: the others are still in it

    def step_report(self) -> StepReport:
        """See `Trainer.step_report`."""
        with self._together(STEP):
            return super().step_report()

    def evaluate(self) -> EvalReport:
        """See `Trainer.evaluate`."""
        with self._together(EVALUATE), super().averaged():
            return self._evaluate()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """See `Trainer.averaged`."""
        if self.average is None:
            yield
            return
        context = super().averaged()
        with self._together(AVERAGE):
            context.__enter__()
        try:
            yield
        finally:
            with self._together(PLAIN):
                context.__exit__(None, None, None)

    def save(self, path: Path, header: CheckpointHeader) -> None:
        """Write a checkpoint with all ranks; see `save_together`."""
        assert self.ranks is not None
        with self._together(SAVE, path, header):
            save_together(path, header, self.state(), self.ranks.world, self.ranks.own)

    def end(self) -> None:
        """Let the others go."""
        assert self.ranks is not None
        with self._together(END):
            _leave(self)


def follow(trainer: Trainer) -> None:
    """Do what rank 0 says until it says that it is over; on every other rank.

    Args:
        trainer: made like rank 0's.
    """
    ranks = trainer.ranks
    assert ranks is not None
    average: Any = None
    while True:
        told: tuple[Any, ...] | None = ranks.world.share(None)
        word, *more = (END,) if told is None else told
        if ranks.watch is not None:
            ranks.watch.beat()
        if word == STEP:
            trainer.step_report()
        elif word == EVALUATE:
            trainer.evaluate()
        elif word == AVERAGE:
            average = trainer.averaged()
            average.__enter__()
        elif word == PLAIN:
            average.__exit__(None, None, None)
        elif word == SAVE:
            path, header = more
            save_together(path, header, trainer.state(), ranks.world, ranks.own)
        else:
            _leave(trainer)
            return


def _leave(trainer: Trainer) -> None:
    """The last that the ranks do together."""
    assert trainer.ranks is not None
    if trainer.ranks.watch is not None:
        trainer.ranks.watch.stop()
    trainer.backend.synchronize()
    trainer.ranks.exchange.close()


class TogetherSaver:
    """As `saving.BackgroundSaver`, but all ranks write one file, and training waits for it."""

    def __init__(self) -> None:
        self._saved: list[Saved] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def save(
        self,
        path: str | os.PathLike[str],
        trainer: LeadTrainer,
        tokenizer_fingerprint: str | None = None,
        *,
        metrics: Mapping[str, float] | None = None,
        done: Callable[[Saved], None] | None = None,
    ) -> None:
        """Write a checkpoint; arguments as for `BackgroundSaver.save`.

        Raises:
            OSError: a rank could not write.
        """
        began = time.perf_counter()
        path = Path(path).absolute()
        header = trainer.state().header(tokenizer_fingerprint, metrics)
        trainer.save(path, header)
        seconds = time.perf_counter() - began
        saved = Saved(path, header.step, path.stat().st_size, 0.0, seconds, beside=False)
        if done is not None:
            done(saved)
        self._saved.append(saved)

    def finished(self) -> list[Saved]:
        """The checkpoints completed since this was asked last."""
        saved, self._saved = self._saved, []
        return saved

    def wait(self) -> None:
        """Nothing is ever under way."""

    def cancel(self, seconds: float = 2.0) -> None:
        """Nothing is ever under way."""
