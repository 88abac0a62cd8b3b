"""tiktoken's rank files: a line for each token, base64 of its bytes, a space, its id.

Odd thing: the file holds no merges. tiktoken merges the neighbours whose joint bytes have the
lowest id; the two parts of a token are found by merging its bytes with the lower ids alone.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from hipgpt_tokenizer.bpe import apply_merges, merge_table
from hipgpt_tokenizer.model import ID_BITS, LEGACY, Model, encode_utf8

from . import disk

if TYPE_CHECKING:
    from collections.abc import Sequence


def read(path: disk.PathLike, pattern: str, special: Sequence[str]) -> Model:
    """Read a rank file; the special tokens get the ids after the last rank, in order."""
    with disk.naming(path):
        tokens = _ranks(disk.read_text(path))
        merges = merges_of(tokens)
        ids = {name: len(tokens) + place for place, name in enumerate(special)}
        if len(ids) < len(special):
            raise ValueError("special_tokens names one token twice")
        return Model([*tokens, *map(encode_utf8, special)], merges, ids, pattern)


def _ranks(text: str) -> list[bytes]:
    found: dict[int, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line:
            continue
        parts = line.split(" ")
        try:
            data = base64.b64decode(parts[0], validate=True)
            rank = int(parts[1]) if len(parts) == 2 and parts[1].isdecimal() else -1
        except binascii.Error:
            data, rank = b"", -1
        if rank < 0 or not data:
            raise ValueError(f"line {number} is {line!r}, expected base64, one space and a rank")
        if rank in found:
            raise ValueError(f"line {number} gives rank {rank} a second time")
        found[rank] = data
    for rank in range(len(found)):
        if rank not in found:
            raise ValueError(
                f"rank {rank} is missing, expected the {len(found)} ranks without a gap"
            )
    return [found[rank] for rank in range(len(found))]


def merges_of(tokens: Sequence[bytes]) -> list[tuple[int, int, int]]:
    """Return the merges that make these tokens, by rank.

    >>> merges_of([bytes([byte]) for byte in range(256)] + [b"ab", b"abc"])
    [(97, 98, 256), (256, 99, 257)]
    """
    ids = {token: id_ for id_, token in enumerate(tokens)}
    for byte in range(256):
        if bytes([byte]) not in ids:
            raise ValueError(f"byte 0x{byte:02X} has no rank, expected all 256 bytes")
    merges: list[tuple[int, int, int]] = []
    table = merge_table([])
    for id_, token in enumerate(tokens):
        if len(token) == 1:
            continue
        parts = apply_merges([ids[token[at : at + 1]] for at in range(len(token))], table)
        if len(parts) != 2:
            raise ValueError(
                f"rank {id_} is {token!r}, which is not two tokens of lower rank, "
                f"but {[tokens[part] for part in parts]}"
            )
        left, right = parts
        merges.append((left, right, id_))
        table[left << ID_BITS | right] = id_ << ID_BITS | id_
    return merges


def write(model: Model, path: disk.PathLike) -> None:
    """Write a rank file, without the special tokens, which must have the last ids."""
    if model.pattern.name == LEGACY:
        raise ValueError("a hipgpt-legacy tokenizer is not byte-level; tiktoken cannot hold it")
    count = len(model.tokens) - len(model.special)
    if any(id_ < count for id_ in model.special.values()):
        raise ValueError(
            "a special token has a lower id than an ordinary one; tiktoken's ids are ranks, "
            "which special tokens do not have"
        )
    ordinary = model.tokens[:count]
    if merges_of(ordinary) != model.merges:
        raise ValueError(
            "the merges are not in the order of their results' ids; tiktoken's ranks cannot "
            "express them"
        )
    lines = (b"%b %d\n" % (base64.b64encode(token), id_) for id_, token in enumerate(ordinary))
    disk.write(path, b"".join(lines))
