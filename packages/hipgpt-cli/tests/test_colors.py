"""Tokens that can be seen."""

import re

from hypothesis import given
from hypothesis import strategies as st

from hipgpt_cli.colors import paint, visible


def test_neighbours_have_different_backgrounds():
    painted = paint([b"a", b"b", b"c"], color=True)
    codes = re.findall(r"48;5;(\d+)", painted)
    assert len(codes) == 3
    assert codes[0] != codes[1] != codes[2]


@given(st.binary(max_size=20))
def test_any_bytes_become_printable(token):
    """Nothing in a token can move the cursor or ring the bell."""
    assert all(character.isprintable() for character in visible(token))
