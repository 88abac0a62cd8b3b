"""Text in parts: decoded as it is read, cut where no token can be, ended at <|endoftext|>.

The odd thing is where a text is cut: after a newline between two characters that are not space,
because there every split pattern of the tokenizer has a border anyway. So each part can be trained
on or encoded by itself, and a file need not fit in memory.
"""

from __future__ import annotations

import codecs
import re
from typing import IO, TYPE_CHECKING

from hipgpt_cli.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

END_OF_TEXT = "<|endoftext|>"

PART_BYTES = 8 << 20

PIECE_CHARACTERS = 1 << 19
"""Encoded in a tenth of a second or so."""

_SAFE_BORDER = re.compile(r"\S\n(?=\S)")


def decoded(stream: IO[bytes], name: str) -> Iterator[str]:
    """Yield a UTF-8 stream in parts whose borders no tokenizer's pattern would cross.

    Raises:
        UserError: it is not text; the sentence says at which byte.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    start, kept = 0, ""
    while True:
        data = stream.read(PART_BYTES)
        if (zero := data.find(0)) >= 0:
            raise UserError(f"{name} is not text: byte {start + zero:,} is zero")
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            # The decoder may have held back up to three bytes of the part before.
            offset = start + error.start - (len(error.object) - len(data))
            raise UserError(
                f"{name} is not UTF-8 text: byte {offset:,} is 0x{error.object[error.start]:02x}; "
                "convert it to UTF-8 first"
            ) from error
        if start == 0:
            text = text.removeprefix("\ufeff")
        start += len(data)
        kept += text
        if not data:
            break
        if len(kept) >= PART_BYTES and (border := _last_border(kept)):
            yield kept[:border]
            kept = kept[border:]
    if kept:
        yield kept


def _last_border(text: str) -> int:
    r"""Where to cut: after the last newline between two characters that are no space; 0 is nowhere.

    >>> _last_border("one\ntwo\n  three")
    4
    """
    at = len(text)
    while (at := text.rfind("\n", 1, at)) > 0:
        if _SAFE_BORDER.match(text, at - 1):
            return at + 1
    return 0


def pieces(text: str, size: int = PIECE_CHARACTERS) -> Iterator[str]:
    r"""Cut a text that is in memory into pieces whose borders no tokenizer's pattern would cross.

    >>> list(pieces("one\ntwo\nthree", size=6))
    ['one\n', 'two\n', 'three']
    """
    start = 0
    while len(text) - start > size and (border := _last_border(text[start : start + size])):
        yield text[start : start + border]
        start += border
    yield text[start:]


def documents(parts: Iterator[str]) -> Iterator[tuple[str, bool]]:
    """Cut parts at <|endoftext|>; empty documents are left out."""
    begun = False
    for part in parts:
        *ended, rest = part.split(END_OF_TEXT)
        for text in ended:
            if text.strip() or begun:
                yield text, True
            begun = False
        if rest:
            yield rest, False
            begun = True
    if begun:
        yield "", True
