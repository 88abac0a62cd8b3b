"""Files: what is written is read by its owner, what is broken is refused by field."""

from __future__ import annotations

import base64
import copy
import json
import os
import re
import stat
from itertools import pairwise

import pytest

from hipgpt_tokenizer import Tokenizer, TokenizerFileError
from hipgpt_tokenizer.byte_symbols import SYMBOLS
from hipgpt_tokenizer.files import disk

EOT = "<|endoftext|>"
TEXTS = ["It's low,  lower\n\n\nlowest 1234", f"a{EOT}b", "é東👍\u200d", " ", ""]


# Round trips and owners


@pytest.mark.parametrize("pattern", ["gpt2", "gpt4"])
def test_tokenizer_json_round_trips(tmp_path, shakespeare, pattern):
    tok = Tokenizer.train(shakespeare[:50_000], 600, special_tokens=[EOT], pattern=pattern)
    tok.save(tmp_path / "tokenizer.json")
    again = Tokenizer.load(tmp_path / "tokenizer.json")
    assert again == tok
    assert again.fingerprint == tok.fingerprint


@pytest.mark.parametrize("pattern", ["gpt2", "gpt4"])
def test_tokenizers_loads_what_we_write(tmp_path, shakespeare, pattern):
    tokenizers = pytest.importorskip("tokenizers", reason="owner of the format")
    tok = Tokenizer.train(
        shakespeare[:100_000], 900, special_tokens=[EOT, "<|Ġ|>"], pattern=pattern
    )
    path = tmp_path / "tokenizer.json"
    tok.save(path)
    other = tokenizers.Tokenizer.from_file(str(path))
    assert other.get_vocab_size() == tok.vocab_size
    for text in [*TEXTS, shakespeare[:20_000]]:
        ids = tok.encode(text, allowed_special="all")
        assert other.encode(text).ids == ids
        assert other.decode(ids, skip_special_tokens=False) == text
    # and what tokenizers writes is read as the same tokenizer
    other.save(str(path))
    assert Tokenizer.load(path) == tok


def test_transformers_loads_what_we_write(tmp_path, shakespeare):
    transformers = pytest.importorskip("transformers", reason="the usual reader of the format")
    tok = Tokenizer.train(shakespeare[:100_000], 900, special_tokens=[EOT])
    path = tmp_path / "tokenizer.json"
    tok.save(path)
    other = transformers.PreTrainedTokenizerFast(tokenizer_file=str(path), eos_token=EOT)
    for text in [*TEXTS, shakespeare[:20_000]]:
        assert other.encode(text) == tok.encode(text, allowed_special="all")
    other.save_pretrained(tmp_path / "saved")
    assert Tokenizer.load(tmp_path / "saved" / "tokenizer.json") == tok


def test_a_tokenizer_trained_by_tokenizers_is_read(tmp_path, shakespeare):
    """Special tokens first, as its trainer puts them, and an alphabet without some bytes."""
    tokenizers = pytest.importorskip("tokenizers", reason="owner of the format")
    other = tokenizers.Tokenizer(tokenizers.models.BPE())
    other.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    other.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=700, special_tokens=[EOT, "<pad>"], show_progress=False
    )
    text = shakespeare[:100_000]
    other.train_from_iterator([text], trainer)
    other.save(str(tmp_path / "tokenizer.json"))
    tok = Tokenizer.load(tmp_path / "tokenizer.json")
    assert tok.special_tokens == {EOT: 0, "<pad>": 1}
    assert tok.encode(text) == other.encode(text).ids
    assert tok.encode(f"a{EOT}", allowed_special="all") == other.encode(f"a{EOT}").ids
    with pytest.raises(ValueError, match="no token for byte 0xE6"):
        tok.encode("東")
    with pytest.raises(ValueError, match=r"lower id than an ordinary one"):
        tok.save_tiktoken(tmp_path / "ranks")


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


def test_tiktoken_loads_what_we_write(tmp_path, gpt2, shakespeare):
    load = pytest.importorskip("tiktoken.load", reason="owner of the format")
    gpt2.save_tiktoken(tmp_path / "gpt2.tiktoken")
    ranks = load.load_tiktoken_bpe(str(tmp_path / "gpt2.tiktoken"))
    assert ranks == {gpt2.token_bytes(id_): id_ for id_ in range(50256)}
    again = Tokenizer.from_tiktoken(tmp_path / "gpt2.tiktoken", special_tokens=[EOT])
    assert again == gpt2


def test_merges_as_strings_are_read(tmp_path, small):
    document = document_of(small, tmp_path)
    document["model"]["merges"] = [" ".join(pair) for pair in document["model"]["merges"]]
    assert load_document(document, tmp_path) == small


