"""Documents to ids, each to training or to validation: the work of one process, with no memory.

A text belongs to validation where its own SHA-256 says so, so what else there is makes no
difference: texts that are added move none of the old ones. The odd thing: a plain text file has no
documents to choose among, so it is divided at line ends into sections of some 8,192 characters;
neighbours on the same side are put together again before they are encoded.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hipgpt_cli.data_documents import Chunk
    from hipgpt_tokenizer import Tokenizer

SECTION = 8192
"""Characters of a section, at least; it ends at the next safe line end."""

_BORDER = re.compile(r"\S\n(?=\S)")


@dataclass(frozen=True)
class Encoder:
    """Everything a process needs to know.

    Attributes:
        tokenizer: with an <|endoftext|>.
        fraction: the part of all texts that goes to validation.
    """

    tokenizer: Tokenizer
    fraction: float


@dataclass(frozen=True)
class Encoded:
    """What came of a chunk.

    Attributes:
        ids: (training, validation), as machine integers of the tokenizer's `typecode`.
        after: the chunk's.
        read: the chunk's.
        size: bytes of text in UTF-8.
    """

    ids: tuple[bytes, bytes]
    after: Any
    read: int
    size: int


def encode_chunk(encoder: Encoder, chunk: Chunk) -> Encoded:
    """Encode documents; <|endoftext|> follows each passage."""
    tokenizer = encoder.tokenizer
    end = array(tokenizer.typecode, [tokenizer.eot_id or 0]).tobytes()
    parts: tuple[list[bytes], list[bytes]] = ([], [])
    none: frozenset[str] = frozenset()
    size = 0
    for text, in_sections in chunk.texts():
        size += len(text.encode("utf-8"))
        for held_out, passage in passages(text, encoder.fraction, in_sections=in_sections):
            parts[held_out].extend((tokenizer.pack(passage, none, none), end))
    return Encoded((b"".join(parts[0]), b"".join(parts[1])), chunk.after, chunk.read, size)


def passages(text: str, fraction: float, *, in_sections: bool) -> list[tuple[bool, str]]:
    """A document as (whether it is for validation, text), neighbours of one kind together."""
    if not in_sections or len(text) < 2 * SECTION:
        return [(is_held_out(text, fraction), text)]
    found: list[tuple[bool, str]] = []
    for section in sections(text):
        held_out = is_held_out(section, fraction)
        if found and found[-1][0] == held_out:
            found[-1] = (held_out, found[-1][1] + section)
        else:
            found.append((held_out, section))
    return found


def sections(text: str) -> Iterator[str]:
    r"""A text divided after newlines between two characters that are no space.

    >>> [len(section) for section in sections("0123456\n" * 3000)]
    [8192, 15808]
    """
    start = 0
    while len(text) - start >= 2 * SECTION and (
        border := _BORDER.search(text, start + SECTION - 2)
    ):
        yield text[start : border.end()]
        start = border.end()
    yield text[start:]


def is_held_out(text: str, fraction: float) -> bool:
    """Whether a text is for validation: its hash as a number in [0, 1) is below the fraction."""
    number = int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big")
    return number < fraction * 2.0**64
