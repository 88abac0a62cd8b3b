"""Fair times for several programs on one machine: in turns, in rounds, the median.

The odd thing: before each turn is a pause, because threads of the one that has just run still wait
actively for more work, and would take the cores from the next.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PAUSE_S = 0.3
ROUND_S = 0.25
"""A turn does as many steps as take about so long, so that a clock's ticks do not count."""


def in_turns(
    programs: Mapping[str, Callable[[int], None]],
    *,
    rounds: int = 5,
    steps: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
    pause_s: float = PAUSE_S,
) -> dict[str, float]:
    """Median seconds of one step of each program.

    Args:
        programs: by name: does so many steps, and waits until they are done.
        rounds: turns of each that count; one before them warms up.
        steps: steps in a turn; None: as many as take about ROUND_S.
        clock: seconds.
        pause_s: before each turn.
    """
    times: dict[str, list[float]] = {name: [] for name in programs}
    counts: dict[str, int] = {}
    for number in range(rounds + 1):
        for name, run in programs.items():
            time.sleep(pause_s)
            if name not in counts:
                run(1)  # compiles, loads, allocates
                began = clock()
                run(1)
                one = max(clock() - began, 1e-6)
                counts[name] = steps or max(1, min(1000, round(ROUND_S / one)))
            began = clock()
            run(counts[name])
            if number:
                times[name].append((clock() - began) / counts[name])
    return {name: statistics.median(taken) for name, taken in times.items()}
