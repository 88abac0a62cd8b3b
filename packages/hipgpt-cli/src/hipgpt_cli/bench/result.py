"""What a benchmark found: the one form of record for all benchmarks of this repository.

The programs in `packages/*/benchmarks` write it with --json, `hipgpt bench` does, and
`scripts/performance_tables.py` makes the tables of the docs from it. The odd thing: the name of a
figure is its unit, and says which way is better: rates ("tokens/s", "TB/s") upwards, everything
else (times, bytes, distances) downwards.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from hipgpt_cli.bench.machine import typed_command

OURS = "hipgpt"
"""The program that all others are held against."""


@dataclass
class Row:
    """One program's figures on one piece of work.

    Attributes:
        work: what was done: "step", "read", "write", an op's name.
        program: "hipgpt", or the peer with its version and settings.
        figures: numbers by unit, the one that counts first: "ms", "s", "tokens/s", "TFLOP/s",
            "TB/s", "bytes" (the most memory held for it), "of peak" (a share), "nats".
        sizes: of this piece of work, where the pieces of one run differ: {"M": 1, "K": 768}.
    """

    work: str
    program: str
    figures: dict[str, float]
    sizes: dict[str, Any] = field(default_factory=dict)


def figures(found: dict[str, float | None]) -> dict[str, float]:
    """Those that are known."""
    return {unit: value for unit, value in found.items() if value is not None}


@dataclass
class Result:
    """All rows of one run, with what one must know to repeat it.

    Attributes:
        title: what was measured, in one line.
        device: the device's description.
        settings: sizes and options.
        machine: processor, cores and system, see `machine.machine`.
        versions: version by name, see `machine.versions`.
        rows: ours before the peers' of the same work.
        notes: what a reader must know of them.
        command: as typed, less where the record was written to.
        date: of the run, ISO 8601, UTC.
    """

    title: str
    device: str
    settings: dict[str, Any]
    machine: dict[str, Any]
    versions: dict[str, str]
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    command: str = field(default_factory=typed_command)
    date: str = field(default_factory=lambda: dt.datetime.now(dt.UTC).date().isoformat())

    def ours(self, row: Row) -> Row | None:
        """Our row of the same work; None where there is none."""
        same = (one for one in self.rows if (one.work, one.sizes) == (row.work, row.sizes))
        return next((one for one in same if one.program == OURS), None)

    def ratio(self, row: Row, unit: str | None = None) -> float | None:
        """How much better we do than this row: above 1, hipgpt is faster (or smaller).

        Args:
            row: a peer's.
            unit: of the figure; None takes the row's first.

        Returns:
            None for our own rows, and where one of the two has no such figure.
        """
        ours = self.ours(row)
        unit = unit or next(iter(row.figures), "")
        if ours is None or row.program == OURS:
            return None
        mine, theirs = ours.figures.get(unit), row.figures.get(unit)
        if not mine or not theirs:
            return None
        return mine / theirs if unit.endswith("/s") else theirs / mine

    def to_dict(self) -> dict[str, Any]:
        """For JSON; each peer's row with its ratio."""
        rows = [asdict(row) | {"ratio": self.ratio(row)} for row in self.rows]
        return {one.name: getattr(self, one.name) for one in fields(self)} | {"rows": rows}

    @classmethod
    def from_dict(cls, data: Any) -> Result:
        """The result that `to_dict` gave.

        Raises:
            ValueError: it is something else.
        """
        names = {one.name for one in fields(cls)}
        if not isinstance(data, dict) or set(data) != names:
            missing = sorted(names - set(data)) if isinstance(data, dict) else sorted(names)
            raise ValueError(f"this is no record of a benchmark: it lacks {', '.join(missing)}")
        try:
            rows = [
                Row(row["work"], row["program"], dict(row["figures"]), dict(row["sizes"]))
                for row in data["rows"]
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                "this is no record of a benchmark: a row must have work, program, figures and sizes"
            ) from error
        return cls(**(data | {"rows": rows}))

    def write(self, path: str | Path) -> None:
        """Write the JSON file."""
        Path(path).write_text(self.to_json() + "\n", encoding="utf-8")

    def to_json(self) -> str:
        """The record as text."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False)


def read_result(path: str | Path) -> Result:
    """The record in a file.

    Raises:
        ValueError: it holds none.
    """
    try:
        return Result.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
