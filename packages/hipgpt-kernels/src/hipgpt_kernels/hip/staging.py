"""Copies between the host and the device through page-locked memory.

A device copies from and to page-locked memory by itself; a copy of ordinary memory makes the
caller wait until the stream is empty. So bytes go through two page-locked halves in turn: while one
is under way, the other is filled. The odd thing: a copy to the device returns as soon as the last
bytes have left the caller's array, with the device still at work.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from hipgpt_kernels.hip import driver

if TYPE_CHECKING:
    from hipgpt_kernels.hip.driver import Stream

HALF = 4 << 20
"""Bytes of a half: long enough that the copy, not its start, is what takes the time."""


class Staging:
    """Two page-locked halves of one stream."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        stream.device.activate()
        self._memory = [driver.Pinned(HALF) for _ in range(2)]
        self._halves = [half.pointer for half in self._memory]
        self._events = [driver.Event(timing=False) for _ in range(2)]
        self._busy = [False, False]
        self._turn = 0

    def _next(self) -> int:
        """The half whose turn it is, once the device is done with it."""
        turn = self._turn
        self._turn = 1 - turn
        if self._busy[turn]:
            self._events[turn].synchronize()
            self._busy[turn] = False
        return turn

    def to_device(self, destination: int, source: int, nbytes: int) -> None:
        """Copy host memory to the device, in the order of the stream."""
        for start in range(0, nbytes, HALF):
            size = min(HALF, nbytes - start)
            turn = self._next()
            ctypes.memmove(self._halves[turn], source + start, size)
            self.stream.copy_to_device(destination + start, self._halves[turn], size)
            self._events[turn].record(self.stream)
            self._busy[turn] = True

    def to_host(self, destination: int, source: int, nbytes: int) -> None:
        """Copy device memory to the host; all of it is there on return."""
        waiting: list[tuple[int, int, int]] = []  # (half, destination, bytes), oldest first
        for start in range(0, nbytes, HALF):
            if len(waiting) == len(self._halves):
                self._take(*waiting.pop(0))
            size = min(HALF, nbytes - start)
            turn = self._next()
            self.stream.copy_to_host(self._halves[turn], source + start, size)
            self._events[turn].record(self.stream)
            self._busy[turn] = True
            waiting.append((turn, destination + start, size))
        for part in waiting:
            self._take(*part)

    def _take(self, turn: int, destination: int, size: int) -> None:
        """Wait for a half and copy it out."""
        self._events[turn].synchronize()
        self._busy[turn] = False
        ctypes.memmove(destination, self._halves[turn], size)
