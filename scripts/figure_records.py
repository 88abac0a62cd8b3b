"""The checked-in records of benchmarks, and how their figures are written in a table.

The odd thing: a table asks for records by name and says nothing of dates or cards; what it asked
for is noted, and the line under it (command, card, versions, date) follows from that.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "packages" / "hipgpt-cli" / "src"))

from hipgpt_cli.bench.result import OURS, Result, Row, read_result  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

RESULTS = ROOT / "benchmarks" / "results"

TOLD = ("torch", "transformers", "xllamacpp", "tiktoken", "tokenizers", "runtime", "Python")
"""Versions under a table, of which a record has some; drivers come after them."""

NAMES = {"torch": "PyTorch", "runtime": ""}
"""How the versions are called there; the runtime says its name itself."""


class Records:
    """Records by the stem of their file; remembers which were asked for.

    Attributes:
        found: all that are there.
        asked: stems that were asked for, in order, whether they are there or not.
    """

    def __init__(self, found: dict[str, Result]) -> None:
        self.found = found
        self.asked: list[str] = []

    @classmethod
    def load(cls, folder: Path) -> Records:
        """All of a folder."""
        return cls({path.stem: read_result(path) for path in sorted(folder.glob("*.json"))})

    def get(self, stem: str) -> Result | None:
        """One record, None where it is not there."""
        if stem not in self.asked:
            self.asked.append(stem)
        return self.found.get(stem)

    def used(self) -> list[Result]:
        """The records that were asked for and are there."""
        return [self.found[stem] for stem in self.asked if stem in self.found]


def find(
    record: Result, work: str, program: str = OURS, sizes: dict[str, Any] | None = None
) -> Row | None:
    """The first row of a piece of work whose program begins so and which has these sizes."""
    wanted = (sizes or {}).items()
    for row in record.rows:
        if row.work == work and row.program.startswith(program) and wanted <= row.sizes.items():
            return row
    return None


def ratio(record: Result, peer: Row | None, unit: str | None = None) -> str:
    """A peer's ratio in two decimals; nothing where there is none."""
    value = record.ratio(peer, unit) if peer else None
    return f"{value:.2f}" if value else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown.

    Raises:
        ValueError: it has no rows: no record was there.
    """
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    if not lines:
        raise ValueError("there is no record for this table")
    whole = "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines])
    return re.sub(r"(?<=\|) +(?= \|)", "", whole)  # of empty cells


def milliseconds(value: float) -> str:
    """A time in ms or s, with three digits."""
    return f"{three(value)} ms" if value < 1000 else f"{three(value / 1000)} s"


def three(value: float) -> str:
    """Three digits, more where the whole part has more: 0.286, 3.17, 68.5, 192, 1,748."""
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f}"


def gigabytes(value: float) -> str:
    """Bytes in GB: 0.06 GB, 13.1 GB."""
    return f"{value / 1e9:.{2 if value < 1e10 else 1}f} GB"


def origin(records: Iterable[Result]) -> str:
    """The line under a table: when, where and with which commands."""
    groups: dict[str, list[str]] = {}
    for record in records:
        groups.setdefault(_place(record), []).append(record.command)
    said = [f"{place}: {', '.join(_shortened(commands))}" for place, commands in groups.items()]
    return "Measured " + "; ".join(said) + "."


def dates_and_devices(records: Iterable[Result]) -> str:
    """The same without commands, for a page that is read in passing."""
    places = dict.fromkeys(f"on {device(record)}, {record.date}" for record in records)
    return "Measured " + "; ".join(places)


def device(record: Result) -> str:
    """The device and how many cores were beside it."""
    cores = record.machine.get("cores")
    name = re.sub(r", (NumPy|CUDA|HIP).*", "", record.device)
    if cores and "thread" not in name and "GiB" not in name:
        return f"{name}, {cores} cores"
    return name


def _place(record: Result) -> str:
    """Date, device and versions."""
    versions = [
        f"{NAMES.get(name, name)} {record.versions[name]}".strip().removesuffix(" through HIP")
        for name in (*TOLD, *(name for name in record.versions if name.endswith("driver")))
        if name in record.versions
    ]
    return ", ".join([record.date, device(record), *versions])


def _shortened(commands: Iterable[str]) -> list[str]:
    """Commands as code; of a program that was named just before, the options only."""
    said, last = [], ""
    for command in dict.fromkeys(commands):
        words = command.split(" ")
        count = 2 if words[0] == "python" else 1
        program, options = " ".join(words[:count]), " ".join(words[count:])
        said.append(f"`… {options}`" if program == last and options else f"`{command}`")
        last = program
    return said
