"""The workers of the CPU backend: contiguous spans of rows, one a thread, in a fixed order.

While the workers run, BLAS is held to one thread, so that every core does one thing: two workers
that each multiply a block are as fast as one two-threaded product, and what follows the product (a
bias, an activation) then finds its block in the core's own cache. The span of each worker depends
on the sizes and the thread count alone, so equal inputs give equal bits.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from threadpoolctl import ThreadpoolController

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

INLINE_ELEMENTS = 1 << 14
"""Work on fewer elements than this stays on the calling thread: handing it over takes 20 µs."""


def available_cores() -> int:
    """Cores that this process may use: the affinity mask where there is one."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def blas_libraries() -> list[Any]:
    """Controllers of the BLAS libraries loaded in this process; NumPy's among them."""
    return [
        library for library in ThreadpoolController().lib_controllers if library.user_api == "blas"
    ]


class BlasLimit:
    """Holds BLAS to one thread while anybody is inside, whichever threads come and go."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._before: list[tuple[Any, int]] = []

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = [(library, library.num_threads) for library in blas_libraries()]
                for library, _ in self._before:
                    library.set_num_threads(1)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                for library, count in self._before:
                    library.set_num_threads(count)


SINGLE_THREADED_BLAS = BlasLimit()


class Workers:
    """A pool of threads that work on spans of a range.

    Args:
        threads: how many, the calling thread among them; None takes every available core.
    """

    def __init__(self, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads is {threads}, expected 1 or more")
        self.threads = threads or available_cores()
        self._pool: ThreadPoolExecutor | None = None

    def spans(self, count: int, multiple: int = 1) -> list[tuple[int, int]]:
        """Cut range(count) into at most `threads` spans whose borders are multiples of `multiple`.

        Example:
            >>> Workers(2).spans(10, 4)
            [(0, 8), (8, 10)]
        """
        units = -(-count // multiple)
        share = -(-units // self.threads) * multiple
        return [(start, min(start + share, count)) for start in range(0, count, max(share, 1))]

    def run(
        self,
        work: Callable[[int, int], None],
        count: int,
        *,
        elements: int,
        multiple: int = 1,
    ) -> None:
        """Call work(start, stop) for spans that cover range(count).

        Args:
            work: must touch only what belongs to its span.
            count: length of the range.
            elements: how many array elements the whole work touches.
            multiple: borders between spans are multiples of this.
        """
        if count == 0:
            return
        if self.threads == 1 or elements < INLINE_ELEMENTS:
            work(0, count)
            return
        self.run_all([partial(work, a, b) for a, b in self.spans(count, multiple)])

    def run_all(self, tasks: Sequence[Callable[[], None]]) -> None:
        """Call every task, each on its own thread, and wait for all of them."""
        if len(tasks) == 1 or self.threads == 1:
            for task in tasks:
                task()
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads - 1, thread_name_prefix="hipgpt")
        with SINGLE_THREADED_BLAS:
            futures: list[Future[None]] = [self._pool.submit(task) for task in tasks[1:]]
            try:
                tasks[0]()
            finally:
                errors = [future.exception() for future in futures]  # waits for each
            for error in errors:
                if error is not None:
                    raise error
