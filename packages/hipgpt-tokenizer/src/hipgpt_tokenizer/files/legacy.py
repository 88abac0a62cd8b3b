"""The tokenizer.json of the old C++ HipGPT: `stoi_to_token` and `merge_rank`.

That program cut text at white space, let the last character of a word carry "</w>" and merged
within words; white space became single spaces, and a character that it had not seen in
training was dropped in silence. Here the ids are the same, and such a character is an error.

Odd thing: "e</w>" is held as the bytes "e ", so that decoding needs no special case. The old
program could only write files whose tokens are ASCII.
"""

from __future__ import annotations

from typing import Any

from hipgpt_tokenizer.model import LEGACY, Model

from . import disk, spelled

_END_OF_WORD = "</w>"
FIELDS = {"stoi_to_token", "merge_rank"}


def parse(document: dict[str, Any]) -> Model:
    """Build the model of such a file."""
    for key in document:
        if key not in FIELDS:
            raise ValueError(f"{key} is unknown, expected stoi_to_token and merge_rank")
    tokens = disk.get(document, "stoi_to_token", list, "")
    ids: dict[str, int] = {}
    for id_, token in enumerate(tokens):
        where = f"stoi_to_token[{id_}]"
        disk.expect(token, str, where)
        if not token or not token.isascii() or any(c in " \t\n\r\f\v" for c in token):
            raise ValueError(f"{where} is {token!r}, expected ASCII characters and no white space")
        if token in ids:
            raise ValueError(f"{where} is {token!r}, which is stoi_to_token[{ids[token]}] too")
        ids[token] = id_
    ranked: dict[int, tuple[str, str]] = {}
    for place, entry in enumerate(disk.get(document, "merge_rank", list, "")):
        where = f"merge_rank[{place}]"
        if len(disk.expect(entry, list, where)) != 3:
            raise ValueError(f"{where} has {len(entry)} values, expected left, right and rank")
        left, right, rank = entry
        disk.expect(left, str, f"{where}[0]")
        disk.expect(right, str, f"{where}[1]")
        if disk.expect(rank, int, f"{where}[2]") in ranked or rank < 0:
            raise ValueError(f"{where} has the rank {rank}, expected each rank once")
        ranked[rank] = (left, right)
    pairs = [ranked[rank] for rank in sorted(ranked)]
    return model_of(tokens, spelled.merge_ids(pairs, ids, "merge_rank"))


def model_of(tokens: list[str], merges: list[tuple[int, int, int]]) -> Model:
    """Build the model from spelled tokens ("the</w>") and merges.

    >>> model_of(["e", "e</w>"], []).tokens
    [b'e', b'e ']
    """
    data = [
        (token.removesuffix(_END_OF_WORD) + " " if token.endswith(_END_OF_WORD) else token).encode()
        for token in tokens
    ]
    return Model(data, merges, {}, LEGACY)
