"""The byte alphabet is GPT-2's."""

from __future__ import annotations

import json

import pytest

from hipgpt_tokenizer.byte_symbols import BYTE_OF, GPT2_ORDER, SYMBOLS, spell, unspell


def test_known_symbols():
    assert [SYMBOLS[byte] for byte in (32, 10, 9, 0, 173)] == ["Ġ", "Ċ", "ĉ", "\u0100", "\u0143"]
    assert len(set(SYMBOLS)) == 256


def test_order_is_the_one_of_the_official_file(read_data):
    vocab = json.loads(read_data("gpt2/vocab.json"))
    assert [vocab[SYMBOLS[byte]] for byte in GPT2_ORDER] == list(range(256))


def test_spelling_goes_both_ways():
    assert unspell(spell(bytes(range(256)))) == bytes(range(256))
    assert all(SYMBOLS[byte] == symbol for symbol, byte in BYTE_OF.items())


def test_a_character_that_is_no_symbol_is_refused():
    with pytest.raises(KeyError):
        unspell("a b")
