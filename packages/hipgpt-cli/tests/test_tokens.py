"""tokens.bin: what it holds, and when it is used again."""

import json

import numpy as np
import pytest

from hipgpt_cli.corpus import END_OF_TEXT, open_corpus
from hipgpt_cli.errors import UserError
from hipgpt_cli.tokens import open_tokens, read_info, write_tokens
from hipgpt_tokenizer import Tokenizer

TEXTS = {"1.txt": "one two one two\n", "2.txt": "two one", "3.txt": "two"}


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "texts").mkdir()
    for name, text in TEXTS.items():
        (tmp_path / "texts" / name).write_text(text)
    return open_corpus("texts")


@pytest.fixture
def tokenizer():
    return Tokenizer.train(" ".join(TEXTS.values()), 262, special_tokens=[END_OF_TEXT])


@pytest.mark.parametrize("workers", [1, 2])
def test_documents_with_separators_between(corpus, tokenizer, tmp_path, workers):
    path = tmp_path / "tokens.bin"
    info = write_tokens(path, corpus, "hash", tokenizer, workers=workers)
    ids = open_tokens(path, info)
    assert ids.dtype == np.uint16
    assert tokenizer.decode(ids.tolist()) == END_OF_TEXT.join(TEXTS.values())
    assert ids.tolist().count(tokenizer.eot_id) == 2
    assert read_info(path) == info


def test_without_the_special_token_nothing_separates(corpus, tmp_path):
    tokenizer = Tokenizer.train("one two", 256)
    info = write_tokens(tmp_path / "t.bin", corpus, "hash", tokenizer)
    ids = open_tokens(tmp_path / "t.bin", info).tolist()
    assert tokenizer.decode(ids) == "".join(TEXTS.values())


def test_progress_reaches_the_end(corpus, tokenizer, tmp_path):
    seen = []
    write_tokens(tmp_path / "t.bin", corpus, "h", tokenizer, progress=lambda *a: seen.append(a))
    assert seen[-1] == ("encode", corpus.bytes, corpus.bytes)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.unlink(),
        lambda path: path.with_suffix(".json").unlink(),
        lambda path: path.with_suffix(".json").write_text("{"),
        lambda path: path.with_suffix(".json").write_text('{"format": "other", "version": 1}'),
    ],
)
def test_damaged_files_are_not_believed(corpus, tokenizer, tmp_path, damage):
    path = tmp_path / "tokens.bin"
    write_tokens(path, corpus, "hash", tokenizer)
    damage(path)
    assert read_info(path) is None


def test_another_files_neighbour_is_not_overwritten(corpus, tokenizer, tmp_path):
    tokenizer.save(tmp_path / "mine.json")
    with pytest.raises(UserError, match="give the token file another name"):
        write_tokens(tmp_path / "mine.bin", corpus, "hash", tokenizer)
    assert "model" in json.loads((tmp_path / "mine.json").read_text())
    assert not (tmp_path / "mine.bin").exists()
