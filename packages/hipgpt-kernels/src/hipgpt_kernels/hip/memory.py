"""Device memory that is taken and given back often, without asking the driver each time.

The driver's own allocation costs tens of microseconds and its release waits for the device. A block
that is given back is kept and given out again at once: work on one stream is in order, so whoever
gets it next cannot overtake who had it before. The odd thing: a block is given back by being
forgotten, when the last array that views it is gone.

While a graph is captured, blocks go to and fro among the captured ops alone (`GraphMemory`): a
graph uses the same addresses at each launch, so nobody else may have them while it lives.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from hipgpt_kernels.hip import driver

if TYPE_CHECKING:
    from collections.abc import Callable

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

    __slots__ = ("__weakref__", "memory", "nbytes", "pointer")

    def __init__(self, pointer: int, nbytes: int, memory: GraphMemory | None = None) -> None:
        self.pointer = pointer
        self.nbytes = nbytes
        self.memory = memory


class GraphMemory:
    """The blocks of one captured graph; they return to their pool when it and its arrays are gone.

    Captured ops run in their order, so what one has given up the next may have.
    """

    def __init__(self, pool: Pool) -> None:
        self._waiting: dict[int, list[int]] = {}
        self._taken: list[tuple[int, int]] = []  # pointer and size of every block
        weakref.finalize(self, _give_all_back, weakref.ref(pool), self._taken).atexit = False

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks."""
        return sum(size for _, size in self._taken)

    def take(self, size: int, allocate: Callable[[int], int]) -> Block:
        """A block of that size: one that was given up during the capture, else a new one."""
        waiting = self._waiting.setdefault(size, [])
        if waiting:
            pointer = waiting.pop()
        else:
            pointer = allocate(size)
            self._taken.append((pointer, size))
        block = Block(pointer, size, self)
        weakref.finalize(block, waiting.append, pointer).atexit = False
        return block


class Pool:
    """The memory of one device for the work of one stream."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._free: dict[int, list[int]] = {}
        self.cached = 0
        """Bytes that are held and free."""
        self.graph: GraphMemory | None = None
        """Where blocks come from while a graph is captured."""
        # Blocks may outlive the pool's last user; then nothing is given back any more.
        self._closer = weakref.finalize(self, _free_all, self._free)

    def take(self, nbytes: int) -> Block:
        """A block of at least so many bytes, its contents undefined.

        Raises:
            OutOfMemoryError: not even after everything unused was given back to the driver.
        """
        size = rounded(nbytes)
        if self.graph is not None:
            return self.graph.take(size, self._allocate)
        pointer = self._allocate(size)
        block = Block(pointer, size)
        weakref.finalize(block, _give_back, weakref.ref(self), pointer, size).atexit = False
        return block

    def _allocate(self, size: int) -> int:
        """The address of a block: one that waits here, else new memory."""
        waiting = self._free.get(size)
        if waiting:
            self.cached -= size
            return waiting.pop()
        try:
            return self.device.allocate(size)
        except driver.OutOfMemoryError:
            if not self.cached:
                raise
            self.trim()
            return self.device.allocate(size)

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


def _give_all_back(pool: weakref.ref[Pool], taken: list[tuple[int, int]]) -> None:
    """The end of a graph's memory."""
    for pointer, size in taken:
        _give_back(pool, pointer, size)


def _free_all(waiting: dict[int, list[int]]) -> None:
    """Give blocks to the driver."""
    for pointers in waiting.values():
        while pointers:
            driver.free(pointers.pop())
