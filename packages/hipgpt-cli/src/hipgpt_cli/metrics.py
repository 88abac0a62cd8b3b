"""metrics.jsonl: one JSON object a line, one line a report, in the order of the steps.

Training lines have step, loss, accuracy, learning_rate, norm, tokens_per_s, elapsed_s; lines of an
evaluation have step, validation_loss, validation_perplexity, validation_accuracy. The odd thing: a
number that JSON does not know (a loss of infinity) is written as null.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from hipgpt_cli.files import replacing

if TYPE_CHECKING:
    from pathlib import Path


class Metrics:
    """Appends to a metrics.jsonl; every line is on disk when `add` returns.

    Args:
        path: the file.
        after: lines of later steps are dropped, with any line cut short by a crash.
    """

    def __init__(self, path: Path, after: int = 0) -> None:
        self.path = path
        if path.exists():
            lines = [line for line in _lines(path) if line["step"] <= after]
            with replacing(path) as file:
                for line in lines:
                    file.write(_dumps(line).encode())

    def add(self, step: int, **values: float | None) -> None:
        """Write one line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_dumps({"step": step, **values}))


def _lines(path: Path) -> list[dict[str, Any]]:
    """The lines that are whole."""
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            lines.append(line)
    return lines


def _dumps(line: dict[str, Any]) -> str:
    finite = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in line.items()
    }
    return json.dumps(finite) + "\n"
