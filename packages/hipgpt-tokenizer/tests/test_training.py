"""Training gives the merges of Hugging Face's BpeTrainer, with any number of workers."""

from __future__ import annotations

import json
import random
import re

import pytest

from hipgpt_tokenizer import Tokenizer, counting, text_blocks
from hipgpt_tokenizer.patterns import PUBLISHED


@pytest.fixture(scope="module")
def oracle():
    """A function that trains with tokenizers and returns its vocabulary and merges."""
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is the trainer's oracle")
    pre = tokenizers.pre_tokenizers

    def train(texts, vocab_size, min_frequency, pattern="gpt2"):
        other = tokenizers.Tokenizer(tokenizers.models.BPE())
        if pattern == "gpt2":
            other.pre_tokenizer = pre.ByteLevel(add_prefix_space=False)
        else:
            split = pre.Split(tokenizers.Regex(PUBLISHED[pattern]), "isolated")
            other.pre_tokenizer = pre.Sequence([split, pre.ByteLevel(False, use_regex=False)])
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=min_frequency,
            show_progress=False,
            initial_alphabet=pre.ByteLevel.alphabet(),
        )
        other.train_from_iterator(texts, trainer)
        model = json.loads(other.to_str())["model"]
        return model["vocab"], [tuple(pair) for pair in model["merges"]]

    return train


def spelled(tok):
    names = [tok.id_to_token(id_) for id_ in range(tok.vocab_size)]
    vocab = {name: id_ for id_, name in enumerate(names)}
    return vocab, [(names[left], names[right]) for left, right in tok.merges]


@pytest.mark.parametrize("pattern", ["gpt2", "gpt4"])
def test_shakespeare_equals_tokenizers(oracle, shakespeare, pattern):
    tok = Tokenizer.train(shakespeare, 5000, pattern=pattern)
    assert tok.vocab_size == 5000
    assert spelled(tok) == oracle([shakespeare], 5000, 2, pattern)


@pytest.mark.slow
def test_wikitext_equals_tokenizers(oracle, read_data):
    texts = [read_data("wikitext2-valid.txt"), read_data("wikitext2-test.txt")]
    tok = Tokenizer.train(texts, 16_000)
    assert spelled(tok) == oracle(texts, 16_000, 2)


ALPHABETS = ["a", "ab", "abc", "ab ", "abcdefgh \n", "éüß漢字 a", "👍🏽 \u200da\u0301", "\x00\xff"]


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_random_text_equals_tokenizers(oracle, alphabet):
    """Small alphabets give ties, overlaps ("aaaa") and one token by two ways."""
    source = random.Random(1)
    for _ in range(40):
        texts = ["".join(source.choices(alphabet, k=source.randrange(300))) for _ in range(3)]
        size, least = 256 + source.randrange(120), source.randrange(1, 4)
        assert spelled(Tokenizer.train(texts, size, min_frequency=least)) == oracle(
            texts, size, least
        )


def test_random_unicode_equals_tokenizers(oracle, random_text):
    source = random.Random(2)
    for _ in range(20):
        texts = [random_text(source) for _ in range(200)]
        assert spelled(Tokenizer.train(texts, 500)) == oracle(texts, 500, 2)


def test_wikipedias_example():
    """aaabdaaabac: Z = aa, then Y = ab or Za (a tie: the smaller ids), by hand.

    Pairs: aa 4 (windows overlap), ab 2. After Z = aa: "Zabd Zabac", Za 2, ab 2; a < Z, so
    ab -> Y; then ZY 2 -> X. Rest: X d X a c, no pair twice.
    """
    tok = Tokenizer.train("aaabdaaabac", 300)
    assert [tok.token_bytes(id_) for id_ in range(256, tok.vocab_size)] == [b"aa", b"ab", b"aaab"]
    assert tok.encode("aaabdaaabac") == [258, *tok.encode("d"), 258, *tok.encode("ac")]


@pytest.mark.parametrize("workers", [2, 0])
def test_workers_do_not_change_the_result(shakespeare, workers, monkeypatch):
    monkeypatch.setattr(counting, "BLOCK", 100_000)
    texts = [shakespeare[:300_000], "", shakespeare[300_000:350_000], "\n\n 東京 \n"]
    assert Tokenizer.train(texts, 1000, workers=workers) == Tokenizer.train(texts, 1000)


