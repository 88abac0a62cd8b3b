"""Everything that is said in words: sentences, labelled facts, notes, the next command to type.

Facts go to standard output where they are the command's result (`train`, `info`) and to standard
error where the result is something else (`generate`). The odd thing: NO_COLOR is honoured here,
because click knows only whether the stream is a terminal.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

import click

from hipgpt_cli import human

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LABEL_WIDTH = 11

NARROWEST = 20
"""Columns below which a text is left to the terminal to break."""


def line(text: str = "", *, err: bool = False) -> None:
    """One line as it is."""
    click.echo(text, err=err, color=_color())


def fact(label: str, text: str, *, err: bool = False, width: int = LABEL_WIDTH) -> None:
    """A line `Label      text`; on a terminal the text's further lines stand below its first."""
    columns = shutil.get_terminal_size().columns
    copied = "\x1b" in text  # a command in a colour, which must stay in one piece
    if is_terminal("stderr" if err else "stdout") and columns >= width + NARROWEST and not copied:
        further = textwrap.wrap(
            text, columns - width, break_long_words=False, break_on_hyphens=False
        )
        text = f"\n{' ' * width}".join(further)
    line(f"{bold(label.ljust(width))}{text}", err=err)


def note(text: str) -> None:
    """Something the user should know and need not act on; on standard error."""
    line(f"{click.style('Note: ', fg='yellow')}{text}", err=True)


def left_out(files: Sequence[Path]) -> None:
    """A note on files of a folder that are no text; nothing where there are none."""
    if files:
        more = f" and {human.count(len(files) - 1)} more" if len(files) > 1 else ""
        note(f"left out, for it is no UTF-8 text: {files[0].name}{more}")


def quoted(text: str) -> None:
    """A passage of text, set in, so that it stands apart from what the program says itself."""
    for passage in text.splitlines() or [""]:
        line(f"    {passage}")


def next_command(*words: str) -> None:
    """The command that is worth typing now."""
    line()
    fact("Next", click.style(shlex.join(words), fg="green"))


def piece(text: str, *, err: bool = False) -> None:
    """Part of a line, shown at once: text while it is being made."""
    click.echo(text, nl=False, err=err, color=_color())


def dim(text: str) -> str:
    """Text in the background, where the terminal has such a thing."""
    return click.style(text, dim=True)


def bold(text: str) -> str:
    """Text in the foreground."""
    return click.style(text, bold=True)


def is_terminal(name: str = "stdout") -> bool:
    """Whether a person is at the other end of sys.stdout (or sys.stdin, sys.stderr)."""
    try:
        return bool(getattr(sys, name).isatty())
    except (AttributeError, ValueError):  # there is no such stream, or it is closed
        return False


def has_color() -> bool:
    """Whether standard output shows colours."""
    return is_terminal() and _color() is None


def _color() -> bool | None:
    """False where the user wants none, else None: click asks the stream."""
    return False if os.environ.get("NO_COLOR") else None
