"""The figures about a text are those of its ids."""

from __future__ import annotations

import pytest

from hipgpt_tokenizer.analysis import compression, longest_tokens, pieces


def test_pieces_are_the_tokens(small):
    text = "low é東<|endoftext|>\n"
    found = pieces(small, text)
    assert [piece.id for piece in found] == small.encode(text, allowed_special="all")
    assert b"".join(piece.data for piece in found).decode() == text
    assert [text[piece.start : piece.end] for piece in found if piece.special] == ["<|endoftext|>"]
    plain = pieces(small, text, allow_special=False)
    assert [piece.id for piece in plain] == small.encode(text, disallowed_special=())
    assert not any(piece.special for piece in plain)


def test_longest_tokens(small):
    found = longest_tokens(small, 5)
    assert len(found) == 5
    lengths = [len(data) for _, data in found]
    assert lengths == sorted(lengths, reverse=True)
    assert all(small.token_bytes(id_) == data for id_, data in found)
    assert max(map(len, (small.token_bytes(id_) for id_ in range(301)))) == lengths[0]


def test_compression(small):
    found = compression(small, "low 東")
    ids = small.encode("low 東")
    assert found[:3] == (5, 7, len(ids))
    assert found.bytes_per_token == pytest.approx(7 / len(ids))
    assert found.distinct_ids == len(set(ids))
    assert compression(small, "")[:4] == (0, 0, 0, 0.0)
