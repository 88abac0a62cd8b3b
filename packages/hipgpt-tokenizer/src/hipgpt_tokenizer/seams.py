"""Find where a word of many non-ASCII characters can be cut before it is merged.

No merge crosses the border of two characters if no token does. GPT-2's vocabulary, for one,
has hardly a token with two Chinese characters, so a sentence falls into characters, which
the cache knows, instead of being one long word that it has never seen.

Odd thing: borders within ASCII text are never asked; words in ASCII repeat, so the cache of
whole words is the better tool there.
"""

from __future__ import annotations

from itertools import compress, pairwise

TYPE_CHECKING = False  # importing typing would cost half of the import time
if TYPE_CHECKING:
    from collections.abc import Iterable


_MOST_PAIRS = 1 << 18


class Seams(dict[str, bool]):
    """Whether a word can be cut between a pair of characters, worked out when asked.

    >>> seams = Seams(["é".encode(), "éa".encode()])
    >>> seams.cut("ééa")
    ['é', 'éa']
    """

    def __init__(self, tokens: Iterable[bytes]) -> None:
        super().__init__()
        self._crossed: dict[bytes, set[bytes]] = {}
        for token in tokens:
            if not token.isascii():
                for left, right in _borders(token):
                    self._crossed.setdefault(left, set()).add(right)

    def __missing__(self, pair: str) -> bool:
        # A pair costs about 100 bytes; the texts of one language use some thousands.
        if len(self) >= _MOST_PAIRS:
            self.clear()
        free = self[pair] = not pair.isascii() and not self._is_crossed(
            pair[0].encode(), pair[1].encode()
        )
        return free

    def _is_crossed(self, left: bytes, right: bytes) -> bool:
        for start in range(len(left)):
            heads = self._crossed.get(left[start:])
            if heads and any(right[:end] in heads for end in range(1, len(right) + 1)):
                return True
        return False

    def cut(self, word: str) -> list[str]:
        """Return the parts of a word that can be merged on their own."""
        pairs = map(str.__add__, word, word[1:])
        cuts = list(compress(range(1, len(word)), map(self.__getitem__, pairs)))
        if not cuts:
            return [word]
        return [word[start:end] for start, end in pairwise([0, *cuts, len(word)])]


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
