"""The one door for errors: every way a command can fail ends here, as one sentence and a status.

Status 2 is a mistake in the command line, 1 anything else, 128 + signal a stop that was asked for.
The odd thing: a ValueError counts as a sentence for the user only if a hipgpt package raised it;
from anywhere else it is a defect, and is reported as one. HIPGPT_DEBUG=1 shows the traceback.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from collections.abc import Callable

FULL = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})
"""What the system says when no more bytes can be written: disk, file size limit, quota."""

_SENTENCES = (ValueError, TypeError, FloatingPointError, RuntimeError)
"""What the libraries raise with a sentence that is meant for people."""


class UserError(click.ClickException):
    """Something other than the command line is wrong; the message is the whole sentence."""


class StoppedError(Exception):
    """A signal asked the program to end.

    Args:
        signal: the signal's number; the exit status is 128 + signal.
        message: what to tell the user.
    """

    def __init__(self, signal: int, message: str = "Stopped.") -> None:
        super().__init__(message)
        self.signal = signal
        self.message = message


def exit_on_error(run: Callable[[], Any]) -> NoReturn:
    """Call run() and end the process with its status; a failure is told in one sentence."""
    try:
        status = run()
        _flush()
    except BaseException as error:  # noqa: BLE001 - the one door
        status = _report(error)
    sys.exit(status if isinstance(status, int) else 0)


def _report(error: BaseException) -> int:
    """Tell the user of an error on standard error; return the exit status."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, BrokenPipeError):
        # Whoever read our output has seen enough: `hipgpt generate | head -1`.
        _silence(sys.stdout)
        return 1
    if os.environ.get("HIPGPT_DEBUG", "") not in {"", "0"}:
        import traceback

        traceback.print_exception(error)
    sentence, status = describe(error)
    _say(sentence)
    return status


def describe(error: BaseException) -> tuple[str, int]:
    """One sentence about an error, and the exit status it deserves.

    >>> describe(UserError("x is empty"))
    ('Error: x is empty', 1)
    """
    if isinstance(error, StoppedError):
        return error.message, 128 + error.signal
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return "Stopped.", 130
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return error.format_message(), error.exit_code
    if isinstance(error, click.NoSuchOption):
        return _describe_no_option(error), error.exit_code
    if isinstance(error, click.UsageError):
        help_hint = f"\nTry {error.ctx.command_path} --help." if error.ctx else ""
        return f"Error: {error.format_message()}{help_hint}", error.exit_code
    if isinstance(error, click.ClickException):
        return f"Error: {error.format_message()}", error.exit_code
    if isinstance(error, MemoryError):
        return "Error: out of memory; a smaller --batch, --seq or --dim needs less.", 1
    if isinstance(error, OSError) and error.errno is not None:
        return f"Error: {describe_os_error(error)}", 1
    if isinstance(error, (OSError, *_SENTENCES)) and _is_ours(error):
        return f"Error: {error}", 1
    what = f"{type(error).__name__}: {error}"
    return f"Error: a defect in hipgpt, {what}; HIPGPT_DEBUG=1 shows where it happened.", 1


def _describe_no_option(error: click.NoSuchOption) -> str:
    """No such option, and the one that was probably meant."""
    from hipgpt_cli.nearest import meant

    known: list[str] = []
    if error.ctx is not None:
        for parameter in error.ctx.command.get_params(error.ctx):
            if isinstance(parameter, click.Option):
                known += [*parameter.opts, *parameter.secondary_opts]
    typed = error.option_name.partition("=")[0]
    hint = f"\nTry {error.ctx.command_path} --help." if error.ctx else ""
    return f"Error: no such option: {typed}{meant(typed, known)}{hint}"


def describe_os_error(error: OSError) -> str:
    """What the system refused, and for which file.

    >>> describe_os_error(PermissionError(13, "Permission denied", "x.txt"))
    'x.txt: permission denied'
    """
    reason = os.strerror(error.errno).lower() if error.errno else str(error)
    if error.errno in FULL:
        reason = f"no room left to write it ({reason})"
    name = error.filename
    return f"{name}: {reason}" if name else reason


def _is_ours(error: BaseException) -> bool:
    """Whether the innermost frame, the one that raised, belongs to a hipgpt package."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and str(frame.tb_frame.f_globals.get("__name__")).startswith("hipgpt_")


def _say(text: str) -> None:
    try:
        click.echo(text, err=True)
    except OSError:
        _silence(sys.stderr)


def _flush() -> None:
    """Push out what is buffered while a failure can still be told."""
    sys.stdout.flush()


def _silence(stream: Any) -> None:
    """Point a stream that nobody reads at nothing, so that Python's own flush at exit is quiet."""
    try:
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, stream.fileno())
        os.close(descriptor)
    except (OSError, ValueError):
        pass
