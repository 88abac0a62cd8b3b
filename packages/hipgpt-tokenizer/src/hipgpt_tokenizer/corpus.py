"""Encode more text than fits in memory, to arrays or to a file, over one process or many.

Odd thing: the arrays' type depends on the vocabulary: 16-bit ("H") up to 65,536 ids, 32-bit
("I") above, in the machine's byte order; `numpy.frombuffer` and `numpy.fromfile` read them.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .blocks import cut_blocks
from .files.disk import replacing
from .parallel import ordered_map

if TYPE_CHECKING:
    import os

    from .encoding import Encoding

Progress = Callable[[str, int, int], None]

# A document shorter than this is sent to a worker together with others.
_BATCH = 1 << 18


def packed_blocks(
    tokenizer: Encoding,
    parts: Iterable[str],
    allowed: frozenset[str],
    disallowed: frozenset[str],
    workers: int,
) -> Iterator[tuple[int, bytes]]:
    """Yield (characters, packed ids) of the blocks of one text that comes in parts."""
    # Refused texts are kept whole too, so that one over a border is not missed.
    blocks = cut_blocks(parts, tokenizer.model.pattern, allowed | disallowed)
    jobs = ([block] for block in blocks)
    for lengths, packed in ordered_map(_pack, (tokenizer, allowed, disallowed), jobs, workers):
        yield lengths, b"".join(packed)


def packed_texts(
    tokenizer: Encoding,
    texts: Iterable[str],
    allowed: frozenset[str],
    disallowed: frozenset[str],
    workers: int,
) -> Iterator[tuple[int, list[bytes]]]:
    """Yield (characters, packed ids of each) of groups of whole texts."""
    jobs = _groups(texts)
    yield from ordered_map(_pack, (tokenizer, allowed, disallowed), jobs, workers)


def _groups(texts: Iterable[str]) -> Iterator[list[str]]:
    group: list[str] = []
    length = 0
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"a text is {type(text).__name__}, expected str")
        group.append(text)
        length += len(text)
        if length >= _BATCH:
            yield group
            group, length = [], 0
    if group:
        yield group


def _pack(shared: tuple[Any, ...], texts: list[str]) -> tuple[int, list[bytes]]:
    tokenizer, allowed, disallowed = shared
    packed = [tokenizer.pack(text, allowed, disallowed) for text in texts]
    return sum(map(len, texts)), packed


def gather(
    typecode: str,
    blocks: Iterable[tuple[int, bytes]],
    total: int,
    progress: Progress | None,
) -> array[int]:
    r"""Join packed ids to one array, reporting after each block.

    >>> gather("H", [(1, b"\x05\x00")], 1, None)
    array('H', [5])
    """
    ids = array(typecode)
    done = 0
    for length, packed in blocks:
        ids.frombytes(packed)
        done += length
        if progress:
            progress("encode", done, total)
    return ids


def write_blocks(
    path: str | os.PathLike[str],
    blocks: Iterable[tuple[int, bytes]],
    total: int,
    progress: Progress | None,
) -> int:
    """Write packed ids as they come, and rename the file when all are there; return the bytes."""
    done = written = 0
    with replacing(path) as file:
        for length, packed in blocks:
            written += file.write(packed)
            done += length
            if progress:
                progress("encode", done, total)
    return written
