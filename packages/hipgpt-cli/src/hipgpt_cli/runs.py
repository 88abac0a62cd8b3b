"""A run on disk: the folder runs/<name>/ and everything about where its files are.

    tokenizer.json  tokens.bin  tokens.json     the text as ids, and what they were made from
    checkpoints/step-00000500.msgpack           the newest few
    latest  best                                the name of the newest checkpoint, and of the best
    metrics.jsonl  samples.jsonl  config.json   what happened, and how it was asked for
    metrics.csv  tensorboard/  report.html      the same for other programs, and to look at
    lock                                        while a process trains here (`lock.py`)

The odd thing: which checkpoint or run is newest is decided by the step in a file's name and the
time in config.json, never by the file system's times, which a copy of the folder changes.
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hipgpt_cli.errors import UserError
from hipgpt_cli.files import read_json_object, write_json, write_text
from hipgpt_cli.nearest import meant

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hipgpt_cli.retention import Keep

FORMAT = {"format": "hipgpt-run", "version": 1}

_CHECKPOINT = re.compile(r"step-(\d{8,})\.msgpack")
_LEFTOVER = re.compile(r"\..+\.part")
"""What a process that was killed was just writing."""
_FORBIDDEN = re.compile(r'[/\\:*?"<>|\x00-\x1f]')


class Run:
    """One run's folder.

    Args:
        path: the folder, which need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.tokenizer = path / "tokenizer.json"
        self.tokens = path / "tokens.bin"
        self.checkpoint_folder = path / "checkpoints"
        self.latest = path / "latest"
        self.best = path / "best"
        self.lock = path / "lock"
        self.metrics = path / "metrics.jsonl"
        self.metrics_csv = path / "metrics.csv"
        self.tensorboard = path / "tensorboard"
        self.report = path / "report.html"
        self.samples = path / "samples.jsonl"
        self.config = path / "config.json"

    def read_config(self) -> dict[str, Any]:
        """What the run was asked to do.

        Raises:
            UserError: the folder is not a run, or its config.json is damaged.
        """
        if not self.config.is_file():
            raise UserError(f"{self.path} is not a run of hipgpt: it has no config.json")
        config = read_json_object(self.config)
        if config.get("format") != FORMAT["format"] or config.get("version") != FORMAT["version"]:
            raise UserError(
                f"{self.config} has format {config.get('format')!r} and version "
                f"{config.get('version')!r}; this hipgpt reads {FORMAT['format']!r}, version "
                f"{FORMAT['version']}"
            )
        _check_config(config, self.config)
        return config

    def write_config(self, config: dict[str, Any]) -> None:
        """Save what the run was asked to do, with the time."""
        now = datetime.now(UTC).isoformat()
        created = config.get("created", now)
        write_json(self.config, {**FORMAT, **config, "created": created, "updated": now})

    def checkpoint(self, step: int) -> Path:
        """The path of the checkpoint after `step` steps."""
        return self.checkpoint_folder / f"step-{step:08}.msgpack"

    def checkpoints(self) -> list[tuple[int, Path]]:
        """(step, path) of every checkpoint, by step."""
        if not self.checkpoint_folder.is_dir():
            return []
        found = [
            (int(match[1]), path)
            for path in self.checkpoint_folder.iterdir()
            if (match := _CHECKPOINT.fullmatch(path.name))
        ]
        return sorted(found)

    def newest_checkpoint(self) -> Path | None:
        """The checkpoint that `latest` names; without such a file, the one of the last step."""
        try:
            named = self.checkpoint_folder / self.latest.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            pass
        else:
            if _CHECKPOINT.fullmatch(named.name) and named.is_file():
                return named
        found = self.checkpoints()
        return found[-1][1] if found else None

    def checkpoint_at(self, step: int | None) -> Path:
        """The checkpoint of a step; None is the newest.

        Raises:
            UserError: there is none; the sentence says which there are.
        """
        found = self.checkpoints()
        newest = self.newest_checkpoint()
        if newest is None:
            raise UserError(f"run {self.name} has no checkpoint yet, in {self.checkpoint_folder}")
        if step is None:
            return newest
        if step not in dict(found):
            steps = ", ".join(str(number) for number, _ in found)
            raise UserError(f"run {self.name} has no checkpoint of step {step}; it has {steps}")
        return self.checkpoint(step)

    def saved(self, step: int, keep: Keep) -> None:
        """Name a checkpoint just written as the newest, and delete those that are too many."""
        write_text(self.latest, self.checkpoint(step).name + "\n")
        found = self.checkpoints()
        best = keep.best_of(found)
        if best:
            write_text(self.best, self.checkpoint(best[0]).name + "\n")
        chosen = keep.choose(found)
        for other, path in found:
            if other not in chosen and other != step:
                path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Delete what a process that was killed was just writing. The run must be locked."""
        for folder in (self.path, self.checkpoint_folder):
            if folder.is_dir():
                for path in folder.iterdir():
                    if _LEFTOVER.fullmatch(path.name):
                        path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Delete what a run writes into its folder, and the folder if nothing else is in it."""
        for _, path in self.checkpoints():
            path.unlink()
        self.sweep()
        for path in (
            self.tokenizer,
            self.tokens,
            self.tokens.with_suffix(".json"),
            self.latest,
            self.best,
            self.metrics,
            self.metrics_csv,
            self.report,
            *self.tensorboard.glob("events.out.tfevents.*"),
            self.samples,
            self.config,
        ):
            path.unlink(missing_ok=True)
        for folder in (self.checkpoint_folder, self.tensorboard, self.path):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def check_name(name: str) -> str:
    """A name that is one folder on every system, or ValueError.

    >>> check_name("shakespeare-2")
    'shakespeare-2'
    """
    if not name or name.startswith(".") or name != name.strip() or _FORBIDDEN.search(name):
        raise ValueError(
            f"{name!r} is no name for a run; it names one folder, so it has no path separator, "
            'none of : * ? " < > |, no dot in front and no space at its ends'
        )
    return name


