"""Stop strings: end a text before a given string, though it arrives in pieces of any length.

The odd thing: a piece that could still become a stop string is held back, so that no part of one is
ever shown; what is held is at most one character shorter than the longest stop string.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class StopFilter:
    """Passes text on until one of the stop strings is complete.

    Args:
        stops: strings, none empty; there may be none at all.

    Attributes:
        found: the stop string that ended the text, or None.

    Example:
        >>> stop = StopFilter(["END"])
        >>> [stop.feed("one E"), stop.feed("N two"), stop.feed(" EN"), stop.feed("D"), stop.found]
        ['one ', 'EN two', ' ', '', 'END']
    """

    def __init__(self, stops: Sequence[str]) -> None:
        if "" in stops:
            raise ValueError("a stop string is empty, which would end every text before it begins")
        self.found: str | None = None
        self._stops = tuple(stops)
        self._held = ""

    def feed(self, text: str) -> str:
        """Take the next piece; return what may be shown now."""
        if self.found is not None:
            return ""
        self._held += text
        places = [(self._held.find(stop), stop) for stop in self._stops]
        if hits := [place for place in places if place[0] >= 0]:
            at, self.found = min(hits, key=lambda hit: (hit[0], -len(hit[1])))
            return self._take(at, drop=True)
        return self._take(len(self._held) - self._unsure())

    def flush(self) -> str:
        """The text has ended by itself: what was held back is text after all."""
        return self._take(len(self._held))

    def _unsure(self) -> int:
        """Length of the longest end of the text that is a beginning of a stop string."""
        longest = max((len(stop) - 1 for stop in self._stops), default=0)
        for length in range(min(longest, len(self._held)), 0, -1):
            end = self._held[-length:]
            if any(stop.startswith(end) for stop in self._stops):
                return length
        return 0

    def _take(self, count: int, *, drop: bool = False) -> str:
        taken, self._held = self._held[:count], "" if drop else self._held[count:]
        return taken
