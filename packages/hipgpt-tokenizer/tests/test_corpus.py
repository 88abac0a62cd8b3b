"""Encoding in blocks, by files and over processes gives the ids of encoding in one go."""

from __future__ import annotations

import random
import re
from array import array

import pytest

from hipgpt_tokenizer import Tokenizer, blocks, corpus
from hipgpt_tokenizer.blocks import cut_blocks
from hipgpt_tokenizer.patterns import split_pattern

EOT = "<|endoftext|>"
SPECIAL = frozenset({EOT, "<a b>", "\n#\n", "  "})


@pytest.mark.parametrize("pattern", ["gpt2", "gpt4"])
def test_blocks_encode_like_the_text(random_text, pattern):
    """With special tokens made of spaces and line ends, and parts cut anywhere."""
    tok = Tokenizer.train(
        "low lower\n\nlowest\n" * 9, 290, special_tokens=sorted(SPECIAL), pattern=pattern
    )
    source = random.Random(1)
    for _ in range(400):
        text = "".join(
            source.choice([*SPECIAL, random_text(source), " ", "\n", "a"]) for _ in range(12)
        )
        parts = [text[start : start + 7] for start in range(0, len(text), 7)]
        for special in (SPECIAL, frozenset()):
            found = list(cut_blocks(parts, split_pattern(pattern), special, source.randrange(1, 9)))
            assert "".join(found) == text
            ids = [tok._encoder.unpack(tok.pack(block, special, frozenset())) for block in found]
            whole = tok._encoder.unpack(tok.pack(text, special, frozenset()))
            assert [id_ for block in ids for id_ in block] == whole


def test_blocks_have_about_the_size_asked_for(shakespeare):
    found = list(cut_blocks([shakespeare], split_pattern("gpt2"), size=1000))
    assert "".join(found) == shakespeare
    assert max(map(len, found)) < 1100


def test_text_without_a_place_to_cut_stays_whole():
    parts = ["東" * 100] * 50
    assert list(cut_blocks(parts, split_pattern("gpt2"), size=10)) == ["東" * 5000]


@pytest.mark.parametrize("workers", [1, 2])
def test_arrays_and_files_equal_encode(shakespeare, small, tmp_path, monkeypatch, workers):
    monkeypatch.setattr(blocks, "BLOCK", 50_000)
    text = f"{shakespeare[:300_000]}\r\n東京{EOT} é\r\n"
    path = tmp_path / "text.txt"
    path.write_bytes(text.encode())
    options = {"allowed_special": "all", "workers": workers}
    expected = small.encode(text, allowed_special="all")
    assert small.encode_array(text, **options).tolist() == expected
    assert small.encode_file(path, **options).tolist() == expected
    parts = small.encode_parts([text[:1000], text[1000:]], **options)
    assert [id_ for part in parts for id_ in part] == expected
    count = small.encode_file_to(path, tmp_path / "ids.bin", **options)
    assert count == len(expected)
    assert array(small.typecode, (tmp_path / "ids.bin").read_bytes()).tolist() == expected
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ids.bin", "text.txt"]


@pytest.mark.parametrize("workers", [1, 2])
def test_array_of_many_texts(small, monkeypatch, workers):
    monkeypatch.setattr(corpus, "_BATCH", 50)
    texts = ["low lower", "", "東京", "the newest\n"] * 30
    calls = []
    ids = small.encode_array(
        texts, append_eot=True, workers=workers, progress=lambda *call: calls.append(call)
    )
    assert ids.tolist() == [id_ for text in texts for id_ in [*small.encode(text), small.eot_id]]
    total = sum(map(len, texts))
    assert calls[-1] == ("encode", total, total)
    assert small.encode_array(iter(texts)).tolist() == [
        id_ for text in texts for id_ in small.encode(text)
    ]
    assert small.encode_array("low", append_eot=True)[-1] == small.eot_id


def test_append_eot_needs_one():
    with pytest.raises(ValueError, match="append_eot needs the special token"):
        Tokenizer.train("low", 256).encode_array("low", append_eot=True)


def test_array_type_follows_the_vocabulary(small, gpt2):
    from hipgpt_tokenizer.model import Model, byte_tokens

    assert small.typecode == gpt2.typecode == "H"
    big = [*byte_tokens(), *(b"%08d" % number for number in range(70_000))]
    tok = Tokenizer(Model(big, [], {}, "gpt2", ignore_merges=True))
    assert tok.typecode == "I"
    assert tok.encode_array("00069999") == array("I", [256 + 69_999])
    assert tok.encode("00069999") == [256 + 69_999]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_refused_text_is_refused_over_processes_too(small, workers):
    with pytest.raises(ValueError, match="text has the special token"):
        small.encode_array(["fine", f"low {EOT}"], workers=workers)
    with pytest.raises(ValueError, match="lone surrogate"):
        small.encode_batch(["fine", "\ud800"], workers=workers)


def test_a_special_token_over_a_border_is_refused(small, tmp_path):
    text = "low " * 300_000 + EOT
    (tmp_path / "text.txt").write_text(text)
    with pytest.raises(ValueError, match="text has the special token"):
        small.encode_file_to(tmp_path / "text.txt", tmp_path / "ids.bin")
    assert not (tmp_path / "ids.bin").exists()


def test_a_file_that_is_no_text_is_refused(small, tmp_path):
    (tmp_path / "text.txt").write_bytes(b"abc\xff")
    with pytest.raises(ValueError, match=re.escape("text.txt: byte 0xFF is not UTF-8")):
        small.encode_file(tmp_path / "text.txt")


@pytest.mark.parametrize("call", ["encode_batch", "encode_parts"])
def test_one_str_is_no_iterable_of_texts(small, call):
    with pytest.raises(TypeError, match="is a str, expected an iterable of str"):
        list(getattr(small, call)("low"))
    with pytest.raises(TypeError, match="a text is bytes, expected str"):
        small.encode_batch([b"low"])