def new_run(runs_dir: Path, name: str | None, corpus: str, now: datetime | None = None) -> Run:
    """Make the folder of a new run.

    Args:
        runs_dir: the folder that holds the runs; made where it is missing.
        name: the run's name; None makes one from the time and the corpus, such as
            20261121-0915-shakespeare.
        corpus: short name of the text.
        now: local time; None is the present.
    """
    if name is not None:
        path = runs_dir / name
        path.mkdir(parents=True, exist_ok=True)
        return Run(path)
    stem = f"{now or datetime.now().astimezone():%Y%m%d-%H%M}-{corpus}"
    runs_dir.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        path = runs_dir / (stem if number == 1 else f"{stem}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return Run(path)


def find_run(runs_dir: Path, name: str | None) -> Run:
    """The named run; None is the run that was trained last and has a checkpoint.

    Raises:
        UserError: there is none; the sentence says what there is, or what to type.
    """
    if name is not None:
        run = Run(runs_dir / name)
        if not run.path.is_dir():
            raise UserError(f"there is no run {name} in {runs_dir}{_others(runs_dir, name)}")
        run.read_config()
        return run
    runs = [run for run in all_runs(runs_dir) if run.newest_checkpoint() is not None]
    if not runs:
        raise UserError(f"there is no trained run in {runs_dir}: hipgpt train makes one")
    return max(runs, key=lambda run: (str(run.read_config().get("updated", "")), run.name))


def newest_run(runs_dir: Path) -> Run:
    """The run that was trained last, with a checkpoint or without.

    Raises:
        UserError: there is none.
    """
    runs = all_runs(runs_dir)
    if not runs:
        raise UserError(f"there is no run in {runs_dir}: hipgpt train makes one")
    return max(runs, key=lambda run: (str(run.read_config().get("updated", "")), run.name))


def all_runs(runs_dir: Path) -> list[Run]:
    """Every folder with a config.json, by name."""
    if not runs_dir.is_dir():
        return []
    return [Run(path) for path in sorted(runs_dir.iterdir()) if (path / "config.json").is_file()]


@contextmanager
def dropped_on_error(run: Run) -> Iterator[None]:
    """Take a new run's files away again when an error comes before its first checkpoint."""
    try:
        yield
    except BaseException:
        if not run.checkpoints():
            run.clear()
            with suppress(OSError):
                run.path.parent.rmdir()  # only where nothing else is in it
        raise


def run_of(checkpoint: Path) -> Run | None:
    """The run that a checkpoint's file lies in, if it lies in one."""
    run = Run(checkpoint.resolve().parent.parent)
    return run if run.config.is_file() else None


def copy_inputs(source: Run, target: Run) -> None:
    """Give a run that branches off the tokenizer and tokens of the run it comes from."""
    tokens = source.tokens, source.tokens.with_suffix(".json")
    for path in (source.tokenizer, *tokens):
        if not path.is_file():
            continue
        copy = target.path / path.name
        if path.suffix == ".bin":  # may be large, and nobody ever writes into it: share it
            with suppress(OSError):
                os.link(path, copy)
                continue
        shutil.copyfile(path, copy)


def _others(runs_dir: Path, name: str) -> str:
    """The end of a sentence about a run that is not there: the nearest ones, else some."""
    names = [run.name for run in all_runs(runs_dir)]
    if not names:
        return ", which has none yet"
    some = f"; there {'are' if len(names) > 1 else 'is'} {', '.join(names[-5:])}"
    return meant(name, names, most=3) or some


_CONFIG_TYPES: dict[str, tuple[type, ...]] = {
    "options": (dict,),
    "model": (dict,),
    "training": (dict,),
    "text_sha256": (str, type(None)),
    "tokens_path": (str, type(None)),
    "created": (str,),
    "updated": (str,),
}
_COUNTS = ("ckpt_every", "keep_last", "keep_best", "keep_every", "log_every", "sample_every")
_AT_LEAST_ONE = ("keep_last", "log_every")


def _check_config(config: dict[str, Any], path: Path) -> None:
    """Refuse a config.json whose values are of other types than hipgpt writes, by name."""
    for name, types in _CONFIG_TYPES.items():
        if name in config and not isinstance(config[name], types):
            raise UserError(
                f"{path} is damaged: {name} is {str(config[name])[:80]!r}, which no hipgpt wrote"
            )
    settled = config.get("options", {})
    for name in _COUNTS:
        value, low = settled.get(name, 1), int(name in _AT_LEAST_ONE)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value < 1 << 63:
            raise UserError(
                f"{path} is damaged: {name} is {str(value)[:80]!r}, expected a whole number of at "
                f"least {low}"
            )
    for name in ("data", "init_from"):
        if not isinstance(settled.get(name) or "-", str):
            raise UserError(f"{path} is damaged: {name} is no text")