def test_blocks_of_a_file_train_like_the_file(shakespeare, data_path):
    path = data_path("tinyshakespeare.txt")
    blocks = text_blocks(path, size=10_000)
    assert Tokenizer.train(blocks, 1000) == Tokenizer.train(shakespeare, 1000)


def test_splitting_chunks_early_changes_nothing(shakespeare, monkeypatch):
    expected = Tokenizer.train([shakespeare[:200_000]], 600)
    monkeypatch.setattr(counting, "_MOST_CHUNKS", 50)
    monkeypatch.setattr(counting, "BLOCK", 1000)
    assert Tokenizer.train([shakespeare[:200_000]], 600) == expected


def test_order_of_texts_does_not_matter(shakespeare):
    lines = shakespeare[:100_000].splitlines(keepends=True)
    assert Tokenizer.train(lines, 500) == Tokenizer.train(lines[::-1], 500)


def test_special_tokens_come_last_and_are_not_learnt():
    text = "<|endoftext|>".join(["low", "lower", "lowest"] * 3)
    tok = Tokenizer.train(text, 302, special_tokens=["<|endoftext|>", "<|pad|>"])
    assert tok.special_tokens == {
        "<|endoftext|>": tok.vocab_size - 2,
        "<|pad|>": tok.vocab_size - 1,
    }
    assert not any(b"endo" in tok.token_bytes(id_) for id_ in range(tok.vocab_size - 2))
    assert tok.merges == Tokenizer.train(["low", "lower", "lowest"] * 3, 300).merges


@pytest.mark.parametrize("text", ["", "a", " ", [], ["", ""], iter(())])
def test_too_little_text_gives_the_bytes(text):
    tok = Tokenizer.train(text, 1000)
    assert tok.vocab_size == 256
    assert tok.decode(tok.encode("Zürich")) == "Zürich"


def test_fewer_merges_than_wanted_is_no_error():
    assert Tokenizer.train("abab abab", 1000, min_frequency=1).vocab_size < 300


@pytest.mark.parametrize("workers", [1, 2])
def test_progress_reports_both_stages(shakespeare, workers):
    calls = []
    text = shakespeare[:50_000]
    tok = Tokenizer.train(
        [text, text], 900, workers=workers, progress=lambda *call: calls.append(call)
    )
    counts = [call for call in calls if call[0] == "count"]
    merges = [call for call in calls if call[0] == "merge"]
    assert [*counts, *merges] == calls
    assert counts[-1] == ("count", 100_000, 100_000)
    assert merges[-1] == ("merge", tok.vocab_size - 256, 644)
    assert [call[1] for call in merges] == sorted(call[1] for call in merges)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"vocab_size": 100}, ValueError, "vocab_size is 100, expected an int of at least 256"),
        ({"vocab_size": 300.0}, ValueError, "vocab_size is 300.0, expected an int"),
        ({"vocab_size": True}, ValueError, "vocab_size is True, expected an int"),
        ({"min_frequency": 0}, ValueError, "min_frequency is 0, expected"),
        ({"workers": -1}, ValueError, "workers is -1, expected 1 or more, or 0"),
        ({"pattern": "gpt9"}, ValueError, "pattern is 'gpt9'"),
        ({"pattern": "hipgpt-legacy"}, ValueError, "which can be read only"),
        ({"special_tokens": "<|a|>"}, TypeError, "special_tokens is a str"),
        ({"special_tokens": ["<|a|>", "<|a|>"]}, ValueError, "names one token twice"),
        ({"special_tokens": [""]}, ValueError, "special token is empty"),
        ({"special_tokens": ["a"]}, ValueError, "'a' is also the spelling of an ordinary token"),
        ({"special_tokens": ["\ud800"]}, ValueError, "lone surrogate U+D800 at character 0"),
        ({"texts": b"bytes"}, TypeError, "a training text is int, expected str"),
        ({"texts": [b"bytes"]}, TypeError, "a training text is bytes, expected str"),
        ({"texts": "ab\udfff"}, ValueError, "lone surrogate U+DFFF"),
    ],
)
def test_bad_arguments_are_refused(change, error, message):
    arguments = {"texts": "low lower", "vocab_size": 300} | change
    with pytest.raises(error, match=re.escape(message)):
        Tokenizer.train(arguments.pop("texts"), arguments.pop("vocab_size"), **arguments)