def test_gpt2_special_tokens_may_be_named(tmp_path, small):
    paths = small.save_gpt2(tmp_path)
    assert Tokenizer.from_gpt2(*paths, special_tokens=[EOT, "<|pad|>"]) == small
    with pytest.raises(TokenizerFileError, match="special token '<s>' is not in the vocabulary"):
        Tokenizer.from_gpt2(*paths, special_tokens=["<s>"])


# The old program's file


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


# Broken files


def document_of(tok, tmp_path):
    tok.save(tmp_path / "good.json")
    return json.loads((tmp_path / "good.json").read_text("utf-8"))


def load_document(document, tmp_path):
    (tmp_path / "bad.json").write_text(json.dumps(document), "utf-8")
    return Tokenizer.load(tmp_path / "bad.json")


def put(*path_and_value):
    *path, value = path_and_value

    def change(document):
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return change


def drop(*path):
    def change(document):
        for key in path[:-1]:
            document = document[key]
        del document[path[-1]]

    return change


SPLIT = {"type": "Split", "pattern": {"Regex": "x"}, "behavior": "Isolated", "invert": False}
LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}

BROKEN_JSON = [
    (put("extra", 1), "extra is unknown"),
    (put("version", "2.0"), "version is '2.0', expected \"1.0\""),
    (put("truncation", {}), "truncation is not null"),
    (put("padding", {"a": 1}), "padding is not null"),
    (put("normalizer", {"type": "NFC"}), "normalizer is not null"),
    (put("pre_tokenizer", None), "pre_tokenizer is null"),
    (put("pre_tokenizer", 3), "pre_tokenizer is 3, expected an object"),
    (put("pre_tokenizer", {"type": "Whitespace"}), "pre_tokenizer.type is 'Whitespace'"),
    (put("pre_tokenizer", "add_prefix_space", True), "add_prefix_space is True, expected false"),
    (put("pre_tokenizer", "use_regex", False), "use_regex is False, expected true"),
    (put("pre_tokenizer", {"type": "Sequence", "pretokenizers": []}), "is another sequence"),
    (put("pre_tokenizer", {"type": "Sequence"}), "pre_tokenizer.pretokenizers is missing"),
    (
        put("pre_tokenizer", {"type": "Sequence", "pretokenizers": [SPLIT, LEVEL]}),
        "pretokenizers[0].pattern is 'x', expected the pattern of GPT-2",
    ),
    (
        put(
            "pre_tokenizer",
            {"type": "Sequence", "pretokenizers": [SPLIT | {"invert": True}, LEVEL]},
        ),
        "pretokenizers[0] is not of behavior",
    ),
    (put("pre_tokenizer", {"type": "WhitespaceSplit"}), "model.end_of_word_suffix is ''"),
    (put("post_processor", {"type": "TemplateProcessing"}), "post_processor.type is"),
    (
        put(
            "post_processor",
            {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "<|a|>"}}, {"Sequence": {"id": "A"}}],
            },
        ),
        "post_processor.type is",
    ),
    (put("decoder", {"type": "WordPiece"}), "decoder.type is 'WordPiece'"),
    (drop("model"), "model is missing"),
    (put("model", []), "model is [], expected an object"),
    (put("model", "type", "Unigram"), "model.type is 'Unigram'"),
    (put("model", "dropout", 0.1), "model.dropout is 0.1"),
    (put("model", "byte_fallback", True), "model.byte_fallback is True"),
    (put("model", "continuing_subword_prefix", "##"), "model.continuing_subword_prefix is '##'"),
    (put("model", "end_of_word_suffix", "</w>"), "model.end_of_word_suffix is '</w>'"),
    (put("model", "ignore_merges", "yes"), "model.ignore_merges is 'yes'"),
    (drop("model", "vocab"), "model.vocab is missing"),
    (put("model", "vocab", []), "model.vocab is [], expected an object"),
    (put("model", "vocab", "!", "0"), "model.vocab['!'] is \"0\", expected an integer"),
    (put("model", "vocab", "!", True), "model.vocab['!'] is true, expected an integer"),
    (put("model", "vocab", "!", 1), "model.vocab gives id 1 to both"),
    (put("model", "vocab", "!", -1), "model.vocab['!'] is -1, expected the"),
    (put("model", "vocab", "!", 10**6), "model.vocab['!'] is 1000000, expected the"),
    (put("model", "vocab", "a b", 303), "token 'a b' (id 303) has the character ' '"),
    (drop("model", "merges"), "model.merges is missing"),
    (put("model", "merges", {}), "model.merges is {}, expected a list"),
    (put("model", "merges", 0, ["l"]), "model.merges[0] is ['l'], expected two tokens"),
    (put("model", "merges", 0, ["l", 1]), "model.merges[0] is ['l', 1], expected two tokens"),
    (put("model", "merges", 0, "lo"), "model.merges[0] is 'lo', expected two tokens"),
    (put("model", "merges", 0, ["q", "zz"]), "merges[0] is 'q' 'zz', but 'zz' is not in the voc"),
    (put("model", "merges", 0, ["q", "z"]), "merges[0] is 'q' 'z', but 'qz' is not in the voc"),
    (lambda d: d["model"]["merges"].append(d["model"]["merges"][0]), "repeats model.merges[0]"),
    (put("added_tokens", {}), "added_tokens is {}, expected a list"),
    (put("added_tokens", 0, 5), "added_tokens[0] is 5, expected an object"),
    (drop("added_tokens", 0, "id"), "added_tokens[0].id is missing"),
    (drop("added_tokens", 0, "content"), "added_tokens[0].content is missing"),
    (put("added_tokens", 0, "lstrip", True), "added_tokens[0].lstrip is true"),
    (put("added_tokens", 0, "special", False), "added_tokens[0].special is False"),
    (put("added_tokens", 0, "id", 3), "added_tokens[0].id is 3 for '<|endoftext|>', but model."),
    (put("added_tokens", 0, "content", "<|new|>"), "added_tokens gives '<|new|>' the id 3"),
    (put("added_tokens", 0, "content", "<|pad|>"), "added_tokens[0].id is"),
    (lambda d: d["added_tokens"].append(d["added_tokens"][0]), "added_tokens[2] repeats the id"),
    (
        put("added_tokens", 0, {"id": 0, "content": "!", "special": True}),
        "'!' is also the spelling",
    ),
    (put("added_tokens", 0, "content", "\ud800"), "lone surrogate U+D800"),
]


