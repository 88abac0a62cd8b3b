"""The frozen tables are what the peers take for letters, numbers and spaces, all of Unicode."""

from __future__ import annotations

import unicodedata

import pytest

from hipgpt_tokenizer.unicode_classes import LETTERS, NUMBERS, SPACES, ranges

POINTS = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]


def members(table):
    return {point for first, last in ranges(table) for point in range(first, last + 1)}


@pytest.mark.parametrize(
    ("table", "expression"), [(LETTERS, r"\p{L}"), (NUMBERS, r"\p{N}"), (SPACES, r"\s")]
)
def test_tables_are_those_of_tiktoken(table, expression):
    tiktoken = pytest.importorskip("tiktoken", reason="tiktoken knows Unicode 16")
    # The tokens "a" + byte merge only if the expression puts both characters in one piece.
    ranks = {bytes([byte]): byte for byte in range(256)}
    ranks |= {b"a" + bytes([byte]): 256 + byte for byte in range(256)}
    encoding = tiktoken.Encoding(
        "probe", pat_str=rf"a{expression}|.|\s", mergeable_ranks=ranks, special_tokens={}
    )
    found = {p for p in POINTS if encoding.encode_ordinary("a" + chr(p))[0] >= 256}
    assert found == members(table)


def test_letters_are_those_of_tokenizers():
    """Asked at the ends of every range, and at a tenth of all other places."""
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers has its own tables")
    split = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    edges = {end + step for pair in ranges(LETTERS) for end in pair for step in (-1, 0, 1)}
    asked = sorted(edges | set(POINTS[::10]))
    found = set()
    for start in range(0, len(asked), 20_000):
        points = asked[start : start + 20_000]
        pieces = split.pre_tokenize_str(" ".join("a" + chr(point) for point in points))
        begins = {span[0] for _, span in pieces}
        found |= {p for place, p in enumerate(points) if 3 * place + 1 not in begins}
    assert found == members(LETTERS) & set(asked)


def test_assigned_characters_have_the_interpreters_category():
    """Python's own data are older or newer, but agree on what both know."""
    letters, numbers = members(LETTERS), members(NUMBERS)
    both = letters | numbers
    for point in POINTS:
        category = unicodedata.category(chr(point))[0]
        if point in both:
            assert category in ("L" if point in letters else "N") + "C"
        elif category in "LN":
            # Only a Python that knows more than Unicode 16 may have others.
            assert unicodedata.unidata_version > "16.0.0"
