"""A text in pieces has the ids of the whole."""

import pytest

from hipgpt_cli import text_parts
from hipgpt_cli.encoding import encoded
from hipgpt_tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(words):
    return Tokenizer.train(words, 300, special_tokens=["<|endoftext|>"])


@pytest.mark.parametrize("size", [7, 100, 5000])
def test_pieces_have_the_ids_of_the_whole(tokenizer, words, size, monkeypatch):
    monkeypatch.setattr("hipgpt_cli.encoding.pieces", lambda text: text_parts.pieces(text, size))
    text = words.replace("fox", "fox  \n\n ") + "<|endoftext|>" + words
    assert encoded(tokenizer, text) == list(tokenizer.encode(text, allowed_special="all"))
    assert encoded(tokenizer, text, limit=9) == encoded(tokenizer, text)[:9]
    ordinary = list(tokenizer.encode_ordinary(text))
    assert encoded(tokenizer, text, special=False) == ordinary


def test_an_empty_text(tokenizer):
    assert encoded(tokenizer, "") == []
