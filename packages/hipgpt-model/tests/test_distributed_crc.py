"""Checksums of parts make that of the whole."""

import zlib

from hypothesis import given
from hypothesis import strategies as st

from hipgpt_model.distributed.crc import combine


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_parts_give_the_checksum_of_the_whole(first, second):
    assert combine(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(first + second)


def test_a_long_stretch():
    first, second = bytes(range(256)), bytes(3_000_001)
    assert combine(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(first + second)
