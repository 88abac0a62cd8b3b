"""One printable character for each of the 256 bytes, as GPT-2's files spell tokens.

Odd thing: GPT-2 numbers its first 256 tokens by the code points of these characters, not by
the bytes, so id 0 is "!" (byte 33) and id 220 is the space.
"""

from __future__ import annotations

# The printable bytes stand for themselves; the other 68 get U+0100 and up, in order.
_PRINTABLE = frozenset([*range(33, 127), *range(161, 173), *range(174, 256)])
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]

SYMBOLS: tuple[str, ...] = tuple(
    chr(byte) if byte in _PRINTABLE else chr(256 + _OTHERS.index(byte)) for byte in range(256)
)
"""The character of each byte: ``SYMBOLS[32] == "Ġ"``."""

BYTE_OF: dict[str, int] = {symbol: byte for byte, symbol in enumerate(SYMBOLS)}
"""The byte of each character, the inverse of SYMBOLS."""

GPT2_ORDER: tuple[int, ...] = tuple(sorted(range(256), key=SYMBOLS.__getitem__))
"""The bytes in the order of GPT-2's ids 0 to 255."""


def spell(data: bytes) -> str:
    """Write bytes as GPT-2's files do, one character a byte.

    >>> spell(b" the")
    'Ġthe'
    """
    return "".join([SYMBOLS[byte] for byte in data])


def unspell(token: str) -> bytes:
    """Read bytes back from a token's spelling; KeyError for a character that is no symbol.

    >>> unspell("Ġthe")
    b' the'
    """
    return bytes([BYTE_OF[symbol] for symbol in token])
