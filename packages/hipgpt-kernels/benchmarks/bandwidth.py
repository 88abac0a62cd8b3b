"""What the benchmarks of memory-bound ops share: a clock, copies to compare with, a record.

The odd thing: several launches are captured in one graph, over several sets of arrays in turn, so
that neither the host's part of a launch nor what the cache kept of the last one is counted. Copies
are not captured: a graph's copy node is slower than the copy that the stream makes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import hipgpt_kernels
from hipgpt_cli.bench.machine import machine, versions
from hipgpt_cli.bench.result import Result, Row
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
COPY_SETS = 8
"""Places that smaller copies go around."""


COPY, EQUAL_COPY = f"copy of {2 * COPY_BYTES / 1e9:.0f} GB", "copy of the same bytes"
"""The peers, as the record names them."""


def options(doc: str | None) -> argparse.ArgumentParser:
    """A parser with what every benchmark takes; `doc` is the module's."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record there")
    return parser


class Bench:
    """A backend, a source of random arrays and the bandwidth of a copy.

    Args:
        title: what is measured.

    Attributes:
        backend: the GPU.
        copy_rate: bytes read and written in a second by a large copy.
        result: the record of what was reported.
    """

    def __init__(self, title: str) -> None:
        self.backend: Any = hipgpt_kernels.load_backend("hip")
        self.result = Result(
            title,
            self.backend.description,
            {"rounds": ROUNDS, "launches": LAUNCHES},
            machine(),
            versions(backend=self.backend),
        )
        self._rng = np.random.default_rng(0)
        self._copied = [self.backend.empty((COPY_BYTES,), np.uint8) for _ in range(2)]
        self.copy_rate = self.rate_of_copy(2 * COPY_BYTES)
        print(f"{self.backend.description}: a copy moves {self.copy_rate / 1e12:.2f} TB/s")

    def rate_of_copy(self, nbytes: int) -> float:
        """Bytes a second of plain copies, each of which reads and writes `nbytes` together."""
        size = min(nbytes // 2, COPY_BYTES)
        starts = [
            i * (COPY_BYTES - size) // max(1, COPY_SETS - 1) // 256 * 256 for i in range(COPY_SETS)
        ]
        pairs = [[one[start : start + size] for one in self._copied] for start in starts]

        def several() -> None:
            for number in range(LAUNCHES):
                source, destination = pairs[number % COPY_SETS]
                self.backend.copy(destination, source)

        return 2 * size * LAUNCHES / self.median(several)

    def median(self, work: Callable[[], Any]) -> float:
        """Seconds that the device needs for `work`: the median of ROUNDS."""
        work()
        times = []
        for _ in range(ROUNDS):
            before, after = Event(), Event()
            before.record(self.backend.stream)
            work()
            after.record(self.backend.stream)
            after.synchronize()
            times.append(after.milliseconds_since(before) / 1e3)
        return sorted(times)[ROUNDS // 2]

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
        return self.median(graph.launch) / LAUNCHES

    def report(
        self, op: str, sizes: dict[str, Any], nbytes: int, calls: Sequence[Callable[[], Any]]
    ) -> None:
        """Print a line: the time, the bytes that must move, their rate, and its share of copies'.

        The first share is of the large copy's rate, the second of a copy's of the same bytes, which
        has to start and to end too.
        """
        seconds = self.seconds(calls)
        rate = nbytes / seconds
        equal = self.rate_of_copy(nbytes)
        mine = {"TB/s": rate / 1e12, "us": seconds * 1e6}
        self.result.rows += [
            Row(op, "hipgpt", mine, sizes),
            Row(op, COPY, {"TB/s": self.copy_rate / 1e12}, sizes),
            Row(op, EQUAL_COPY, {"TB/s": equal / 1e12}, sizes),
        ]
        name = " ".join([op, *(f"{key}={value}" for key, value in sizes.items())])
        print(
            f"{name:60s} {seconds * 1e6:9.1f} µs {nbytes / 1e6:9.1f} MB {rate / 1e12:6.2f} TB/s "
            f"{rate / self.copy_rate:5.2f} of a copy {rate / equal:5.2f} of equal bytes"
        )

    def write(self, path: Path | None) -> None:
        """Write the record, where one is asked for."""
        if path is not None:
            self.result.write(path)
