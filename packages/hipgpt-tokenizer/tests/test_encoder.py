"""Encoding equals tiktoken and tokenizers, whatever is in the caches."""

from __future__ import annotations

import random

import pytest

from hipgpt_tokenizer import Tokenizer, encoder

DATA_FILES = ["tinyshakespeare.txt", "wikitext2-valid.txt", "wikitext2-test.txt"]


@pytest.fixture(scope="module")
def gpt4_twin(gpt2):
    """GPT-2's tokens under the GPT-4 pattern: no published file is at hand."""
    return Tokenizer(
        type(gpt2.model)(gpt2.model.tokens, gpt2.model.merges, gpt2.model.special, "gpt4")
    )


@pytest.mark.parametrize("name", DATA_FILES)
def test_gpt2_equals_tiktoken_on_data(gpt2, tiktoken_twin, read_data, name):
    text = read_data(name)
    assert gpt2.encode(text) == tiktoken_twin(gpt2).encode(text)


@pytest.mark.parametrize("name", DATA_FILES)
def test_gpt4_pattern_equals_tiktoken_on_data(gpt4_twin, tiktoken_twin, read_data, name):
    text = read_data(name)
    assert gpt4_twin.encode(text) == tiktoken_twin(gpt4_twin).encode(text)


def test_gpt2_equals_tokenizers_on_data(gpt2, read_data, tmp_path):
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is an oracle")
    gpt2.save(tmp_path / "tokenizer.json")
    other = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for name in DATA_FILES[:2]:
        text = read_data(name)
        assert gpt2.encode(text) == other.encode(text).ids


def test_shakespeare_has_the_known_number_of_tokens(gpt2, shakespeare):
    assert len(gpt2.encode(shakespeare)) == 338_025


@pytest.mark.slow
def test_gpt2_equals_tiktoken_on_100_000_random_strings(gpt2, tiktoken_twin, random_text):
    twin = tiktoken_twin(gpt2)
    source = random.Random(5)
    for _ in range(100_000):
        text = random_text(source)
        assert gpt2.encode_ordinary(text) == twin.encode_ordinary(text)


def test_gpt4_pattern_equals_tiktoken_on_random_strings(gpt4_twin, tiktoken_twin, random_text):
    twin = tiktoken_twin(gpt4_twin)
    source = random.Random(6)
    for _ in range(10_000):
        text = random_text(source)
        assert gpt4_twin.encode_ordinary(text) == twin.encode_ordinary(text)


def test_gpt2_equals_tokenizers_on_random_strings(gpt2, random_text, tmp_path):
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is an oracle")
    gpt2.save(tmp_path / "tokenizer.json")
    other = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    source = random.Random(7)
    texts = [random_text(source) for _ in range(10_000)]
    assert gpt2.encode_batch(texts) == [found.ids for found in other.encode_batch(texts)]


@pytest.mark.parametrize("pattern", ["gpt2", "gpt4"])
def test_long_random_text_is_cut_into_blocks_rightly(
    gpt2, gpt4_twin, tiktoken_twin, random_text, pattern
):
    tok = gpt2 if pattern == "gpt2" else gpt4_twin
    source = random.Random(8)
    text = "".join(random_text(source) for _ in range(20_000))
    assert tok.encode_ordinary(text) == tiktoken_twin(tok).encode_ordinary(text)


def test_full_caches_change_nothing(gpt2, shakespeare, monkeypatch):
    text = shakespeare[:100_000] + "東京は日本の首都です。" * 20
    expected = gpt2.encode(text)
    monkeypatch.setattr(encoder, "_MOST_ENTRIES", 3)
    assert Tokenizer(gpt2.model).encode(text) == expected


@pytest.mark.parametrize("count", [0, 1, 2, 17, 127, 128, 129, 1000, 5000])
@pytest.mark.parametrize("unit", ["0", "a", " ", "\n", "東", "👍🏽", "\x80", "é"])
def test_runs(gpt2, tiktoken_twin, unit, count):
    text = unit * count
    ids = gpt2.encode(text)
    assert ids == tiktoken_twin(gpt2).encode(text)
    assert gpt2.decode(ids) == text


def test_known_runs(gpt2):
    known = {1: [15], 2: [405], 5: [20483], 9: [10535, 830], 16: [25645], 17: [8269, 10535, 830]}
    for count, ids in known.items():
        assert gpt2.encode("0" * count) == ids


def test_a_word_of_a_million_letters(gpt2):
    """Quadratic work would need hours here."""
    source = random.Random(9)
    for text in ("a" * 1_000_000, "".join(source.choices("abcdefghijklmnop", k=1_000_000))):
        ids = gpt2.encode(text)
        assert gpt2.decode(ids) == text


def test_an_incomplete_alphabet_refuses_the_byte_that_it_lacks():
    from hipgpt_tokenizer.model import Model

    tok = Tokenizer(Model([b"a", b"b", b"ab"], [(0, 1, 2)], {}, "gpt2"))
    assert tok.encode("abba") == [2, 1, 0]
    with pytest.raises(ValueError, match="no token for byte 0x63"):
        tok.encode("abc")


def test_ignore_merges_takes_a_whole_piece():
    from hipgpt_tokenizer.model import Model, byte_tokens

    tokens = [*byte_tokens(), b"abc", "東京".encode()]
    plain = Tokenizer(Model(tokens, [], {}, "gpt2"))
    eager = Tokenizer(Model(tokens, [], {}, "gpt2", ignore_merges=True))
    assert len(plain.encode("abc")) == 3
    assert eager.encode("abc") == [256]
    assert eager.encode("東京") == [257]
    assert len(eager.encode("東京都")) == 9
    assert eager.encode_bytes(b"abc \xff") == [256, *plain.encode_bytes(b" \xff")]
