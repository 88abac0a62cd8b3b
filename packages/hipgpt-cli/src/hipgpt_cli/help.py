"""How `--help` is laid out: examples that can be copied, and no line wider than the terminal.

The odd thing: click never writes narrower than 50 columns, and keeps names and texts side by side
however little room that leaves; here they stand below each other where it is too little.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import click
from click.formatting import wrap_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WIDEST = 100
"""Columns beyond which lines are hard to read."""

NARROW = 66
"""Columns below which a text does not fit beside its option."""

NARROWEST = 30


class Formatter(click.HelpFormatter):
    """click's, for terminals of any width."""

    def __init__(
        self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None
    ) -> None:
        if width is None:
            columns = shutil.get_terminal_size().columns
            width = max(min(columns, max_width or WIDEST) - 2, NARROWEST)
        super().__init__(indent_increment, width, max_width)

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """Names and what they mean: side by side, or below each other where that is too wide."""
        if self.width >= NARROW:
            super().write_dl(rows, col_max, col_spacing)
            return
        name, text = " " * self.current_indent, " " * (self.current_indent + 4)
        for first, second in rows:
            self.write(wrap_text(first, self.width, name, text), "\n")
            if second:
                self.write(wrap_text(second, self.width, text, text), "\n")

    def write(self, *strings: str) -> None:
        """Append texts."""
        for string in strings:
            super().write(string)


class Context(click.Context):
    """A context whose help is laid out by `Formatter`."""

    formatter_class = Formatter


def write_examples(formatter: click.HelpFormatter, examples: Sequence[str]) -> None:
    """A section of command lines, never wrapped: they are there to be copied."""
    if examples:
        with formatter.section("Examples"):
            formatter.write(
                "".join(f"{' ' * formatter.current_indent}{line}\n" for line in examples)
            )


def greeting(title: str, rows: Sequence[tuple[str, str]], more: str) -> str:
    """What a program says that is called without a word: what it is and what to type first.

    Args:
        title: one sentence.
        rows: a command line and what it does, each.
        more: the last row's command line, which tells of everything else.
    """
    formatter = Formatter()
    formatter.write(wrap_text(title, formatter.width), "\n\n")
    with formatter.indentation():
        formatter.write_dl([*rows, (more, "everything else")], col_max=44)
    return formatter.getvalue()
