"""What the tests share: the data, GPT-2's tokenizer and its twins in other libraries.

Odd thing: data and peers are optional. Without them a test is skipped and says why.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hipgpt_tokenizer import Tokenizer
from hipgpt_tokenizer.patterns import PUBLISHED

if TYPE_CHECKING:
    import random

_REPOSITORY = Path(__file__).resolve().parents[3]
DATA = Path(os.environ.get("HIPGPT_DATA") or _REPOSITORY.parent / "shared" / "data")

# Characters where splits go wrong: contractions, all kinds of space, marks, joiners, numbers.
TRICKY = (
    "ab'sl19., \n\t\r\v\f\x1c\x1f\x85\xa0\u1680\u2003\u2028\u3000é東\u0301👍🏽\u200d\x00\x7f"
    "²½Ⅷ٣ſK_-\ufeff\ufffd"
)


def _path(name: str) -> Path:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{name} is not there; set HIPGPT_DATA to the folder that has it")
    return path


@pytest.fixture(scope="session")
def data_path():
    """A function that finds a data file, or skips."""
    return _path


@pytest.fixture(scope="session")
def read_data():
    """A function that reads a data file, line ends as they are, or skips."""
    return lambda name: _path(name).read_bytes().decode()


@pytest.fixture(scope="session")
def shakespeare() -> str:
    return _path("tinyshakespeare.txt").read_bytes().decode()


@pytest.fixture(scope="session")
def gpt2() -> Tokenizer:
    return Tokenizer.from_gpt2(_path("gpt2/vocab.json"), _path("gpt2/merges.txt"))


@pytest.fixture(scope="session")
def small() -> Tokenizer:
    """A small tokenizer with special tokens, trained here."""
    text = "It's low, lower, lowest; the newest is the widest. 10 20 30\n\n  é è 東京 東 👍👍\n" * 5
    return Tokenizer.train(text, 400, special_tokens=["<|endoftext|>", "<|pad|>"])


@pytest.fixture(scope="session")
def tiktoken_twin():
    """A function that makes tiktoken's encoder of the same tokens and published pattern."""
    tiktoken = pytest.importorskip("tiktoken", reason="tiktoken is the encoder's oracle")

    def make(tok: Tokenizer):
        count = tok.vocab_size - len(tok.special_tokens)
        return tiktoken.Encoding(
            "twin",
            pat_str=PUBLISHED[tok.pattern],
            mergeable_ranks={tok.token_bytes(id_): id_ for id_ in range(count)},
            special_tokens=dict(tok.special_tokens),
        )

    return make


def _random_text(source: random.Random, longest: int = 40) -> str:
    count = source.randrange(longest)
    kind = source.random()
    if kind < 0.3:
        points = [source.randrange(0x110000 - 0x800) for _ in range(count)]
        return "".join(chr(point + (0x800 if point >= 0xD800 else 0)) for point in points)
    if kind < 0.6:
        return "".join(source.choices(TRICKY, k=count))
    if kind < 0.8:
        return "".join(source.choices(" \n\t'sdmtllverea1.\r", k=count))
    return "".join(chr(source.randrange(0x300)) for _ in range(count))


@pytest.fixture(scope="session")
def random_text():
    """A function for strings of four kinds: all planes, tricky, spaces and quotes, two-byte."""
    return _random_text
