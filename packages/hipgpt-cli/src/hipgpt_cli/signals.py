"""Ctrl-C and SIGTERM: finish the step that is running, save, then end; asked again, end at once.

The odd thing: between steps of a training a signal is only noted. Before and after (a tokenizer is
being trained, a model is being written to disk for the second time of asking) it raises at once.
"""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

from hipgpt_cli.errors import StoppedError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_NOTICE = b"\nFinishing this step, then saving; once more stops at once.\n"


class Interrupts:
    """Handles SIGINT and SIGTERM while it is open.

    Attributes:
        signal: the signal that was noted, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._deferring = False
        self._process = os.getpid()
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        with suppress(ValueError):  # not in the main thread: the program around us handles them
            for number in _SIGNALS:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, the first signal is noted in `signal`, and the second raises StoppedError."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False

    def _handle(self, number: int, frame: object) -> None:  # noqa: ARG002
        if os.getpid() != self._process:
            # A worker process of the tokenizer, which took this handler along. Ctrl-C reaches it
            # too, but its parent ends it; then it must not die holding a lock: tried os._exit
            # here, and the parent waited for ever.
            if number == signal.SIGTERM:
                raise SystemExit(128 + number)
            return
        if self._deferring and self.signal is None:
            self.signal = number
            with suppress(OSError):
                os.write(2, _NOTICE)  # subtle: print() may be interrupted in its own middle here
            return
        raise StoppedError(number, "Stopped before the first step.")