def test_a_template_that_adds_nothing_is_read(tmp_path, small):
    """As transformers 5 writes it where a byte-level tokenizer needs no post-processor."""
    small.save(tmp_path / "tokenizer.json")
    document = json.loads((tmp_path / "tokenizer.json").read_text("utf-8"))
    document["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {},
    }
    (tmp_path / "other.json").write_text(json.dumps(document), "utf-8")
    assert Tokenizer.load(tmp_path / "other.json") == small


@pytest.mark.parametrize(("change", "message"), BROKEN_JSON)
def test_broken_tokenizer_json_is_refused(tmp_path, small, change, message):
    document = copy.deepcopy(document_of(small, tmp_path))
    change(document)
    with pytest.raises(TokenizerFileError) as caught:
        load_document(document, tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "bad.json") + ": ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON"),
        (b"[]", "the file is [], expected an object"),
        (b"3", "the file is 3, expected an object"),
        (b"\xff\xfe", "byte 0 is not UTF-8"),
        (b'{"model": {"vocab": {"a": 0, "a": 1}}}', "key 'a' stands twice"),
        (b'{"a": 0, "b": 1}', "this looks like GPT-2's vocab.json"),
        (b'{"model": {"vo', "the file may be cut short"),
        (b"[" * 100_000, "nested too deep"),
    ],
)
def test_a_file_that_is_no_tokenizer_json_is_refused(tmp_path, data, message):
    (tmp_path / "bad.json").write_bytes(data)
    with pytest.raises(TokenizerFileError, match=re.escape(message)):
        Tokenizer.load(tmp_path / "bad.json")


def test_a_file_cut_short_anywhere_is_refused(tmp_path, small):
    small.save(tmp_path / "good.json")
    data = (tmp_path / "good.json").read_bytes()
    for end in range(0, len(data) - 2, max(1, len(data) // 60)):
        (tmp_path / "bad.json").write_bytes(data[:end])
        with pytest.raises(TokenizerFileError):
            Tokenizer.load(tmp_path / "bad.json")


def test_an_unknown_token_and_missing_bytes_do_not_go_together(tmp_path):
    document = {
        "pre_tokenizer": LEVEL | {"use_regex": True},
        "model": {"type": "BPE", "unk_token": "b", "vocab": {"a": 0, "b": 1}, "merges": []},
    }
    with pytest.raises(TokenizerFileError, match=r"model\.unk_token is 'b'"):
        load_document(document, tmp_path)


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


# Writing


def test_saving_is_atomic(tmp_path, small, monkeypatch):
    path = tmp_path / "tokenizer.json"
    small.save(path)
    before = path.read_bytes()

    def fail(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk.os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        Tokenizer.train("other", 256).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_saving_follows_a_link_and_keeps_usual_rights(tmp_path, small):
    real = tmp_path / "real.json"
    link = tmp_path / "link.json"
    real.write_text("old")
    link.symlink_to(real)
    small.save(link)
    assert link.is_symlink()
    assert Tokenizer.load(real) == small
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(real.stat().st_mode) == 0o666 & ~umask


def test_a_missing_file_is_the_usual_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        Tokenizer.load(tmp_path / "none.json")
