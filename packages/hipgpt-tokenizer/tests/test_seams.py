"""Cutting a word at its seams does not change its ids."""

from __future__ import annotations

import random

import pytest

from hipgpt_tokenizer import Tokenizer
from hipgpt_tokenizer.seams import Seams


@pytest.mark.parametrize("alphabet", ["東京日本語ひらがな", "añoñéèö", "👍🏽\u200d👩", "aб東👍"])
def test_parts_encode_like_the_word(alphabet):
    source = random.Random(1)
    words = ["".join(source.choices(alphabet, k=source.randrange(1, 9))) for _ in range(300)]
    tok = Tokenizer.train(words, 262)
    pieces = tok._encoder.pieces
    seams = Seams(tok.model.id_of)
    cut = 0
    for word in words:
        parts = seams.cut(word)
        assert "".join(parts) == word
        cut += len(parts) > 1
        assert [id_ for part in parts for id_ in pieces.ids(part)] == pieces.ids(word)
    assert cut


def test_a_token_may_begin_and_end_inside_characters():
    # "é" is C3 A9, "è" is C3 A8: the token A9 C3 crosses their border.
    assert Seams([b"\xa9\xc3"]).cut("éè") == ["éè"]
    assert Seams([b"\xa8\xc3"]).cut("éè") == ["é", "è"]


def test_ascii_is_never_cut():
    assert Seams([]).cut("abc") == ["abc"]
