"""`hipgpt train` on several processes: rank 0 is the command, the others follow it.

Rank 0 reads the command line, prepares the text and speaks; when it knows what is to be trained, it
tells the others, who make the same trainer and do what it says. The odd thing: whatever goes wrong
on a rank must end all of them, and be told once: an error of rank 0 between two common acts lets
the others go in peace, any other error ends the job.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hipgpt_cli import human, say
from hipgpt_cli.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hipgpt_cli.tokens import TokensInfo
    from hipgpt_kernels import Backend
    from hipgpt_model.config import GPTConfig, TrainConfig
    from hipgpt_model.data import TokenData
    from hipgpt_model.distributed.lead import LeadTrainer
    from hipgpt_model.distributed.world import World
    from hipgpt_model.train import Trainer


NAMING_S = 5.0
"""Seconds that the watch is given to say which rank has died."""


@dataclass(frozen=True)
class Task:
    """What is to be trained; sent from rank 0 to the others.

    Attributes:
        device: --device.
        threads: --threads.
        zero: --zero.
        timeout: --timeout.
        tokens: where the ids are, a path that all ranks see.
        info: what they are.
        model: the sizes.
        training: how.
        checkpoint: from which it goes on; None: from the beginning.
        weights: checkpoint whose weights it has in the beginning; None: random ones.
        tokenizer: fingerprint, checked against the checkpoint's.
        report_every: steps between readings of the loss.
        graph: --graph, for a process by itself.
    """

    device: str
    threads: int | None
    zero: int
    timeout: float
    tokens: Path
    info: TokensInfo
    model: GPTConfig
    training: TrainConfig
    checkpoint: Path | None
    weights: Path | None
    tokenizer: str
    report_every: int
    graph: bool


class Lead:
    """Rank 0's hold on the others; without others it makes an ordinary trainer.

    Args:
        world: the ranks; None: this process is alone.
    """

    def __init__(self, world: World | None) -> None:
        self.world = world
        self._trainer: LeadTrainer | None = None
        self._told = False

    @property
    def size(self) -> int:
        """How many processes there are."""
        return 1 if self.world is None else self.world.size

    @property
    def local_rank(self) -> int:
        """Number of the GPU that this process takes."""
        return 0 if self.world is None else self.world.local_rank

    def threads(self, asked: int | None) -> int | None:
        """CPU threads: those asked for, else a fair share of the machine's."""
        return asked if self.world is None else fair_threads(self.world, asked)

    def share(self, training: TrainConfig) -> TrainConfig:
        """The training as one process sees it: with its own rows of a batch.

        Raises:
            UserError: the batch cannot be shared out.
        """
        if self.world is None:
            return training
        size, rows = self.world.size, training.batch_size
        if rows % size:
            raise UserError(
                f"--batch {rows} cannot be shared out to {size} processes; take a multiple of "
                f"{size}, such as {-(-rows // size) * size}"
            )
        return replace(training, batch_size=rows // size)

    def trainer(self, task: Task, data: TokenData, backend: Backend) -> Trainer:
        """Make the trainer, here and on all other ranks."""
        from hipgpt_model.train import Trainer

        if self.world is None:
            return make(Trainer, task, data, backend)
        from hipgpt_model.distributed.lead import LeadTrainer

        size = self.world.size
        say.fact(
            "Ranks",
            f"{size}, each with {human.count(task.training.batch_size // size)} of "
            f"{human.count(task.training.batch_size)} rows of a batch, ZeRO {task.zero}",
        )
        self._told = True
        self.world.share(task)
        self._trainer = made = make(LeadTrainer, task, data, backend, self.world)
        return made

    @contextmanager
    def leading(self) -> Iterator[None]:
        """Inside, the others wait or follow; leaving lets them go."""
        if self.world is None:
            yield
            return
        try:
            yield
        except BaseException as error:
            self._release(error)
            raise
        self._release(None)

    def _release(self, error: BaseException | None) -> None:
        assert self.world is not None
        if self._trainer is not None and not self._trainer.busy:
            self._trainer.end()
        elif not self._told:
            self.world.share(None)
        elif error is not None:
            end_job(self.world, error)


def make(
    kind: type[Any], task: Task, data: TokenData, backend: Backend, world: World | None = None
) -> Any:
    """A trainer of a kind for a task."""
    ranks = None if world is None else ranks_of(world, task)
    options: dict[str, Any] = {
        "report_every": task.report_every,
        "graph": task.graph,
        "ranks": ranks,
    }
    if task.checkpoint is None:
        parameters = None
        if task.weights is not None:
            from hipgpt_model.warm_start import warm_start

            parameters = warm_start(
                task.weights,
                task.model,
                backend,
                tokenizer=task.tokenizer,
                dtype=task.training.dtype,
                ranks=ranks,
            )
        trainer = kind(task.model, task.training, data, backend, parameters, **options)
    else:
        trainer = kind.from_checkpoint(
            task.checkpoint,
            data,
            backend,
            tokenizer=task.tokenizer,
            train_config=task.training,
            **options,
        )
    if ranks is not None:
        from hipgpt_model.distributed.watch import Watch

        ranks.watch = Watch(ranks.world, task.timeout)
    return trainer


def ranks_of(world: World, task: Task) -> Any:
    """The trainer's view of the ranks."""
    from hipgpt_model.distributed.ranks import Ranks

    return Ranks(world, task.zero)


def fair_threads(world: World, asked: int | None) -> int:
    """CPU threads of one of several processes on a machine."""
    from hipgpt_kernels.cpu.threads import available_cores

    return asked or max(1, available_cores() // world.local_size)


def follow_lead(world: World) -> None:
    """All that a rank other than 0 does."""
    try:
        task: Task | None = world.share(None)
        if task is None:
            return  # rank 0 has told the user why
        from hipgpt_cli.device import open_device
        from hipgpt_cli.session import open_data
        from hipgpt_model.distributed.lead import follow
        from hipgpt_model.train import Trainer

        threads = fair_threads(world, task.threads)
        backend = open_device(task.device, threads, world.local_rank)
        data = open_data(task.tokens, task.info, task.model)
        follow(make(Trainer, task, data, backend, world))
    except BaseException as error:  # noqa: BLE001 - every error ends all ranks
        end_job(world, error)


def end_job(world: World, error: BaseException) -> None:
    """Tell of an error in one sentence and end every rank."""
    from hipgpt_cli.errors import describe

    sentence, status = describe(error)
    if world.lost_contact(error):
        time.sleep(NAMING_S)  # the watch knows which rank it is, and ends this process
        sentence, status = "another process of the job has died, or cannot be reached", 1
    sentence = sentence.removeprefix("Error: ")
    os.write(2, f"Error: rank {world.rank} on {world.host}: {sentence}\n".encode())
    world.abort(status or 1)
