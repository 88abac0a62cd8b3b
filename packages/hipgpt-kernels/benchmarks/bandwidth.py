"""What the benchmarks of memory-bound ops share: a clock, a copy to compare with, a table.

The odd thing: several launches are captured in one graph, over several sets of arrays in turn, so
that neither the host's part of a launch nor what the cache kept of the last one is counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import hipgpt_kernels
from hipgpt_kernels.hip.driver import Event
from hipgpt_kernels.hip.dtypes import as_dtype

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROUNDS = 7
LAUNCHES = 20
"""Calls in a graph; the time is the median of ROUNDS replays."""
WARM_UP = 30
"""Replays before the first that counts: the clocks rise within tenths of a second."""
COPY_BYTES = 1 << 30
"""Of the copy that stands for the bandwidth: far beyond every cache."""


class Bench:
    """A backend, a source of random arrays and the bandwidth of a copy.

    Attributes:
        backend: the GPU.
        copy_rate: bytes read and written in a second by the backend's own copy.
    """

    def __init__(self) -> None:
        self.backend: Any = hipgpt_kernels.load_backend("hip")
        self._rng = np.random.default_rng(0)
        x, y = (self.backend.empty((COPY_BYTES,), np.uint8) for _ in range(2))
        self.copy_rate = 2 * COPY_BYTES / self.seconds([lambda: self.backend.copy(y, x)])
        print(f"{self.backend.description}: a copy moves {self.copy_rate / 1e12:.2f} TB/s")

    def normal(self, *shape: int, dtype: str = "float32") -> Any:
        """Standard normal numbers on the device; a million of them, repeated."""
        n = int(np.prod(shape, dtype=np.int64))
        block = self._rng.standard_normal(min(n, 1 << 20), np.float32)
        return self.backend.from_numpy(np.resize(block, shape), as_dtype(dtype))

    def integers(self, limit: int, *shape: int) -> Any:
        """Ids in [0, limit) on the device."""
        return self.backend.from_numpy(self._rng.integers(0, limit, shape, np.int32))

    def seconds(self, calls: Sequence[Callable[[], Any]]) -> float:
        """Seconds of one call; `calls` are made in turn."""
        for call in calls:
            call()  # loads the code
        self.backend.synchronize()
        with self.backend.capture() as graph:
            for number in range(LAUNCHES):
                calls[number % len(calls)]()
        for _ in range(WARM_UP):
            graph.launch()
        times = []
        for _ in range(ROUNDS):
            before, after = Event(), Event()
            before.record(self.backend.stream)
            graph.launch()
            after.record(self.backend.stream)
            after.synchronize()
            times.append(after.milliseconds_since(before) / 1e3 / LAUNCHES)
        return sorted(times)[ROUNDS // 2]

    def report(self, name: str, nbytes: int, calls: Sequence[Callable[[], Any]]) -> None:
        """Print a line: the time, the bytes that must move, and their rate beside the copy's."""
        seconds = self.seconds(calls)
        rate = nbytes / seconds
        print(
            f"{name:44s} {seconds * 1e6:9.1f} µs {nbytes / 1e6:9.1f} MB "
            f"{rate / 1e12:6.2f} TB/s {rate / self.copy_rate:6.2f} of the copy"
        )
