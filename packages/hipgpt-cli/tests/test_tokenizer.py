"""`hipgpt tokenizer`: train, encode, decode, convert, show."""

import json

import pytest

from hipgpt_tokenizer import Tokenizer

TEXT = "the quick brown fox: é ☃\n"


@pytest.fixture
def tokenizer(run, text):
    """./tok.json, trained on ./words.txt."""
    result = run("tokenizer", "train", "--data", text, "--vocab-size", "310", "--out", "tok.json")
    assert result.exit_code == 0, result.output
    return Tokenizer.load("tok.json")


def test_train(run, tokenizer, text, words):
    assert tokenizer.vocab_size == 310
    assert tokenizer.eot_id == 309
    expected = Tokenizer.train(words, 310, special_tokens=["<|endoftext|>"])
    assert tokenizer == expected
    again = run("tokenizer", "train", "--data", text, "--out", "tok.json")
    assert again.exit_code == 1
    assert "--force replaces it" in again.stderr
    forced = [
        "--out",
        "tok.json",
        "--force",
        "--vocab-size",
        "300",
        "--special",
        "<a>",
        "--special",
        "<b>",
    ]
    run("tokenizer", "train", "--data", text, *forced)
    assert list(Tokenizer.load("tok.json").special_tokens) == ["<a>", "<b>"]


def test_encode_and_decode(run, tokenizer):
    encoded = run("tokenizer", "encode", "--tokenizer", "tok.json", TEXT)
    assert [int(word) for word in encoded.stdout.split()] == tokenizer.encode(TEXT)
    decoded = run("tokenizer", "decode", "--tokenizer", "tok.json", input=encoded.stdout)
    assert decoded.stdout_bytes == TEXT.encode()
    as_json = run("tokenizer", "encode", "--tokenizer", "tok.json", "--json", input=TEXT)
    assert json.loads(as_json.stdout) == tokenizer.encode(TEXT)
    decoded = run("tokenizer", "decode", "--tokenizer", "tok.json", input=as_json.stdout)
    assert decoded.stdout_bytes == TEXT.encode()
    ids = [str(id_) for id_ in tokenizer.encode("fox")]
    assert run("tokenizer", "decode", "--tokenizer", "tok.json", *ids).stdout == "fox"


def test_special_tokens_are_text_unless_allowed(run, tokenizer):
    plain = run("tokenizer", "encode", "--tokenizer", "tok.json", "<|endoftext|>")
    allowed = run(
        "tokenizer", "encode", "--tokenizer", "tok.json", "--allow-special", "<|endoftext|>"
    )
    assert allowed.stdout == "309\n"
    assert len(plain.stdout.split()) > 1


def test_a_token_file_there_and_back(run, tokenizer, text):
    written = run(
        "tokenizer", "encode", "--tokenizer", "tok.json", "--data", text, "--out", "ids.bin"
    )
    assert written.exit_code == 0
    assert "bytes each" in written.stdout
    back = run("tokenizer", "decode", "--tokenizer", "tok.json", "--tokens-path", "ids.bin")
    assert back.stdout_bytes == text.read_bytes()


def test_a_token_file_may_not_take_the_tokenizers_place(run, tokenizer, text):
    result = run(
        "tokenizer", "encode", "--tokenizer", "tok.json", "--data", text, "--out", "tok.bin"
    )
    assert result.exit_code == 1
    assert Tokenizer.load("tok.json") == tokenizer


def test_the_newest_run_is_the_default(run, trained, words):
    ids = run("tokenizer", "encode", "the fox").stdout
    assert [int(word) for word in ids.split()] == Tokenizer.load(trained / "tokenizer.json").encode(
        "the fox"
    )
    assert run("tokenizer", "decode", "--run", "tiny", input=ids).stdout == "the fox"
    all_ids = run("tokenizer", "decode", "--tokens-path", trained / "tokens.bin")
    assert all_ids.stdout == words


