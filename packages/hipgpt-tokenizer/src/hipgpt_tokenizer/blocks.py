r"""Cut a long text, or one that arrives in parts, into blocks that can be worked on apart.

A block ends only where the split pattern allows (`SplitPattern.cut`) and never inside a special
token, so the ids of the blocks, joined, are the ids of the text. In the patterns here that is
before the last white space of a run; text without any white space stays one block.

Odd thing: reading a file keeps its line ends as they are ("\r\n" stays two characters).
"""

from __future__ import annotations

from .patterns import SplitPattern, split_pattern
from .special import finder

TYPE_CHECKING = False  # importing typing would cost half of the import time
if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Iterator
    from os import PathLike

# Characters in a block: big enough that a worker's start costs nothing, small beside memory.
BLOCK = 1 << 20


def read_text(path: str | PathLike[str], size: int = BLOCK) -> Iterator[str]:
    """Yield a UTF-8 file in parts of about size characters, cut anywhere.

    The parts are for `cut_blocks` or for `Tokenizer.encode_parts`, which put them together.
    """
    with open(path, encoding="utf-8", newline="") as file:  # noqa: PTH123 - newline matters
        try:
            while part := file.read(size):
                yield part
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path}: byte 0x{error.object[error.start]:02X} is not UTF-8 ({error.reason}); "
                "convert the file to UTF-8 first"
            ) from None


def text_blocks(
    path: str | PathLike[str],
    pattern: str = "gpt2",
    *,
    special_tokens: Iterable[str] = (),
    size: int = BLOCK,
) -> Iterator[str]:
    """Yield a UTF-8 file in blocks, each of which may be trained on or encoded by itself.

    Training on ``text_blocks(path)`` gives the tokenizer of the whole file, and needs the
    memory of a block.
    """
    special = frozenset(special_tokens)
    return cut_blocks(read_text(path, size), split_pattern(pattern), special, size)


def cut_blocks(
    parts: Iterable[str],
    pattern: SplitPattern,
    special: frozenset[str] = frozenset(),
    size: int = BLOCK,
) -> Iterator[str]:
    """Yield the text that the parts make together, in blocks of about size characters.

    >>> list(cut_blocks(["one tw", "o three four"], split_pattern("gpt2"), size=5))
    ['one two', ' three', ' four']
    """
    if size < 1:
        raise ValueError(f"size is {size}, expected a block of at least 1 character")
    find = finder(special)
    # Characters after a cut that must be known: one, and all of a special token.
    margin = 1 + max(map(len, special), default=0)
    held: list[str] = []
    length = 0
    limit = size
    for part in parts:
        held.append(part)
        length += len(part)
        if length <= limit:
            continue
        text = "".join(held)
        start = 0
        while len(text) - start > size:
            end = _safe_cut(text, start, start + size, pattern, find)
            if end + margin > len(text):
                break
            yield text[start:end]
            start = end
        held = [text[start:]]
        length = len(text) - start
        # Text without a place to cut is not searched again before it has doubled.
        limit = size if length <= size else 2 * length
    if length:
        yield "".join(held)


def _safe_cut(
    text: str, start: int, target: int, pattern: SplitPattern, find: re.Pattern[str] | None
) -> int:
    """Return a cut at or after target that changes neither pieces nor special tokens."""
    end = pattern.cut(text, target)
    if find is None:
        return end
    # subtle: what stands before a special token ends there, so the white space before it is
    # not cut; but both borders of a special token are safe themselves.
    for match in find.finditer(text, start):
        if match.start() > end + 1:
            break
        if match.start() >= target:
            return match.start()
        if match.end() >= target:
            return match.end()
    return end
