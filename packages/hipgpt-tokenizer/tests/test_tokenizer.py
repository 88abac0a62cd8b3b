"""The class: round trips, the policy for special tokens, offsets, decoding, properties."""

from __future__ import annotations

import pickle
import random
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hipgpt_tokenizer import Tokenizer

# Trained once at import: hypothesis wants no fixtures that it cannot reset.
TOK = Tokenizer.train(
    "It's low, lower, lowest. 10 20\n\n é è 東京 👍👍\n" * 4, 330, special_tokens=["<|endoftext|>"]
)
TOK4 = Tokenizer.train("It's low, lower.\n 1234\n" * 4, 300, pattern="gpt4")


@pytest.mark.parametrize("tok", [TOK, TOK4])
@given(st.text())
@settings(max_examples=300)
def test_any_text_round_trips(tok, text):
    assert tok.decode(tok.encode_ordinary(text)) == text


@given(st.binary())
@settings(max_examples=300)
def test_any_bytes_round_trip(data):
    assert TOK.decode_bytes(TOK.encode_bytes(data)) == data


@given(st.lists(st.integers(0, TOK.vocab_size - 1)))
@settings(max_examples=300)
def test_stream_gives_the_text_of_decode(ids):
    stream = TOK.stream()
    assert "".join(map(stream.feed, ids)) + stream.flush() == TOK.decode(ids)


def test_bytes_that_are_text_encode_like_it(gpt2, shakespeare):
    text = shakespeare[:5000] + "東京 é"
    assert gpt2.encode_bytes(text.encode()) == gpt2.encode(text)


@pytest.mark.parametrize("count", [1, 2, 5, 100, 1000])
def test_runs_of_a_byte_that_is_no_text(gpt2, count):
    data = b"\x80" * count
    assert gpt2.decode_bytes(gpt2.encode_bytes(data)) == data


def test_encode_bytes_leaves_no_surrogate_in_the_cache():
    TOK.encode_bytes(b"x \x80")
    with pytest.raises(ValueError, match="lone surrogate"):
        TOK.encode("x \udc80")


@pytest.mark.parametrize("text", ["\ud800", "a\udfff", "東" * 20_000 + "\ud83d", "a \ud800 b"])
def test_a_lone_surrogate_is_refused_with_its_place(text):
    place = next(i for i, char in enumerate(text) if "\ud800" <= char <= "\udfff")
    with pytest.raises(ValueError, match=f"lone surrogate U[+]D.* at character {place},"):
        TOK.encode(text)
    repaired = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert TOK.decode(TOK.encode(repaired)) == repaired


# Special tokens

EOT = "<|endoftext|>"


def test_a_special_token_in_text_is_refused():
    message = f"text has the special token {EOT!r} at character 2; to encode it as one"
    for method in (TOK.encode, TOK.encode_with_offsets, TOK.encode_array):
        with pytest.raises(ValueError, match=re.escape(message)):
            method(f"a {EOT}")
    with pytest.raises(ValueError, match=re.escape(message)):
        TOK.encode_batch(["fine", f"a {EOT}"])


def test_a_special_token_is_one_id_where_allowed():
    for allowed in ("all", {EOT}):
        ids = TOK.encode(f"low{EOT}{EOT} low", allowed_special=allowed)
        assert ids == [*TOK.encode("low"), TOK.eot_id, TOK.eot_id, *TOK.encode(" low")]
        assert TOK.decode(ids) == f"low{EOT}{EOT} low"


def test_a_special_token_is_text_where_not_disallowed():
    ids = TOK.encode(f"low{EOT}", disallowed_special=())
    assert TOK.eot_id not in ids
    assert ids == TOK.encode_ordinary(f"low{EOT}")
    assert TOK.decode(ids) == f"low{EOT}"


def test_disallowed_may_name_any_text():
    with pytest.raises(ValueError, match="special token 'low'"):
        TOK.encode("a low", disallowed_special={"low"})


