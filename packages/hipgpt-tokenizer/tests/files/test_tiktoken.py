"""Rank files are read by tiktoken, and what they cannot say or say wrongly is refused."""

import base64
import re

import pytest

from hipgpt_tokenizer import Tokenizer, TokenizerFileError

EOT = "<|endoftext|>"


def test_tiktoken_loads_what_we_write(tmp_path, gpt2, shakespeare):
    load = pytest.importorskip("tiktoken.load", reason="owner of the format")
    gpt2.save_tiktoken(tmp_path / "gpt2.tiktoken")
    ranks = load.load_tiktoken_bpe(str(tmp_path / "gpt2.tiktoken"))
    assert ranks == {gpt2.token_bytes(id_): id_ for id_ in range(50256)}
    again = Tokenizer.from_tiktoken(tmp_path / "gpt2.tiktoken", special_tokens=[EOT])
    assert again == gpt2


def rank_file(*tokens):
    lines = [bytes([byte]) for byte in range(256)] + list(tokens)
    return [f"{base64.b64encode(token).decode()} {rank}" for rank, token in enumerate(lines)]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (rank_file()[:-1], "byte 0xFF has no rank"),
        (rank_file()[1:], "rank 0 is missing"),
        ([*rank_file(), "YWI= 255"], "line 257 gives rank 255 a second time"),
        ([*rank_file(), "YWI= 300"], "rank 256 is missing"),
        ([*rank_file(), "YWI="], "line 257 is 'YWI=', expected base64"),
        ([*rank_file(), "YWI= x"], "line 257 is 'YWI= x', expected base64"),
        ([*rank_file(), "Y 256"], "line 257 is 'Y 256', expected base64"),
        ([*rank_file(), " 256"], "line 257 is ' 256', expected base64"),
        (rank_file(b"abc"), "rank 256 is b'abc', which is not two tokens of lower rank"),
        (rank_file(b"ab", b"ab"), "ids 256 and 257 are the same token|not two tokens"),
    ],
)
def test_broken_rank_files_are_refused(tmp_path, lines, message):
    (tmp_path / "x.tiktoken").write_text("\n".join(lines))
    pattern = message if "|" in message else re.escape(message)
    with pytest.raises(TokenizerFileError, match=pattern):
        Tokenizer.from_tiktoken(tmp_path / "x.tiktoken")


def test_what_ranks_cannot_say_is_refused(tmp_path):
    from hipgpt_tokenizer.model import Model, byte_tokens

    tokens = [*byte_tokens(), b"ab", b"cd"]
    a, b, c, d = (tokens.index(bytes([byte])) for byte in b"abcd")
    shuffled = Tokenizer(Model(tokens, [(c, d, 257), (a, b, 256)], {}, "gpt2"))
    with pytest.raises(ValueError, match="not in the order of their results' ids"):
        shuffled.save_tiktoken(tmp_path / "x")
    assert not list(tmp_path.iterdir())
