"""metrics.jsonl and metrics.csv: one line a report, in the order of the steps.

Training lines have step, loss, accuracy, learning_rate, norm, tokens_per_s, elapsed_s and whatever
else the training counts; lines of an evaluation have step, validation_loss, validation_perplexity,
validation_accuracy. The odd thing: a number that JSON does not know (a loss of infinity) is written
as null. metrics.csv is the same table for spreadsheets, with an empty cell where there is nothing;
it is made anew from metrics.jsonl when a run goes on or a new column appears.
"""

from __future__ import annotations

import csv
import io
import json
import math
from typing import TYPE_CHECKING, Any, Protocol

from hipgpt_cli.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

COLUMNS = (
    "step", "loss", "accuracy", "learning_rate", "norm", "tokens_per_s", "elapsed_s",
    "validation_loss", "validation_perplexity", "validation_accuracy",
)  # fmt: skip
"""The columns that metrics.csv begins with."""


class Follower(Protocol):
    """Somebody else who wants the figures: the writer of TensorBoard's events."""

    def add(self, step: int, **values: float | None) -> None:
        """Figures of a step."""

    def sample(self, step: int, prompt: str, text: str) -> None:
        """What the model wrote after a prompt."""


class Metrics:
    """Appends to metrics.jsonl and metrics.csv; every line is on disk when `add` returns.

    Args:
        path: of metrics.jsonl; the other file lies beside it.
        after: lines of later steps are dropped, with any line cut short by a crash.
        followers: are told every line, too.
    """

    def __init__(self, path: Path, after: int = 0, followers: Iterable[Follower] = ()) -> None:
        self.path = path
        self.csv = path.with_suffix(".csv")
        self._followers = tuple(followers)
        self._columns = list(COLUMNS)
        if path.exists():
            lines = [line for line in read_lines(path) if line["step"] <= after]
            with replacing(path) as file:
                for line in lines:
                    file.write(_dumps(line).encode())
        self._write_csv()

    def add(self, step: int, **values: float | None) -> None:
        """Write one line."""
        line = {"step": step, **values}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_dumps(line))
        if line.keys() <= set(self._columns):
            with self.csv.open("a", encoding="utf-8", newline="") as file:
                file.write(self._row(line))
        else:
            self._write_csv()
        for follower in self._followers:
            follower.add(step, **values)

    def sample(self, step: int, prompt: str, text: str) -> None:
        """Tell the followers of a sample, which has a file of its own."""
        for follower in self._followers:
            follower.sample(step, prompt, text)

    def _write_csv(self) -> None:
        """Make metrics.csv from metrics.jsonl."""
        lines = read_lines(self.path) if self.path.exists() else []
        found = dict.fromkeys(name for line in lines for name in line)
        self._columns += [name for name in found if name not in self._columns]
        with replacing(self.csv) as file:
            file.write((",".join(self._columns) + "\n").encode())
            for line in lines:
                file.write(self._row(line).encode())

    def _row(self, line: dict[str, Any]) -> str:
        text = io.StringIO()
        values = _finite(line)
        csv.writer(text, lineterminator="\n").writerow([values.get(name) for name in self._columns])
        return text.getvalue()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl that are whole."""
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict) and type(line.get("step")) is int:
            lines.append(line)
    return lines


def _finite(line: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in line.items()
    }


def _dumps(line: dict[str, Any]) -> str:
    return json.dumps(_finite(line)) + "\n"
