"""Which characters of a text each token stands for.

Odd thing: a token may hold only some bytes of a character; its span then covers the whole
character, so the spans of neighbours can overlap. Hugging Face's ``trim_offsets=False`` agrees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .model import LEGACY

if TYPE_CHECKING:
    from .encoder import Encoder

Offsets = list[tuple[int, int]]


def ids_and_offsets(encoder: Encoder, text: str, start: int = 0) -> tuple[list[int], Offsets]:
    """Encode ordinary text; the offsets count from start.

    >>> from hipgpt_tokenizer.encoder import Encoder
    >>> from hipgpt_tokenizer.model import Model, byte_tokens
    >>> ids_and_offsets(Encoder(Model(byte_tokens(), [], {}, "gpt2")), "é!")[1]
    [(0, 1), (0, 1), (1, 2)]
    """
    encoder.pack(text)  # refuses what cannot be encoded, and fills the cache
    tokens = encoder.model.tokens
    legacy = encoder.model.pattern.name == LEGACY
    ids: list[int] = []
    offsets: Offsets = []
    for first, last in encoder.model.pattern.spans(text):
        piece = text[first:last]
        # The character of each byte; an old tokenizer's last token has one byte, its space, more.
        owners = [start + first + place for place, char in enumerate(piece) for _ in char.encode()]
        if legacy:
            owners.append(owners[-1])
        place = 0
        for id_ in encoder.unpack(encoder.pieces[piece]):
            end = place + len(tokens[id_])
            ids.append(id_)
            offsets.append((owners[place], owners[end - 1] + 1))
            place = end
    return ids, offsets
