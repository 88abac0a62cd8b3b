"""Lines from whoever is at the other end: a terminal with editing and history, or a pipe.

The odd thing: three ways. prompt_toolkit where it is installed, else Python's readline, and plain
lines where no terminal is; what is asked on a terminal never goes into a pipe of answers.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hipgpt_cli import say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


def open_terminal(commands: Sequence[str], history: Path | None) -> Callable[[str], str | None]:
    """A function that asks: prompt -> the line, or None where there are no more.

    Args:
        commands: words that can be completed at the beginning of a line.
        history: file of earlier lines; None: only those of this run.
    """
    if not say.is_terminal("stdin"):
        return _from_pipe
    if say.is_terminal():
        try:
            return _with_prompt_toolkit(commands, history)
        except ImportError:
            pass
    return _with_readline()


def _from_pipe(prompt: str) -> str | None:  # noqa: ARG001 - nobody is there to see it
    line = sys.stdin.readline()
    return line.removesuffix("\n").removesuffix("\r") if line else None


def _with_readline() -> Callable[[str], str | None]:
    with suppress(ImportError):
        import readline  # noqa: F401 - input() then knows the arrow keys and the earlier lines

    def ask(prompt: str) -> str | None:
        try:
            if say.is_terminal():
                return input(prompt)
        except EOFError:
            say.line()
            return None
        say.piece(prompt, err=True)
        return _from_pipe(prompt)

    return ask


def _with_prompt_toolkit(
    commands: Sequence[str], history: Path | None
) -> Callable[[str], str | None]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory, InMemoryHistory
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _(event: Any) -> None:
        """Alt+Enter: a new line in what is typed."""
        event.current_buffer.insert_text("\n")

    @keys.add("c-c")
    def _(event: Any) -> None:
        """Ctrl-C: drop what is typed; where nothing is, end."""
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt)

    session: PromptSession[str] = PromptSession(
        history=InMemoryHistory() if history is None else FileHistory(_private(history)),
        key_bindings=keys,
        completer=WordCompleter(list(commands), sentence=True),
        complete_while_typing=False,
        enable_history_search=True,
    )

    def ask(prompt: str) -> str | None:
        try:
            return session.prompt(prompt)
        except EOFError:
            return None

    return ask


def _private(path: Path) -> str:
    """Make the file one that only its owner can read; where it cannot be had, nothing is kept."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError:
        import os

        return os.devnull
    return str(path)
