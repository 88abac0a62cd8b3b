"""Device memory that is taken and given back often, without asking the driver each time.

The driver's own allocation costs tens of microseconds and its release waits for the device. A block
that is given back is kept and given out again at once: work on one stream is in order, so whoever
gets it next cannot overtake who had it before. The odd thing: a block is given back by being
forgotten, when the last array that views it is gone.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from hipgpt_kernels.hip import driver

if TYPE_CHECKING:
    from hipgpt_kernels.hip.driver import Device

SMALLEST = 512
"""Bytes: blocks begin on this boundary anyway."""
LARGE = 64 << 20
"""From here on blocks are rounded to whole `LARGE_STEP`s, so that little is wasted."""
LARGE_STEP = 2 << 20


def rounded(nbytes: int) -> int:
    """The size of the block for so many bytes: eight sizes to each doubling."""
    nbytes = max(nbytes, SMALLEST)
    step = LARGE_STEP if nbytes >= LARGE else max(SMALLEST, 1 << (nbytes.bit_length() - 4))
    return -(-nbytes // step) * step


class Block:
    """Memory of a pool; it returns there when nothing refers to it any more."""

    __slots__ = ("__weakref__", "nbytes", "pointer")

    def __init__(self, pointer: int, nbytes: int) -> None:
        self.pointer = pointer
        self.nbytes = nbytes


class Pool:
    """The memory of one device for the work of one stream."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._free: dict[int, list[int]] = {}
        self.cached = 0
        """Bytes that are held and free."""
        self.kept: list[Any] | None = None
        """While a graph is captured: every block given out, so that none is used twice."""
        # Blocks may outlive the pool's last user; then nothing is given back any more.
        self._closer = weakref.finalize(self, _free_all, self._free)

    def take(self, nbytes: int) -> Block:
        """A block of at least so many bytes, its contents undefined.

        Raises:
            OutOfMemoryError: not even after everything unused was given back to the driver.
        """
        size = rounded(nbytes)
        waiting = self._free.get(size)
        if waiting:
            pointer = waiting.pop()
            self.cached -= size
        else:
            try:
                pointer = self.device.allocate(size)
            except driver.OutOfMemoryError:
                if not self.cached:
                    raise
                self.trim()
                pointer = self.device.allocate(size)
        block = Block(pointer, size)
        weakref.finalize(block, _give_back, weakref.ref(self), pointer, size).atexit = False
        if self.kept is not None:
            self.kept.append(block)
        return block

    def trim(self) -> None:
        """Give everything unused back to the driver; waits for the device."""
        _free_all(self._free)
        self.cached = 0

    def memory_info(self) -> tuple[int, int]:
        """Bytes (free, total), what is held unused counted as free."""
        free, total = self.device.memory_info()
        return free + self.cached, total


def _give_back(pool: weakref.ref[Pool], pointer: int, size: int) -> None:
    """A block's end: back to its pool, or to the driver where the pool is gone."""
    owner = pool()
    if owner is None:
        driver.free(pointer)
        return
    owner._free.setdefault(size, []).append(pointer)  # noqa: SLF001  # the pool's other half
    owner.cached += size


def _free_all(waiting: dict[int, list[int]]) -> None:
    """Give blocks to the driver."""
    for pointers in waiting.values():
        while pointers:
            driver.free(pointers.pop())
