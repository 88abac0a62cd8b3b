"""GPT-2's two files come back byte for byte, and broken ones are refused by line."""

import json
import re

import pytest

from hipgpt_tokenizer import Tokenizer, TokenizerFileError
from hipgpt_tokenizer.byte_symbols import SYMBOLS

EOT = "<|endoftext|>"


def test_gpt2_files_round_trip_byte_for_byte(tmp_path, gpt2, data_path):
    paths = gpt2.save_gpt2(tmp_path)
    assert paths == (str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    assert Tokenizer.from_gpt2(*paths) == gpt2
    assert (tmp_path / "merges.txt").read_bytes() == data_path("gpt2/merges.txt").read_bytes()
    official = json.loads(data_path("gpt2/vocab.json").read_text("utf-8"))
    assert json.loads((tmp_path / "vocab.json").read_text("utf-8")) == official
    assert gpt2.special_tokens == {EOT: 50256}
    assert gpt2.vocab_size == 50257


def test_gpt2_json_round_trips(tmp_path, gpt2):
    gpt2.save(tmp_path / "tokenizer.json")
    assert Tokenizer.load(tmp_path / "tokenizer.json") == gpt2


def test_gpt2_special_tokens_may_be_named(tmp_path, small):
    paths = small.save_gpt2(tmp_path)
    assert Tokenizer.from_gpt2(*paths, special_tokens=[EOT, "<|pad|>"]) == small
    with pytest.raises(TokenizerFileError, match="special token '<s>' is not in the vocabulary"):
        Tokenizer.from_gpt2(*paths, special_tokens=["<s>"])


BYTES = {symbol: place for place, symbol in enumerate(sorted(SYMBOLS))}


@pytest.mark.parametrize(
    ("vocab", "merges", "message"),
    [
        (BYTES | {"ab": 257}, "a b\n", "vocab.json: vocab['ab'] is 257, expected the 257 ids"),
        (BYTES, "a b\n", "merges.txt: merges[0] is 'a' 'b', but 'ab' is not in"),
        (BYTES, "#version: 0.3\n", "merges.txt: line 1 is '#version: 0.3', expected"),
        (BYTES, "#version: 0.2\na\n", "merges.txt: line 2 is 'a', expected two tokens"),
        (BYTES, "#version: 0.2\na b c\n", "line 2 is 'a b c', expected two tokens"),
        (BYTES, "a  b\n", "line 1 is 'a  b', expected two tokens"),
        (BYTES, "a b\n\na b\n", "line 2 is '', expected two tokens"),
        (BYTES | {"ab": 256}, "a b\na b\n", "merges[1] repeats merges[0]"),
    ],
)
def test_broken_gpt2_files_are_refused(tmp_path, vocab, merges, message):
    (tmp_path / "vocab.json").write_text(json.dumps(vocab), "utf-8")
    (tmp_path / "merges.txt").write_text(merges, "utf-8")
    with pytest.raises(TokenizerFileError, match=re.escape(message)):
        Tokenizer.from_gpt2(tmp_path / "vocab.json", tmp_path / "merges.txt")