def test_policy_equals_tiktoken(gpt2, tiktoken_twin):
    twin = tiktoken_twin(gpt2)
    for text in (f"a{EOT}b", f"{EOT}", f"  {EOT}  ", f"<|endoftext{EOT}|>", f"\n\n{EOT}\n\n"):
        for options in ({"allowed_special": "all"}, {"disallowed_special": ()}):
            assert gpt2.encode(text, **options) == twin.encode(text, **options)
        for tok in (gpt2, twin):
            with pytest.raises(ValueError, match="endoftext"):
                tok.encode(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"allowed_special": "some"}, "allowed_special is 'some', expected \"all\" or a set"),
        ({"disallowed_special": "none"}, "disallowed_special is 'none', expected"),
        ({"allowed_special": {"<|x|>"}}, "allowed_special has '<|x|>', which is no special token"),
    ],
)
def test_a_wrong_policy_is_refused(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        TOK.encode("text", **options)


def test_the_longest_special_token_wins():
    tok = Tokenizer.train("low", 300, special_tokens=["<a>", "<a><b>", "<b>"])
    ids = [tok.special_tokens[name] for name in ("<a><b>", "<a>", "<b>")]
    assert tok.encode("<a><b><a><a><b>", allowed_special="all") == [ids[0], ids[1], ids[0]]


def test_special_tokens_of_byte_symbols_round_trip():
    """Their characters must not be taken for the bytes that they stand for in files."""
    tok = Tokenizer.train("low Ġlow", 300, special_tokens=["Ġx", "<|Ċ|>", "東京"])
    text = "low<|Ċ|>Ġx東京 Ġ Ċ"
    ids = tok.encode(text, allowed_special="all")
    assert tok.decode(ids) == text
    assert tok.token_bytes(tok.special_tokens["Ġx"]) == "Ġx".encode()
    assert tok.decode(tok.encode(text, disallowed_special=())) == text


# Offsets


def test_offsets_equal_tokenizers(gpt2, random_text, tmp_path, shakespeare):
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is an oracle")
    gpt2.save(tmp_path / "tokenizer.json")
    other = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    other.post_processor = tokenizers.processors.ByteLevel(trim_offsets=False)
    source = random.Random(1)
    for text in [shakespeare[:3000], *(random_text(source) for _ in range(2000))]:
        found = other.encode(text)
        assert gpt2.encode_with_offsets(text) == (found.ids, found.offsets)


def test_offsets_with_special_tokens():
    ids, offsets = TOK.encode_with_offsets(f"é{EOT}low", allowed_special="all")
    assert ids == TOK.encode(f"é{EOT}low", allowed_special="all")
    place = ids.index(TOK.eot_id)
    assert offsets[place] == (1, 1 + len(EOT))
    assert offsets[0] == (0, 1)
    assert [offsets[place + 1][0], offsets[-1][1]] == [1 + len(EOT), len(EOT) + 4]


# Batches and decoding


@pytest.mark.parametrize("workers", [1, 2])
def test_batch_equals_one_by_one(shakespeare, workers):
    texts = [*shakespeare[:200_000].split("\n\n"), "", "東京"]
    assert TOK.encode_batch(texts, workers=workers) == [TOK.encode(text) for text in texts]
    batch = TOK.encode_batch(iter(texts[:50]))
    assert TOK.decode_batch(batch) == texts[:50]


def test_decoding_takes_any_iterable():
    ids = TOK.encode("low lower")
    for form in (ids, tuple(ids), iter(ids), TOK.encode_array("low lower"), (i for i in ids)):
        assert TOK.decode(form) == "low lower"
    numpy = pytest.importorskip("numpy", reason="ids of a model come as numpy integers")
    assert TOK.decode(numpy.array(ids)) == "low lower"
    assert TOK.stream().feed(numpy.int64(ids[-1])) == TOK.decode(ids[-1:])


def test_half_a_character_follows_errors():
    first = TOK.encode_bytes("東".encode()[:1])
    assert TOK.decode(first) == "\ufffd"
    assert TOK.decode(first, errors="ignore") == ""
    with pytest.raises(UnicodeDecodeError):
        TOK.decode(first, errors="strict")
    stream = TOK.stream()
    assert (stream.feed(first[0]), stream.flush(), stream.flush()) == ("", "\ufffd", "")


@pytest.mark.parametrize("id_", [-1, -330, TOK.vocab_size, 10**6, -(10**6), 2**70])
def test_an_id_out_of_range_is_refused(id_):
    message = f"id {id_} is not in the vocabulary, expected 0 to {TOK.vocab_size - 1}"
    for method in (TOK.token_bytes, TOK.id_to_token, TOK.stream().feed):
        with pytest.raises(ValueError, match=re.escape(message)):
            method(id_)
    with pytest.raises(ValueError, match=re.escape(message)):
        TOK.decode([1, id_])


@pytest.mark.parametrize("ids", [["a"], [1.5], [None], [1, None, 2], [1, 1.5, 2], [1, "a", 1]])
def test_an_id_that_is_no_int_is_refused(ids):
    with pytest.raises(TypeError):
        TOK.decode(ids)


@pytest.mark.parametrize("method", ["encode", "encode_ordinary", "encode_with_offsets"])
def test_text_that_is_no_str_is_refused(method):
    with pytest.raises(TypeError, match="text is bytes, expected str"):
        getattr(TOK, method)(b"low")


# Properties


def test_properties():
    assert len(TOK) == TOK.vocab_size == 256 + len(TOK.merges) + 1
    assert TOK.special_tokens == {EOT: TOK.vocab_size - 1}
    assert TOK.eot_id == TOK.vocab_size - 1
    assert TOK4.eot_id is None
    assert (TOK.pattern, TOK4.pattern) == ("gpt2", "gpt4")
    assert repr(TOK).startswith(f"<Tokenizer gpt2, {TOK.vocab_size} ids, special {EOT!r}, ")
    with pytest.raises(TypeError):
        TOK.special_tokens["x"] = 1


def test_merges_make_the_tokens():
    for place, (left, right) in enumerate(TOK.merges):
        assert TOK.token_bytes(256 + place) == TOK.token_bytes(left) + TOK.token_bytes(right)


def test_tokens_and_ids_are_inverse():
    for id_ in range(TOK.vocab_size):
        assert TOK.token_to_id(TOK.id_to_token(id_)) == id_
        assert id_ == TOK.eot_id or TOK.token_to_id(TOK.token_bytes(id_)) == id_
    assert TOK.token_to_id("no such token") is None
    assert TOK.token_to_id(EOT.encode()) is None


def test_fingerprint_tells_every_part():
    text = "low lower lowest"
    variants = [
        Tokenizer.train(text, 260),
        Tokenizer.train(text, 261, special_tokens=["<a>"]),
        Tokenizer.train(text, 261, special_tokens=["<b>"]),
        Tokenizer.train(text, 260, pattern="gpt4"),
        Tokenizer.train(text, 259),
        Tokenizer.train("new newer newest", 260),
    ]
    assert len({tok.fingerprint for tok in variants}) == len(variants)
    assert all(a != b for i, a in enumerate(variants) for b in variants[:i])
    again = Tokenizer.train(text, 260)
    assert (again, again.fingerprint, hash(again)) == (
        variants[0],
        variants[0].fingerprint,
        hash(variants[0]),
    )
    assert variants[0] != "something else"


def test_a_fingerprint_stays_what_it_is():
    """Checkpoints store it, so a new release must not change it."""
    tok = Tokenizer.train("low lower lowest", 261, special_tokens=["<|endoftext|>"])
    assert tok.fingerprint == "407cacdee761878cdd166f4db0b52e6bc13fbec4ed6501e763ce445096311ab1"


def test_a_tokenizer_can_be_pickled_without_its_cache():
    TOK.encode("low lower " * 100)
    again = pickle.loads(pickle.dumps(TOK))
    assert again == TOK
    assert again.encode("low") == TOK.encode("low")


def test_importing_loads_nothing_heavy():
    code = (
        "import sys, hipgpt_tokenizer; "
        "print([name for name in ('json', 'hashlib', 'multiprocessing', 'typing', 'pathlib', "
        "'unicodedata', 'random', 'tempfile') if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": ":".join(path for path in sys.path if path)},
    )  # fmt: skip
    assert found.stdout.strip() == "[]"
