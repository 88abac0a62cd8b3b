"""A benchmark's result as a table on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hipgpt_cli import human, say
from hipgpt_cli.tables import show_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from hipgpt_cli.bench.result import Result, Row

MANY = 4
"""More pieces of work than this get one line each."""
UNITS: dict[str, tuple[str, Callable[[float], str]]] = {
    "ms": ("ms", "{:.4g}".format),
    "tokens/s": ("tokens/s", "{:,.0f}".format),
    "TFLOP/s": ("TFLOP/s", "{:.3g}".format),
    "of peak": ("of peak", human.percent),
    "GB/s": ("GB/s", "{:,.3g}".format),
    "memory": ("bytes", lambda value: human.size(int(value))),
}
"""Column -> the unit of its figures, and how one is written."""
NUMBERS = (*UNITS, "time")


def show_result(result: Result) -> None:
    """Print it; columns that nobody fills are left out."""
    if len({row.work for row in result.rows}) > MANY:
        _show_by_work(result)
        return
    rows = [_row(result, row) for row in result.rows]
    names = ("work", "program", *NUMBERS)
    kept = [i for i in range(len(names)) if any(row[i] for row in rows)]
    show_table(
        result.title,
        [names[i] for i in kept],
        [[row[i] for i in kept] for row in rows],
        right=NUMBERS,
    )
    for note in result.notes:
        say.line(note)
    if "time" in [names[i] for i in kept]:
        say.line("time: the peer's over ours; above 1, hipgpt is faster")


def _show_by_work(result: Result) -> None:
    """One line for each piece of work, the programs beside each other."""
    programs = list(dict.fromkeys(row.program for row in result.rows))
    cells: dict[str, list[str]] = {}
    for row in result.rows:
        if row.program == programs[0]:
            full = _row(result, row)
            cells[row.work] = [row.work, full[2], "", full[4], full[5], full[6], ""]
        else:
            cells[row.work][2] = f"{row.figures['ms']:.4g}"
            cells[row.work][6] = f"{result.ratio(row) or 0:.2f}×"
    names = ("work", "ms", "torch ms", "TFLOP/s", "of peak", "GB/s", "time")
    kept = [i for i in range(len(names)) if any(row[i] for row in cells.values())]
    lines = [[row[i] for i in kept] for row in cells.values()]
    columns = [names[i] for i in kept]
    show_table(result.title, columns, lines, right=[*NUMBERS, "torch ms"])
    if len(programs) > 1:
        say.line(f"ms, TFLOP/s, GB/s: hipgpt; torch ms: {programs[1]}")
        say.line("time: the peer's over ours; above 1, hipgpt is faster")


def _row(result: Result, row: Row) -> list[str]:
    cells = [
        write(row.figures[unit]) if unit in row.figures else "" for unit, write in UNITS.values()
    ]
    ratio = result.ratio(row)
    return [row.work, row.program, *cells, f"{ratio:.2f}×" if ratio else ""]
