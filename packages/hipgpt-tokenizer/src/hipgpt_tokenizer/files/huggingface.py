"""Hugging Face's tokenizer.json, as the `tokenizers` library 0.20 and later writes it.

The file describes a pipeline; read are the pipelines that this package's tokenizers are, and
anything else is refused by the name of the field, rather than encoded a little differently.

Odd thing: `tokenizers` refuses a file with a top-level key that it does not know, so nothing of
our own can be stored in it.
"""

from __future__ import annotations

from typing import Any

from hipgpt_tokenizer.byte_symbols import SYMBOLS
from hipgpt_tokenizer.model import LEGACY, Model, encode_utf8
from hipgpt_tokenizer.patterns import PUBLISHED

from . import disk, legacy, spelled

_KEYS = (
    "version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
    "post_processor", "decoder", "model",
)  # fmt: skip

_BYTE_LEVEL = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": True,
}


def write(model: Model, path: disk.PathLike) -> None:
    """Write the file."""
    old = model.pattern.name == LEGACY
    names = [model.spelling(id_) for id_ in range(len(model.tokens))]
    decoder: dict[str, object] = {**_BYTE_LEVEL, "add_prefix_space": True}
    if old:
        decoder = {"type": "BPEDecoder", "suffix": "</w>"}
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": id_,
                "content": text,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for text, id_ in model.special.items()
        ],
        "normalizer": None,
        "pre_tokenizer": _pre_tokenizer(model.pattern.name),
        "post_processor": None if old else _BYTE_LEVEL,
        "decoder": decoder,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": "</w>" if old else None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": model.ignore_merges,
            "vocab": {name: id_ for id_, name in enumerate(names)},
            "merges": [[names[left], names[right]] for left, right, _ in model.merges],
        },
    }
    disk.write_json(path, document)


def _pre_tokenizer(pattern: str) -> dict[str, object]:
    if pattern == LEGACY:
        return {"type": "WhitespaceSplit"}
    if pattern == "gpt2":
        return _BYTE_LEVEL
    split = {
        "type": "Split",
        "pattern": {"Regex": PUBLISHED[pattern]},
        "behavior": "Isolated",
        "invert": False,
    }
    return {"type": "Sequence", "pretokenizers": [split, {**_BYTE_LEVEL, "use_regex": False}]}


def parse(document: dict[str, Any]) -> Model:
    """Build the model of such a file."""
    for key in document:
        if key not in _KEYS:
            raise ValueError(f"{key} is unknown; a tokenizer.json has {', '.join(_KEYS)}")
    version = document.get("version", "1.0")
    if version != "1.0":
        raise ValueError(f'version is {version!r}, expected "1.0"')
    for key in ("truncation", "padding", "normalizer"):
        if document.get(key) is not None:
            raise ValueError(f"{key} is not null, expected a tokenizer without it")
    body = disk.get(document, "model", dict, "")
    _check_body(body)
    pattern = _read_pattern(document.get("pre_tokenizer"))
    if not _adds_nothing(document.get("post_processor")):
        _check_type(document.get("post_processor"), "post_processor", "ByteLevel")
    suffix = body.get("end_of_word_suffix") or ""
    if suffix != ("</w>" if pattern == LEGACY else ""):
        raise ValueError(
            f"model.end_of_word_suffix is {suffix!r}, which does not go with the pre_tokenizer"
        )
    _check_type(document.get("decoder"), "decoder", "BPEDecoder" if suffix else "ByteLevel")

    tokens = disk.vocabulary(disk.get(body, "vocab", dict, "model."), "model.vocab")
    special = _add_special(document.get("added_tokens"), tokens)
    ids = {token: id_ for id_, token in enumerate(tokens)}
    pairs = _pairs(disk.get(body, "merges", list, "model."))
    merges = spelled.merge_ids(pairs, ids, "model.merges")
    if pattern == LEGACY:
        if special or body.get("ignore_merges"):
            raise ValueError("added_tokens or ignore_merges do not go with WhitespaceSplit")
        return legacy.parse(
            {
                "stoi_to_token": tokens,
                "merge_rank": [[*pair, rank] for rank, pair in enumerate(pairs)],
            }
        )
    spelled.check_special(special, tokens, merges)
    if body.get("unk_token") is not None and not all(symbol in ids for symbol in SYMBOLS):
        raise ValueError(
            f"model.unk_token is {body['unk_token']!r} and the vocabulary lacks some of the 256 "
            "bytes; expected null, or all bytes, so that there is no unknown text"
        )
    return Model(
        spelled.token_bytes(tokens, special, "model.vocab"),
        merges,
        {text: ids[text] for text in special},
        pattern,
        ignore_merges=bool(body.get("ignore_merges")),
    )


def _check_body(body: dict[str, Any]) -> None:
    if body.get("type", "BPE") != "BPE":
        raise ValueError(f'model.type is {body["type"]!r}, expected "BPE"')
    for key in ("dropout", "continuing_subword_prefix", "byte_fallback"):
        if body.get(key):
            raise ValueError(f"model.{key} is {body[key]!r}, expected a model without it")
    if not isinstance(body.get("ignore_merges", False), bool):
        raise ValueError(  # noqa: TRY004 - it is the file that is wrong, not the caller
            f"model.ignore_merges is {body['ignore_merges']!r}, expected true or false"
        )


