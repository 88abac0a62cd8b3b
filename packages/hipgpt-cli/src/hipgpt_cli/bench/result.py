"""What a benchmark found: one row for each program, and the ratio to the first."""

from __future__ import annotations

import datetime as dt
import platform
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Row:
    """One program's figures on one piece of work; None where it has none.

    Attributes:
        work: what was done: "step", "read", "write", or an op's name and shape.
        program: "hipgpt", or the peer with its version and settings.
        milliseconds: of one step, one token of every row, or one call.
        tokens_per_s: over all rows.
        tflops: the arithmetic that the work needs, in 10¹² operations a second.
        utilisation: that over the card's peak.
        gbytes_per_s: the bytes that the work must move, in 10⁹ a second.
        memory: most bytes of the device's memory that the program held for it.
    """

    work: str
    program: str
    milliseconds: float
    tokens_per_s: float | None = None
    tflops: float | None = None
    utilisation: float | None = None
    gbytes_per_s: float | None = None
    memory: int | None = None


@dataclass
class Result:
    """All rows of one run.

    Attributes:
        title: what was measured, in one line.
        device: the device's description.
        settings: sizes and options.
        rows: ours before the peer's of the same work.
        notes: what a reader must know of them.
    """

    title: str
    device: str
    settings: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def ratio(self, row: Row) -> float | None:
        """How many times as long as ours this row took; None for ours."""
        if row.program == "hipgpt":
            return None
        ours = [one for one in self.rows if one.work == row.work and one.program == "hipgpt"]
        return row.milliseconds / ours[0].milliseconds if ours else None

    def to_dict(self) -> dict[str, Any]:
        """For JSON, with the day and the machine."""
        python = f"Python {platform.python_version()}"
        rows = [asdict(row) | {"times_ours": self.ratio(row)} for row in self.rows]
        return {
            "title": self.title,
            "date": dt.datetime.now(dt.UTC).date().isoformat(),
            "device": self.device,
            "machine": f"{platform.system()} {platform.machine()}, {python}",
            "settings": self.settings,
            "rows": rows,
            "notes": self.notes,
        }
