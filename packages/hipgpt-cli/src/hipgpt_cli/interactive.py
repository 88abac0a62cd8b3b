"""The loop of `hipgpt generate` on a terminal: type the beginning of a text, read how it goes on.

The odd thing: Ctrl-C ends the text that is being written, not the program; at the prompt it does.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from hipgpt_cli import say

if TYPE_CHECKING:
    from collections.abc import Callable

PROMPT = "> "


def converse(write: Callable[[str, int], None]) -> None:
    """Ask for prompts until there are no more.

    Args:
        write: called with the prompt and its number, from 0; shows the text.
    """
    with suppress(ImportError):
        import readline  # noqa: F401 - input() then knows the arrow keys and the earlier lines

    say.line("Type the beginning of a text; exit or Ctrl-D ends.", err=True)
    number = 0
    while True:
        try:
            prompt = _ask()
        except EOFError:
            say.line(err=True)
            return
        if prompt.strip() in {"exit", "quit"}:
            return
        if not prompt:
            continue
        try:
            write(prompt, number)
        except KeyboardInterrupt:
            say.line()
        number += 1


def _ask() -> str:
    if say.is_terminal():
        return input(PROMPT)
    say.piece(PROMPT, err=True)  # standard output goes elsewhere and gets only the text
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.removesuffix("\n")
