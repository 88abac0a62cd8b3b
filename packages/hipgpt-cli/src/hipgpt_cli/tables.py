"""Tables, the only place that draws them; plain enough to be read in a log or through a pipe."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hipgpt_cli import say

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDE = 200
"""Columns of what is not a terminal."""


def show_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    total: bool = False,
) -> None:
    """Print a table on standard output.

    Args:
        title: stands above it.
        columns: headings.
        rows: one text a column.
        right: headings of the columns whose texts end at the same place: numbers.
        total: the last row is a sum, and is set apart.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    say.line(say.bold(title))
    table = Table(box=SIMPLE_HEAD, show_edge=False)
    for place, column in enumerate(columns):
        # A name can be broken where the terminal is narrow; a number cannot.
        longest = max((len(row[place]) for row in rows), default=0) if column in right else None
        table.add_column(
            column,
            justify="left" if longest is None else "right",
            overflow="fold",
            min_width=None if longest is None else longest + 2,  # and a space on both sides
        )
    for place, row in enumerate(rows):
        table.add_row(*map(Text, row), end_section=total and place == len(rows) - 2)
    # A file or a pipe has no edge at which a line would have to be broken.
    width = None if say.is_terminal() else WIDE
    console = Console(
        file=sys.stdout,
        highlight=False,
        width=width,
        color_system="auto" if say.has_color() else None,
    )
    console.print(table)
    say.line()
