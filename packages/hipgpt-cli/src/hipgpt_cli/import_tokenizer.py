"""The tokenizer of a model that another program saved, with exactly the model's number of ids.

The odd thing: some models have more ids than their tokenizer, because a matrix is quicker with a
round number of rows. The ids nobody uses get a name each, so that every id stands for something.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from hipgpt_cli.errors import UserError
from hipgpt_cli.tokenizer_files import open_tokenizer

if TYPE_CHECKING:
    from hipgpt_tokenizer import Tokenizer


def tokenizer_of(folder: Path, vocab_size: int, path: str | None) -> tuple[Tokenizer, int]:
    """The tokenizer of a model, and how many ids it had to be given.

    Args:
        folder: the model's.
        vocab_size: how many ids the model has.
        path: the tokenizer's file or folder; None looks in `folder`.

    Raises:
        UserError: there is none, or it has more ids than the model.
        TokenizerFileError: it is not a byte-level BPE that hipgpt knows.
    """
    place = Path(path) if path else folder
    if place.is_dir() and (place / "tokenizer.json").is_file():
        place = place / "tokenizer.json"
    try:
        tokenizer = open_tokenizer(place, "gpt2", ())
    except UserError as error:
        raise UserError(f"{error.message}; --tokenizer-path names it") from error
    missing = vocab_size - tokenizer.vocab_size
    if missing < 0:
        raise UserError(
            f"{place} has {tokenizer.vocab_size} ids, but the model only {vocab_size}; it needs "
            "the tokenizer it was trained with"
        )
    return (_extended(tokenizer, vocab_size, _added(folder)) if missing else tokenizer), missing


def _added(folder: Path) -> dict[int, str]:
    """The tokens of added_tokens.json, which older programs wrote beside vocab.json, by id."""
    path = folder / "added_tokens.json"
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error})") from error
    if not isinstance(values, dict) or not all(type(id_) is int for id_ in values.values()):
        raise UserError(f"{path} is not a table of tokens and their ids")
    return {id_: text for text, id_ in values.items()}


def _extended(tokenizer: Tokenizer, vocab_size: int, names: dict[int, str]) -> Tokenizer:
    """The tokenizer with special tokens up to `vocab_size` ids."""
    from hipgpt_tokenizer import Tokenizer
    from hipgpt_tokenizer.model import Model

    old = tokenizer.model
    special = dict(old.special)
    tokens = list(old.tokens)
    for id_ in range(len(tokens), vocab_size):
        text = names.get(id_, f"<|unused-{id_}|>")
        special[text] = id_
        tokens.append(text.encode())
    return Tokenizer(
        Model(tokens, old.merges, special, old.pattern.name, ignore_merges=old.ignore_merges)
    )
