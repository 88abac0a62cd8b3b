"""The old program's file encodes as the old program did, and can be written anew."""

import copy
import json
import re
from itertools import pairwise

import pytest

from hipgpt_tokenizer import Tokenizer, TokenizerFileError

from .documents import drop, load_document, put

OLD = {
    "stoi_to_token": ["e", "h", "o", "t", "w", "e</w>", "o</w>", "th", "the</w>", "w</w>"],
    "merge_rank": [["th", "e</w>", 1], ["t", "h", 0]],
}


def old_encode(word, tokens, ranks):
    """What the old program did with a word, by its definition."""
    symbols = [*word[:-1], word[-1] + "</w>"]
    while True:
        pairs = [(ranks[pair], pair) for pair in pairwise(symbols) if pair in ranks]
        if not pairs:
            return [tokens.index(symbol) for symbol in symbols if symbol in tokens]
        _, (left, right) = min(pairs)
        merged = []
        while symbols:
            if symbols[:2] == [left, right]:
                merged.append(left + right)
                del symbols[:2]
            else:
                merged.append(symbols.pop(0))
        symbols = merged


@pytest.fixture
def old(tmp_path):
    (tmp_path / "old.json").write_text(json.dumps(OLD))
    return Tokenizer.load(tmp_path / "old.json")


def test_old_file_encodes_as_the_old_program(old):
    ranks = {(left, right): rank for left, right, rank in OLD["merge_rank"]}
    for word in ("the", "two", "to", "thethe", "o", "e"):
        assert old.encode(word) == old_encode(word, OLD["stoi_to_token"], ranks)
    assert old.encode("the\n\n two") == old.encode("the") + old.encode("two")
    assert old.decode(old.encode("the\n\n two")) == "the two "
    assert [old.id_to_token(id_) for id_ in range(10)] == OLD["stoi_to_token"]
    assert old.token_to_id("the</w>") == 8
    assert old.encode_with_offsets(" the two")[1] == [(1, 4), (5, 6), (6, 7), (7, 8)]


def test_old_file_is_told_apart_and_written_anew(old, tmp_path):
    assert old.pattern == "hipgpt-legacy"
    assert Tokenizer.from_hipgpt_legacy(tmp_path / "old.json") == old
    old.save(tmp_path / "tokenizer.json")
    assert Tokenizer.load(tmp_path / "tokenizer.json") == old
    with pytest.raises(ValueError, match="cannot say the pattern hipgpt-legacy"):
        old.save_gpt2(tmp_path)
    with pytest.raises(ValueError, match="is not byte-level"):
        old.save_tiktoken(tmp_path / "ranks")
    with pytest.raises(TokenizerFileError, match="version is unknown"):
        Tokenizer.from_hipgpt_legacy(tmp_path / "tokenizer.json")


def test_tokenizers_loads_an_old_file_written_anew(old, tmp_path):
    tokenizers = pytest.importorskip("tokenizers", reason="owner of the format")
    old.save(tmp_path / "tokenizer.json")
    other = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in ("the two to", " the\n\ntwo ", "thethe"):
        assert other.encode(text).ids == old.encode(text)


@pytest.mark.parametrize("text", ["x", "the x", "th", "東"])
def test_old_file_refuses_what_the_old_program_dropped(old, text):
    with pytest.raises(ValueError, match="no token for the character"):
        old.encode(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("extra", 1), "extra is unknown"),
        (drop("stoi_to_token"), "stoi_to_token is missing"),
        (drop("merge_rank"), "merge_rank is missing"),
        (put("stoi_to_token", {}), "stoi_to_token is {}, expected a list"),
        (put("stoi_to_token", 0, 5), "stoi_to_token[0] is 5, expected a string"),
        (put("stoi_to_token", 0, ""), "stoi_to_token[0] is '', expected ASCII"),
        (put("stoi_to_token", 0, "a b"), "stoi_to_token[0] is 'a b', expected ASCII"),
        (put("stoi_to_token", 0, "é"), "stoi_to_token[0] is 'é', expected ASCII"),
        (put("stoi_to_token", 0, "h"), "stoi_to_token[1] is 'h', which is stoi_to_token[0] too"),
        (put("merge_rank", 0, 5), "merge_rank[0] is 5, expected a list"),
        (put("merge_rank", 0, ["t", "h"]), "merge_rank[0] has 2 values"),
        (put("merge_rank", 0, ["t", 1, 2]), "merge_rank[0][1] is 1, expected a string"),
        (put("merge_rank", 0, ["t", "h", "0"]), 'merge_rank[0][2] is "0", expected an integer'),
        (put("merge_rank", 0, ["t", "h", 0]), "merge_rank[1] has the rank 0"),
        (put("merge_rank", 0, ["x", "h", 7]), "'x' is not in the vocabulary"),
        (put("merge_rank", 0, ["h", "t", 7]), "'ht' is not in the vocabulary"),
    ],
)
def test_a_broken_old_file_is_refused(tmp_path, change, message):
    document = copy.deepcopy(OLD)
    change(document)
    with pytest.raises(TokenizerFileError, match=re.escape(message)):
        load_document(document, tmp_path)
