"""Count how often each piece occurs in the training texts.

What is counted first are the chunks between spaces and line ends, as the encoder has them:
`str.split` and `Counter` do that in C. Each distinct chunk is then split into pieces once.

Odd thing: a special token in a training text separates what stands around it, and is not
counted itself; its text would otherwise be learnt as ordinary tokens that never occur.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from .blocks import BLOCK, cut_blocks
from .encoder import plain_chunks
from .parallel import ordered_map
from .patterns import split_pattern
from .special import finder

Progress = Callable[[str, int, int], None]

# Distinct chunks kept before they are split into pieces, some 100 MB.
_MOST_CHUNKS = 1 << 20


def count_pieces(
    texts: Iterable[str],
    pattern: str,
    special: frozenset[str],
    workers: int,
    progress: Progress | None,
    total: int,
) -> dict[str, int]:
    """Return the pieces of all texts with their frequencies.

    >>> list(count_pieces(["to be to"], "gpt2", frozenset(), 1, None, 8).items())
    [('to', 1), (' be', 1), (' to', 1)]
    """
    counter = _ChunkCounter(pattern)
    done = 0
    shared = (pattern, special)
    if workers == 1:
        for block in _blocks(texts, pattern, special):
            counter.add_text(block, special)
            done += len(block)
            if progress:
                progress("count", done, total)
        return counter.pieces()
    pieces: Counter[str] = Counter()
    for length, found in ordered_map(
        _count_block, shared, _blocks(texts, pattern, special), workers
    ):
        pieces.update(found)
        done += length
        if progress:
            progress("count", done, total)
    return pieces


def _blocks(texts: Iterable[str], pattern: str, special: frozenset[str]) -> Iterator[str]:
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"a training text is {type(text).__name__}, expected str")
        if len(text) <= BLOCK:
            yield text
        else:
            yield from cut_blocks([text], split_pattern(pattern), special)


def _count_block(shared: tuple[str, frozenset[str]], block: str) -> tuple[int, dict[str, int]]:
    pattern, special = shared
    counter = _ChunkCounter(pattern)
    counter.add_text(block, special)
    return len(block), counter.pieces()


class _ChunkCounter:
    """Counts chunks, and pieces where there is no chunk."""

    def __init__(self, pattern: str) -> None:
        self._pattern = split_pattern(pattern)
        self._chunks: Counter[str] = Counter()
        self._pieces: Counter[str] = Counter()

    def add_text(self, text: str, special: frozenset[str]) -> None:
        find = finder(special)
        for part in find.split(text) if find else [text]:
            start = 0
            for begin, end in self._pattern.awkward(part):
                self._add_plain(part[start:begin])
                self._pieces.update(self._pattern.split(part[begin:end]))
                start = end
            self._add_plain(part[start:] if start else part)
        if len(self._chunks) > _MOST_CHUNKS:
            self._split_chunks()

    def _add_plain(self, text: str) -> None:
        first, keys = plain_chunks(text, self._pattern.name)
        self._pieces.update(self._pattern.split(first))
        self._chunks.update(keys)

    def _split_chunks(self) -> None:
        pieces = self._pieces
        split = self._pattern.split
        for key, times in self._chunks.items():
            for piece in split(key if key[0] == "\n" else " " + key):
                pieces[piece] += times
        self._chunks.clear()

    def pieces(self) -> dict[str, int]:
        self._split_chunks()
        return self._pieces
