"""Activation memory as a stack: taken by bumping a pointer, given back by moving it down.

A training step takes the same arrays in the same order every time, so from the second step on it
gets the same addresses: the CPU is spared its page faults, and a GPU step can be captured as a
graph. The odd thing: an array is only valid until its mark is released or the arena is reset;
nothing checks this.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from hipgpt_kernels.backend import Array, Backend

ALIGNMENT = 256
"""Bytes: a cache line of every device, and enough for the widest vector load."""

BLOCK_BYTES = 1 << 20
"""Smallest block, so that the first round, which grows step by step, makes few of them."""


class Arena:
    """A bump allocator over blocks of one backend's memory.

    Example:
        >>> from hipgpt_kernels import load_backend
        >>> arena = Arena(load_backend("cpu"))
        >>> mark = arena.mark()
        >>> arena.empty((2, 3)).shape
        (2, 3)
        >>> arena.release(mark)
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._blocks: list[Array] = []
        self._used: list[int] = []  # bytes taken in each block, for the blocks up to _top
        self._top = -1
        self.version = 0
        """Changes whenever memory is taken from the backend: arrays then come from elsewhere."""
        self.high_water = 0
        """Most bytes that were ever taken at once."""

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
        """An array with undefined contents, valid until its mark is released."""
        if not isinstance(getattr(dtype, "itemsize", None), int):  # bfloat16 is not NumPy's
            dtype = np.dtype(dtype)
        nbytes = math.prod(shape) * dtype.itemsize
        rounded = -(-max(nbytes, 1) // ALIGNMENT) * ALIGNMENT
        while self._top < 0 or self._used[self._top] + rounded > self._blocks[self._top].nbytes:
            self._top += 1
            if self._top == len(self._blocks):
                size = max(rounded, BLOCK_BYTES, self.capacity // 2)
                self._blocks.append(self._backend.empty((size,), np.uint8))
                self._used.append(0)
                self.version += 1
            self._used[self._top] = 0
        start = self._used[self._top]
        self._used[self._top] = start + rounded
        self.high_water = max(self.high_water, sum(self._used[: self._top + 1]))
        raw = self._blocks[self._top][start : start + nbytes]
        return raw.view(dtype).reshape(shape)

    def reserve(self, nbytes: int) -> None:
        """Take so many bytes from the backend now, in one block; everything must be given back.

        Raises:
            MemoryError: the backend does not have them.
        """
        if self.capacity < nbytes:
            self._blocks.clear()  # before the new one: never both at once
            self._blocks.append(self._backend.empty((nbytes,), np.uint8))
            self._used = [0]
            self.version += 1
        self._top = -1

    def mark(self) -> tuple[int, int]:
        """The present height of the stack, for `release`."""
        return (self._top, self._used[self._top] if self._top >= 0 else 0)

    def release(self, mark: tuple[int, int]) -> None:
        """Give back everything that was taken since `mark`."""
        top, used = mark
        self._top = top
        if top >= 0:
            self._used[top] = used

    def reset(self) -> None:
        """Give back everything; several blocks become one, so that later rounds are contiguous."""
        if len(self._blocks) > 1:
            self._blocks.clear()  # before the new one: never both at once
            self._blocks.append(self._backend.empty((self.high_water + ALIGNMENT,), np.uint8))
            self._used = [0]
            self.version += 1
        self._top = -1

    @property
    def capacity(self) -> int:
        """Bytes that the arena holds from its backend."""
        return sum(int(block.nbytes) for block in self._blocks)
