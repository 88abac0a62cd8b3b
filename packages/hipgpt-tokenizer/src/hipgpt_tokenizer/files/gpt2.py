"""GPT-2's own two files: vocab.json (token to id) and merges.txt (one merge a line).

Odd thing: they do not say which tokens are special; those that no merge makes are.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hipgpt_tokenizer.model import Model

from . import disk, spelled

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEADER = "#version: 0.2"


def read(vocab: disk.PathLike, merges: disk.PathLike, special: Sequence[str] | None) -> Model:
    """Read the two files; special lists the special tokens, or None finds them."""
    with disk.naming(vocab):
        tokens = disk.vocabulary(disk.expect(disk.read_json(vocab), dict, "the file"), "vocab")
    ids = {token: id_ for id_, token in enumerate(tokens)}
    with disk.naming(merges):
        merge_ids = spelled.merge_ids(_merge_lines(disk.read_text(merges)), ids, "merges")
    with disk.naming(vocab):
        names = spelled.unexplained(tokens, merge_ids) if special is None else list(special)
        for name in names:
            if name not in ids:
                raise ValueError(f"special token {name!r} is not in the vocabulary")
        spelled.check_special(names, tokens, merge_ids)
        data = spelled.token_bytes(tokens, set(names), "vocab")
        return Model(data, merge_ids, {name: ids[name] for name in names}, "gpt2")


def _merge_lines(text: str) -> list[tuple[str, str]]:
    lines = text.split("\n")
    first = 1
    if lines[0].startswith("#version"):
        if lines[0].rstrip() != _HEADER:
            raise ValueError(f"line 1 is {lines[0]!r}, expected {_HEADER!r}")
        del lines[0]
        first = 2
    if lines[-1] == "":
        del lines[-1]
    pairs = []
    for number, line in enumerate(lines, first):
        parts = line.rstrip("\r").split(" ")
        if len(parts) != 2 or not all(parts):
            raise ValueError(f"line {number} is {line!r}, expected two tokens and one space")
        pairs.append((parts[0], parts[1]))
    return pairs


def write(model: Model, vocab: disk.PathLike, merges: disk.PathLike) -> None:
    """Write the two files."""
    if model.pattern.name != "gpt2" or model.ignore_merges:
        what = "ignore_merges" if model.ignore_merges else f"the pattern {model.pattern.name}"
        raise ValueError(f"GPT-2's files cannot say {what}; save as tokenizer.json instead")
    names = [model.spelling(id_) for id_ in range(len(model.tokens))]
    lines = [_HEADER, *(f"{names[left]} {names[right]}" for left, right, _ in model.merges), ""]
    disk.write_json(vocab, {name: id_ for id_, name in enumerate(names)})
    disk.write(merges, "\n".join(lines).encode())


def paths(folder: disk.PathLike) -> tuple[str, str]:
    """Return where the two files of a folder are.

    >>> paths("out")[0] == str(Path("out") / "vocab.json")
    True
    """
    return str(Path(folder) / "vocab.json"), str(Path(folder) / "merges.txt")
