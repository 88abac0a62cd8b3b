"""Spread work over processes, in order and with little in flight.

Odd thing: Pool.imap would read a whole file ahead of the workers; here at most two items a
worker are on their way, so a text larger than memory stays on the disk.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from multiprocessing.pool import AsyncResult, Pool

Item = TypeVar("Item")
Result = TypeVar("Result")

_shared: Any = None


def worker_count(workers: int) -> int:
    """Check a number of workers; 0 stands for every core that this process may use.

    >>> worker_count(3)
    3
    """
    if type(workers) is not int or workers < 0:
        raise ValueError(f"workers is {workers!r}, expected 1 or more, or 0 for every core")
    if workers:
        return workers
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ordered_map(
    function: Callable[[Any, Item], Result], shared: Any, items: Iterable[Item], workers: int
) -> Iterator[Result]:
    """Yield function(shared, item) for each item, in order.

    Both function and shared travel to each worker once, so they must be picklable; function is
    a module's function.

    >>> list(ordered_map(pow, 2, [1, 2, 3], workers=1))
    [2, 4, 8]
    """
    if workers == 1:
        for item in items:
            yield function(shared, item)
        return
    with _pool(workers, (function, shared)) as pool:
        waiting: deque[AsyncResult[Result]] = deque()
        for item in items:
            waiting.append(pool.apply_async(_work, (item,)))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().get()
        while waiting:
            yield waiting.popleft().get()


def _pool(workers: int, shared: tuple[Callable[..., Any], Any]) -> Pool:
    import multiprocessing
    import warnings

    # Forking starts in milliseconds and needs no `if __name__ == "__main__"` in the caller's
    # script; where it is not safe (macOS) or not there (Windows), processes are spawned.
    method = "fork" if sys.platform == "linux" else "spawn"
    with warnings.catch_warnings():
        # Python 3.12 warns of forking a process with threads, which may hold locks. The workers
        # touch nothing but strings and dictionaries.
        warnings.simplefilter("ignore", DeprecationWarning)
        return multiprocessing.get_context(method).Pool(workers, _start, (shared,))


def _start(shared: tuple[Callable[..., Any], Any]) -> None:
    global _shared  # noqa: PLW0603 - the only way into a worker is a module's variable
    _shared = shared
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer


def _work(item: Any) -> Any:
    function, shared = _shared
    return function(shared, item)
