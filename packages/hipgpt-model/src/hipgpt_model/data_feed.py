"""Brings windows of ids to the device: out of the corpus that lies there, or batch by batch.

A corpus that takes at most a quarter of the device's free memory is copied there once, and a batch
is then one gather on the device. A larger one stays where it is: the host picks the rows out of the
mapped files and sends B·T ids a batch. The odd thing: where the device's memory is NumPy's nothing
is copied in either case; one array is gathered as it lies, and shards are read row by row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from hipgpt_kernels.backend import Array, Backend
    from hipgpt_model.data import TokenData

PART_OF_FREE_MEMORY = 0.25
"""What the corpus may take; the rest is for activations, which are allocated later."""

_IDS_AT_ONCE = 1 << 24


class Feed:
    """Fills batches.

    Args:
        data: the ids.
        backend: where batches are wanted.
        B: rows of the largest batch.
        resident: keep the whole corpus on the device; None decides by its free memory.

    Attributes:
        tokens: (N,) the corpus on the device, all shards one behind the other, so that the
            positions that `TokenData` gives are indices into it; None where it stays on the host.
        starts: (B,) int64 on the device: where the rows of the batch begin. With `tokens` it is all
            that `Backend.gather_batch` needs, so a recorded step may call that itself.
    """

    def __init__(
        self, data: TokenData, backend: Backend, B: int, *, resident: bool | None = None
    ) -> None:
        self.data = data
        self.backend = backend
        self.starts = backend.empty((B,), np.int64)
        self._on_host = isinstance(self.starts, np.ndarray)
        if resident is None:
            size = len(data) * data.dtype.itemsize
            one = len(data.shards) == 1
            resident = one if self._on_host else size <= PART_OF_FREE_MEMORY * _free(backend)
        self.tokens = self._upload() if resident else None
        self._host: np.ndarray | None = None  # (2, B, T) int32: a batch on its way

    def fill(self, starts: np.ndarray, inputs: Array, targets: Array) -> None:
        """Put the windows at `starts` into a batch.

        Args:
            starts: (b,) int64 on the host, positions in the corpus, b ≤ B.
            inputs: (b, T) int32, written.
            targets: (b, T) int32, written.
        """
        if self.tokens is not None:
            on_device = self.starts[: len(starts)]
            self.backend.copy(on_device, starts)
            self.backend.gather_batch(self.tokens, on_device, inputs, targets)
        elif self._on_host:
            self.data.fill(starts, inputs, targets)
        else:
            if self._host is None:
                self._host = np.empty((2, *self.starts.shape, self.data.T), np.int32)
            batch = self._host[:, : len(starts)]
            self.data.fill(starts, batch[0], batch[1])
            self.backend.copy(inputs, batch[0])
            self.backend.copy(targets, batch[1])

    def _upload(self) -> Array:
        if len(self.data.shards) == 1:
            return self.backend.from_numpy(self.data.tokens, copy=False)
        tokens = self.backend.empty((len(self.data),), self.data.dtype)
        at = 0
        for shard in self.data.shards:
            for start in range(0, len(shard), _IDS_AT_ONCE):
                ids = shard[start : start + _IDS_AT_ONCE]
                self.backend.copy(tokens[at : at + len(ids)], np.ascontiguousarray(ids))
                at += len(ids)
        return tokens


def _free(backend: Backend) -> int:
    free, _ = backend.memory_info()
    return free
