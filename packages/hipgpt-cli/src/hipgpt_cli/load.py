"""Find a trained model and the tokenizer that belongs to it: the newest run, a run, or a file.

The odd thing: a checkpoint names its tokenizer by fingerprint only, so the tokenizer is looked for
where the run keeps it, and refused if it is another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hipgpt_cli.device import compile_kernels
from hipgpt_cli.errors import UserError
from hipgpt_cli.nearest import meant_file
from hipgpt_cli.progress import stages
from hipgpt_cli.runs import find_run

if TYPE_CHECKING:
    from hipgpt_cli.runs import Run
    from hipgpt_kernels import Backend
    from hipgpt_model.checkpoint import CheckpointHeader
    from hipgpt_model.gpt import GPT
    from hipgpt_tokenizer import Tokenizer


SLOW_BYTES = 100_000_000
"""A file of this size takes long enough to read that something should be seen."""


@dataclass(frozen=True)
class Trained:
    """A trained model on disk.

    Attributes:
        checkpoint: its file.
        header: what the file says of itself.
        name: for people: the run's name, or the file's.
    """

    checkpoint: Path
    header: CheckpointHeader
    name: str

    def load(self, backend: Backend, dtype: str) -> GPT:
        """The model on a device; a bar moves while kernels are compiled and a large file is read.

        Raises:
            CheckpointError: the file is damaged.
            UserError: the kernels cannot be compiled.
        """
        from hipgpt_model.checkpoint import load_model

        compile_kernels(backend, err=True)
        if self.checkpoint.stat().st_size < SLOW_BYTES:
            return load_model(self.checkpoint, backend, dtype=dtype)
        with stages() as show:
            show("load", 0, 0)
            return load_model(self.checkpoint, backend, dtype=dtype)

    def tokenizer_path(self) -> Path | None:
        """The tokenizer.json beside the checkpoint, else in the folder above, else None."""
        folder = self.checkpoint.resolve().parent
        places = [folder / "tokenizer.json", folder.parent / "tokenizer.json"]
        return next((place for place in places if place.is_file()), None)

    def tokenizer(self, path: str | None = None) -> Tokenizer:
        """The tokenizer whose ids the model knows.

        Args:
            path: its file; None looks beside the checkpoint and in the folder above.

        Raises:
            UserError: there is none, or it is another one.
        """
        from hipgpt_tokenizer import Tokenizer

        found = Path(path) if path else self.tokenizer_path()
        if found is None:
            raise UserError(
                f"{self.checkpoint} has no tokenizer.json beside it or in the folder above; "
                "--tokenizer-path names it"
            )
        tokenizer = Tokenizer.load(found)
        trained_with = self.header.tokenizer
        if trained_with is not None and trained_with != tokenizer.fingerprint:
            raise UserError(
                f"{self.checkpoint} was trained with another tokenizer (fingerprint "
                f"{trained_with[:12]}…) than {found} ({tokenizer.fingerprint[:12]}…)"
            )
        if tokenizer.vocab_size != self.header.model.vocab_size:
            raise UserError(
                f"{found} has {tokenizer.vocab_size} ids and the model of {self.checkpoint} "
                f"{self.header.model.vocab_size}; it needs the tokenizer it was trained with"
            )
        return tokenizer


def named_model(name: str, runs_dir: str, step: int | None) -> Trained:
    """The model that one word on the command line means.

    Args:
        name: a run in `runs_dir`, the folder of a run, or a checkpoint file.
        runs_dir: the folder of runs.
        step: which of a run's checkpoints; None or -1: the newest.

    Raises:
        UserError: there is no such run or step.
        CheckpointError: the checkpoint is damaged.
    """
    from hipgpt_model.checkpoint import read_header

    step = None if step == -1 else step
    path = Path(name)
    if path.is_file():
        if step is not None:
            raise UserError(f"{name} is a file by itself; leave --step out")
        return Trained(path, read_header(path), path.stem)
    run = named_run(name, runs_dir)
    path = run.checkpoint_at(step)
    return Trained(path, read_header(path), run.name)


def named_run(name: str, runs_dir: str) -> Run:
    """The run that one word on the command line means: its name in `runs_dir`, or its folder.

    Raises:
        UserError: there is no such run.
    """
    from hipgpt_cli.runs import Run

    path = Path(name)
    if (path / "config.json").is_file() and not (Path(runs_dir) / name).is_dir():
        run = Run(path.resolve())
        run.read_config()
        return run
    if not (Path(runs_dir) / name).is_dir():
        if path.is_dir():
            raise UserError(f"{name} is a folder, but no run of hipgpt: it has no config.json")
        if path.suffix in {".msgpack", ".json"} or path.parent.name:
            raise UserError(f"{name}: there is no such file or run{meant_file(path)}")
    return find_run(Path(runs_dir), name)


def named_or_newest(name: str | None, runs_dir: str, step: int | None) -> Trained:
    """As `named_model`; without a name the run that was trained last."""
    if name is not None:
        return named_model(name, runs_dir, step)
    from hipgpt_model.checkpoint import read_header

    run = find_run(Path(runs_dir), None)
    path = run.checkpoint_at(None if step == -1 else step)
    return Trained(path, read_header(path), run.name)


def chosen_model(ctx: click.Context, params: dict[str, Any]) -> Trained:
    """The model that `option_sets.trained_options` mean; by default the newest run's newest.

    Raises:
        click.UsageError: a file and a run are both given.
        UserError: there is no such run or step.
        CheckpointError: the checkpoint is damaged.
    """
    from hipgpt_model.checkpoint import read_header

    step = None if params["step"] == -1 else params["step"]
    if params["checkpoint"] is not None:
        if params["run_name"] is not None or step is not None:
            raise click.UsageError(
                "--checkpoint is a file by itself; leave --run and --step out", ctx
            )
        path = Path(params["checkpoint"])
        return Trained(path, read_header(path), path.name)
    run = find_run(Path(params["runs_dir"]), params["run_name"])
    path = run.checkpoint_at(step)
    return Trained(path, read_header(path), run.name)