def test_convert_through_every_format(run, tokenizer):
    """Hugging Face to GPT-2 to tiktoken and back; the ids stay."""
    for source, target in [
        ("tok.json", "gpt2"),
        ("gpt2", "again.json"),
        ("again.json", "t.tiktoken"),
    ]:
        result = run("tokenizer", "convert", source, target)
        assert result.exit_code == 0, result.output
    assert Tokenizer.load("again.json") == tokenizer
    assert "cannot hold special tokens" in result.stderr
    back = run("tokenizer", "convert", "t.tiktoken", "back.json", "--special", "<|endoftext|>")
    assert back.exit_code == 0
    assert Tokenizer.load("back.json") == tokenizer
    for path in ("gpt2", "back.json"):
        exists = run("tokenizer", "convert", "tok.json", path)
        assert exists.exit_code == 1
        assert "--force replaces it" in exists.stderr
        assert run("tokenizer", "convert", "tok.json", path, "--force").exit_code == 0


def test_show_a_text(run, tokenizer):
    result = run("tokenizer", "show", "--tokenizer", "tok.json", "the fox\n")
    assert result.stdout.startswith("the|·fox|⏎|\n")
    assert f"{8 / len(tokenizer.encode('the fox' + chr(10))):.2f} bytes each" in result.stdout
    ids = run("tokenizer", "show", "--tokenizer", "tok.json", "--ids", "the")
    assert str(tokenizer.encode("the")[0]) in ids.stdout


def test_show_a_vocabulary(run, tokenizer):
    result = run("tokenizer", "show", "--tokenizer", "tok.json", "--longest", "3")
    longest = max((tokenizer.token_bytes(id_) for id_ in range(309)), key=len).decode()
    assert "310 ids" in result.stdout
    assert "<|endoftext|> = 309" in result.stdout
    assert longest.replace(" ", "·") in result.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["encode", "--tokenizer", "nope.json", "x"], 1, "there is no such file or folder"),
        (["encode", "x"], 1, "hipgpt train makes one"),
        (["encode", "--tokenizer", "tok.json", "x", "--data", "-"], 2, "not both"),
        (["encode", "--tokenizer", "tok.json", "x", "--out", "y"], 2, "--out needs --data"),
        (["decode", "--tokenizer", "tok.json", "999999"], 1, "999999 is not in the vocabulary"),
        (["decode", "--tokenizer", "tok.json", "x1"], 1, "'x1' is no token id"),
        (
            ["decode", "--tokenizer", "tok.json", "--tokens-path", "words.txt"],
            1,
            "is no token file",
        ),
        (["encode", "--tokenizer", ".", "x"], 1, "holds no tokenizer"),
        (["encode", "--tokenizer", "words.txt", "x"], 1, "words.txt: not JSON"),
        (["convert", "tok.json", "words.txt", "--to", "gpt2"], 2, "is a file"),
        (["convert", "nowhere", "x.json"], 2, "does not exist"),
        (["train", "--data", "words.txt", "--vocab-size", "256", "--out", "x"], 1, "at least 257"),
        (["shwo"], 2, "did you mean show?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input(run, tokenizer, arguments, status, said):
    result = run("tokenizer", *arguments)
    assert result.exit_code == status, result.output
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_show_as_json(run, tokenizer):
    found = json.loads(
        run("tokenizer", "show", "the fox é", "--json", "--tokenizer", "tok.json").stdout
    )
    assert [token["id"] for token in found["tokens"]] == json.loads(
        run("tokenizer", "encode", "the fox é", "--json", "--tokenizer", "tok.json").stdout
    )
    assert sum(token["bytes"] for token in found["tokens"]) == found["bytes"] == 10
    assert "".join(token["text"] for token in found["tokens"]).startswith("the fox ")
    assert "longest" not in found
    vocabulary = json.loads(
        run("tokenizer", "show", "--json", "--longest", "3", "--tokenizer", "tok.json").stdout
    )
    assert len(vocabulary["longest"]) == 3
    assert "tokens" not in vocabulary
