"""What a tokenizer does with a text, as data: for tables, colours and comparisons.

Odd thing: nothing here prints; who shows a text with coloured tokens takes `pieces`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .tokenizer import Tokenizer


class Piece(NamedTuple):
    """One token of a text: its id, its bytes, and its (start, end) in characters."""

    id: int
    data: bytes
    start: int
    end: int
    special: bool


class Compression(NamedTuple):
    """How much a text shrinks; all but the first three are ratios."""

    characters: int
    utf8_bytes: int
    tokens: int
    bytes_per_token: float
    characters_per_token: float
    distinct_ids: int


def pieces(tokenizer: Tokenizer, text: str, *, allow_special: bool = True) -> list[Piece]:
    """Return the tokens of a text in order; special tokens are ids unless told otherwise.

    >>> from hipgpt_tokenizer import Tokenizer
    >>> [piece.data for piece in pieces(Tokenizer.train("low lower lowest", 260), "lower")]
    [b'low', b'e', b'r']
    """
    special = set(tokenizer.special_tokens.values())
    if allow_special:
        ids, offsets = tokenizer.encode_with_offsets(text, allowed_special="all")
    else:
        ids, offsets = tokenizer.encode_with_offsets(text, disallowed_special=())
    return [
        Piece(id_, tokenizer.token_bytes(id_), start, end, id_ in special)
        for id_, (start, end) in zip(ids, offsets, strict=True)
    ]


def longest_tokens(tokenizer: Tokenizer, count: int = 20) -> list[tuple[int, bytes]]:
    """Return the ids and bytes of the longest ordinary tokens, the longest first.

    >>> from hipgpt_tokenizer import Tokenizer
    >>> longest_tokens(Tokenizer.train("low lower lowest", 260), 2)
    [(259, b' lowe'), (258, b' low')]
    """
    special = set(tokenizer.special_tokens.values())
    ordinary = (
        (id_, data) for id_, data in enumerate(tokenizer.model.tokens) if id_ not in special
    )
    return sorted(ordinary, key=lambda item: (-len(item[1]), item[0]))[:count]


def compression(tokenizer: Tokenizer, text: str) -> Compression:
    """Count the bytes and the tokens of a text; special tokens in it count as one token.

    >>> from hipgpt_tokenizer import Tokenizer
    >>> compression(Tokenizer.train("low lower lowest", 260), "lower").tokens
    3
    """
    ids = tokenizer.encode_array(text, allowed_special="all")
    size = len(text.encode())
    count = max(len(ids), 1)
    return Compression(len(text), size, len(ids), size / count, len(text) / count, len(set(ids)))
