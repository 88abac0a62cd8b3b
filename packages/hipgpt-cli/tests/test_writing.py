"""A text as it is made: whole characters, and how it went."""

import pytest

from hipgpt_cli.errors import UserError
from hipgpt_cli.writing import Writer, prompt_ids
from hipgpt_model.generate import SamplingConfig
from hipgpt_tokenizer import Tokenizer

SNOW = "é☃🙂"


class Parrot:
    """Stands where a model does: whatever `generate` is replaced with ignores it."""


@pytest.fixture
def tokenizer():
    """One token a byte, so that every character is spread over several."""
    return Tokenizer.train("", 257, special_tokens=["<|endoftext|>"])


def write(monkeypatch, tokenizer, text, *, limit=100, stops=()):
    ids = tokenizer.encode(text)
    monkeypatch.setattr("hipgpt_model.generate.generate", lambda *_: iter(ids[:limit]))
    sampling = SamplingConfig(num_tokens=limit)
    writer = Writer(Parrot(), tokenizer, "x", sampling, stops)
    return list(writer), writer


def test_no_piece_holds_a_broken_character(monkeypatch, tokenizer):
    pieces, writer = write(monkeypatch, tokenizer, SNOW)
    assert [piece for piece in pieces if piece] == list(SNOW)
    assert writer.tokens == len(SNOW.encode())
    assert writer.ended_by == "end of text"
    assert 0 < writer.first_s <= writer.total_s


def test_a_text_cut_inside_a_character_ends_with_one_sign(monkeypatch, tokenizer):
    pieces, writer = write(monkeypatch, tokenizer, SNOW, limit=3)
    assert "".join(pieces) == "é\ufffd"
    assert writer.ended_by == "tokens"


def test_a_stop_string_over_many_tokens(monkeypatch, tokenizer):
    pieces, writer = write(monkeypatch, tokenizer, "one two three", stops=["two"])
    assert "".join(pieces) == "one "
    assert writer.ended_by == "two"


def test_what_was_held_back_for_a_stop_comes_at_the_end(monkeypatch, tokenizer):
    pieces, _ = write(monkeypatch, tokenizer, "one tw", stops=["two"])
    assert "".join(pieces) == "one tw"


def test_an_empty_prompt(tokenizer):
    assert prompt_ids(tokenizer, "") == [tokenizer.eot_id]
    with pytest.raises(UserError, match="give a --prompt"):
        prompt_ids(Tokenizer.train("", 256), "")
