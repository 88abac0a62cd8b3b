"""Tables, the only place that draws them; plain enough to be read in a log or through a pipe."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

from hipgpt_cli import say

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDE = 200
"""Columns of what is not a terminal."""

NARROW = 60
"""Columns below which headings of numbers are one word a line."""


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
    narrow = say.is_terminal() and shutil.get_terminal_size().columns < NARROW
    for column in columns:
        # A name can be broken where there is too little room; a number cannot.
        number = column in right
        table.add_column(
            column.replace(" ", "\n") if narrow and number else column,
            justify="right" if number else "left",
            overflow="fold",
            no_wrap=number,
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
