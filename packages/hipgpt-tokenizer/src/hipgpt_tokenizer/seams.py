"""Find where a word of many non-ASCII characters can be cut before it is merged.

No merge crosses the border of two characters if no token does. GPT-2's vocabulary, for one,
has hardly a token with two Chinese characters, so a sentence falls into characters, which
the cache knows, instead of being one long word that it has never seen.

Odd thing: borders within ASCII text are never asked; words in ASCII repeat, so the cache of
whole words is the better tool there.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost half of the import time
if TYPE_CHECKING:
    from collections.abc import Iterable


class Seams(dict[str, bool]):
    """Whether a token may cross the border in a pair of characters, worked out when asked.

    >>> seams = Seams(["é".encode(), "éa".encode()])
    >>> seams.cut("ééa")
    ['é', 'éa']
    """

    def __init__(self, tokens: Iterable[bytes]) -> None:
        super().__init__()
        self._crossed: set[tuple[bytes, bytes]] = set()
        for token in tokens:
            if not token.isascii():
                self._crossed.update(_borders(token))

    def __missing__(self, pair: str) -> bool:
        left, right = pair[0].encode(), pair[1].encode()
        crossed = pair.isascii() or any(
            (left[start:], right[:end]) in self._crossed
            for start in range(len(left))
            for end in range(1, len(right) + 1)
        )
        # A pair costs about 100 bytes; the texts of one language use some thousands.
        if len(self) >= 1 << 18:
            self.clear()
        self[pair] = crossed
        return crossed

    def cut(self, word: str) -> list[str]:
        """Return the parts of a word that can be merged on their own."""
        parts = []
        start = 0
        for place, pair in enumerate(map(str.__add__, word, word[1:]), 1):
            if not self[pair]:
                parts.append(word[start:place])
                start = place
        parts.append(word[start:])
        return parts


def _borders(token: bytes) -> set[tuple[bytes, bytes]]:
    """Return what stands left and right of each character border inside a token.

    The first part may be the end of a character only, and the last the beginning of one.
    """
    starts = [place for place in range(1, len(token)) if token[place] & 0xC0 != 0x80]
    edges = [0, *starts, len(token)]
    return {
        (token[left:middle], token[middle:right])
        for left, middle, right in zip(edges, edges[1:], edges[2:], strict=False)
    }