def _adds_nothing(part: Any) -> bool:
    """Whether a post_processor is the empty template, which transformers 5 writes."""
    if not isinstance(part, dict) or part.get("type") != "TemplateProcessing":
        return False
    template = part.get("single")
    if not isinstance(template, list) or len(template) != 1 or not isinstance(template[0], dict):
        return False
    sequence = template[0].get("Sequence")
    return template[0].keys() == {"Sequence"} and (
        isinstance(sequence, dict) and sequence.get("id") == "A"
    )


def _check_type(part: Any, where: str, name: str) -> None:
    if part is None:
        return
    disk.expect(part, dict, where)
    if part.get("type") != name:
        raise ValueError(f"{where}.type is {part.get('type')!r}, expected {name!r} or null")


def _read_pattern(part: Any) -> str:
    known = 'expected "ByteLevel", or a "Sequence" of "Split" and "ByteLevel"'
    if part is None:
        raise ValueError(f"pre_tokenizer is null, {known}")
    disk.expect(part, dict, "pre_tokenizer")
    kind = part.get("type")
    if kind == "WhitespaceSplit":
        return LEGACY
    if kind == "ByteLevel":
        _check_byte_level(part, "pre_tokenizer", use_regex=True)
        return "gpt2"
    if kind != "Sequence":
        raise ValueError(f"pre_tokenizer.type is {kind!r}, {known}")
    steps = disk.get(part, "pretokenizers", list, "pre_tokenizer.")
    if [step.get("type") if isinstance(step, dict) else None for step in steps] != [
        "Split",
        "ByteLevel",
    ]:
        raise ValueError(f"pre_tokenizer.pretokenizers is another sequence, {known}")
    split, byte_level = steps
    where = "pre_tokenizer.pretokenizers"
    _check_byte_level(byte_level, f"{where}[1]", use_regex=False)
    expression = split.get("pattern")
    regex = expression.get("Regex") if isinstance(expression, dict) else None
    if split.get("behavior") != "Isolated" or split.get("invert"):
        raise ValueError(f'{where}[0] is not of behavior "Isolated" without invert')
    for name, published in PUBLISHED.items():
        if regex == published:
            return name
    raise ValueError(
        f"{where}[0].pattern is {regex!r}, expected the pattern of GPT-2 or the one of GPT-4"
    )


def _check_byte_level(part: dict[str, Any], where: str, *, use_regex: bool) -> None:
    if part.get("add_prefix_space") is not False:
        raise ValueError(
            f"{where}.add_prefix_space is {part.get('add_prefix_space')!r}, expected false"
        )
    if part.get("use_regex", True) is not use_regex:
        raise ValueError(
            f"{where}.use_regex is {part.get('use_regex')!r}, expected {str(use_regex).lower()}"
        )


def _add_special(entries: Any, tokens: list[str]) -> list[str]:
    """Return the special tokens' texts; those that the vocabulary lacks are added to it."""
    ids = {token: id_ for id_, token in enumerate(tokens)}
    found: dict[int, str] = {}
    if entries is None:
        return []
    for place, entry in enumerate(disk.expect(entries, list, "added_tokens")):
        where = f"added_tokens[{place}]"
        disk.expect(entry, dict, where)
        id_ = disk.get(entry, "id", int, f"{where}.")
        text = disk.get(entry, "content", str, f"{where}.")
        encode_utf8(text)
        for key in ("single_word", "lstrip", "rstrip"):
            if entry.get(key):
                raise ValueError(f"{where}.{key} is true for {text!r}, expected false")
        if entry.get("special") is not True:
            raise ValueError(
                f"{where}.special is {entry.get('special')!r} for {text!r}, expected true: "
                "tokens that are ordinary text are not supported beside the vocabulary's own"
            )
        if id_ in found or text in found.values():
            raise ValueError(f"{where} repeats the id or the content of an earlier one, {text!r}")
        if ids.get(text, id_) != id_:
            raise ValueError(f"{where}.id is {id_} for {text!r}, but model.vocab says {ids[text]}")
        found[id_] = text
    for id_ in sorted(found):
        if found[id_] in ids:
            continue
        if id_ != len(tokens):
            raise ValueError(
                f"added_tokens gives {found[id_]!r} the id {id_}, expected {len(tokens)}, "
                "the next one after model.vocab"
            )
        tokens.append(found[id_])
    return [found[id_] for id_ in sorted(found)]


def _pairs(entries: list[Any]) -> list[tuple[str, str]]:
    pairs = []
    for rank, entry in enumerate(entries):
        parts = entry.split(" ") if isinstance(entry, str) else entry
        if not (
            isinstance(parts, list)
            and len(parts) == 2
            and all(isinstance(part, str) and part for part in parts)
        ):
            raise ValueError(f"model.merges[{rank}] is {entry!r}, expected two tokens")
        pairs.append((parts[0], parts[1]))
    return pairs
