"""Encode a text that is in memory, with progress where that takes a while.

The odd thing: the text is cut where no token can be, so the parts' ids in a row are the whole's.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from hipgpt_cli.progress import stages
from hipgpt_cli.text_parts import PIECE_CHARACTERS, pieces

if TYPE_CHECKING:
    from hipgpt_tokenizer import Tokenizer


def encoded(
    tokenizer: Tokenizer, text: str, *, special: bool = True, limit: int | None = None
) -> list[int]:
    """The ids of a text.

    Args:
        tokenizer: whose.
        text: any length.
        special: a special token's text becomes its id, instead of ordinary ids.
        limit: at most so many ids; None: all.
    """
    allowed = frozenset(tokenizer.special_tokens if special else ())
    ids: list[int] = []
    done = 0
    quick = len(text) <= PIECE_CHARACTERS
    with nullcontext(None) if quick else stages() as progress:
        for piece in pieces(text):
            ids += tokenizer.encode(piece, allowed_special=allowed, disallowed_special=())
            done += len(piece)
            if progress is not None:
                progress("encode", done, len(text))
            if limit is not None and len(ids) >= limit:
                break
    return ids[:limit]
