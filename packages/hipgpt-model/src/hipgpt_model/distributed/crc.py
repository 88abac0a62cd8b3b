"""The CRC-32 of two stretches of bytes one behind the other, from the CRC-32 of each.

A CRC is linear over GF(2): zero bytes behind a stretch change its CRC by a matrix, and what comes
in their place is added. The odd thing: the matrix of n bytes is that of one byte to the power n, so
squaring makes it in log2 n steps (the method of zlib's `crc32_combine`, by Mark Adler).
"""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

Matrix: TypeAlias = tuple[int, ...]
"""32 columns of 32 bits."""

POLYNOMIAL = 0xEDB88320
"""Of CRC-32, its bits reflected."""


def combine(first: int, second: int, second_bytes: int) -> int:
    """The CRC-32 of the stretches A and B behind each other.

    Args:
        first: CRC-32 of A.
        second: CRC-32 of B.
        second_bytes: length of B.

    Example:
        >>> import zlib
        >>> combine(zlib.crc32(b"be "), zlib.crc32(b"or"), 2) == zlib.crc32(b"be or")
        True
    """
    power = 0
    while second_bytes:
        if second_bytes & 1:
            first = _apply(_zero_bytes(power), first)
        second_bytes >>= 1
        power += 1
    return first ^ second


def _apply(matrix: Matrix, vector: int) -> int:
    """matrix · vector."""
    result = 0
    for column in matrix:
        if vector & 1:
            result ^= column
        vector >>= 1
    return result


@cache
def _zero_bytes(power: int) -> Matrix:
    """What 2^power zero bytes behind a stretch do to its CRC."""
    if power > 0:
        half = _zero_bytes(power - 1)
        return tuple(_apply(half, column) for column in half)
    bit: Matrix = (POLYNOMIAL, *(1 << place for place in range(31)))
    for _ in range(3):  # one bit, two, four, eight
        bit = tuple(_apply(bit, column) for column in bit)
    return bit
