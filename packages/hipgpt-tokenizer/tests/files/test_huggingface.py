"""tokenizer.json is read by its owners and from them, and refused by field where it is broken."""

import copy
import json
import re

import pytest

from hipgpt_tokenizer import Tokenizer, TokenizerFileError

from .documents import document_of, drop, load_document, put

EOT = "<|endoftext|>"
TEXTS = ["It's low,  lower\n\n\nlowest 1234", f"a{EOT}b", "é東👍\u200d", " ", ""]


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


def test_merges_as_strings_are_read(tmp_path, small):
    document = document_of(small, tmp_path)
    document["model"]["merges"] = [" ".join(pair) for pair in document["model"]["merges"]]
    assert load_document(document, tmp_path) == small


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
