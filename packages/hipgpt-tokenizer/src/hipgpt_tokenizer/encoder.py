"""Turn text into packed ids, with caches that make most words one dictionary look-up.

A text is cut at its spaces and line ends into chunks ("word," is one), which str.split does
five times faster than the split pattern; the ids of a chunk are remembered. The few places
where white space is piled up go through the pattern itself (`SplitPattern.awkward`).

Odd thing: a cache holds machine integers as bytes, not lists. Joining bytes is the fastest
way to put results together, and one C call then makes a list or an array of them.
"""

from __future__ import annotations

from array import array

from .bpe import apply_merges, merge_table
from .model import LEGACY, Model, surrogate_message
from .seams import Seams

TYPE_CHECKING = False  # importing typing would cost half of the import time
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Literal

    from .patterns import SplitPattern

# Characters worked on at once: the chunks of 16 KB fit the processor's cache.
_BLOCK = 1 << 14

# The most entries a cache may have, about 40 MB each when full; it then starts afresh.
_MOST_ENTRIES = 1 << 18

# Longer words are not worth remembering: they hardly ever come again.
_LONGEST_KEY = 48


class PieceCache(dict[str, bytes]):
    """Packed ids of each piece of the split pattern, worked out when asked."""

    def __init__(self, model: Model, typecode: str) -> None:
        super().__init__()
        self._model = model
        self._typecode = typecode
        self._table = merge_table(model.merges)
        self._first_ids: Callable[[str], list[int]] = (
            self._first_ids_legacy if model.pattern.name == LEGACY else self._first_ids_utf8
        )
        self._base = [model.id_of.get(bytes([byte]), -1) for byte in range(256)]
        self._whole = -1 in self._base
        self._seams: Seams | None = None

    def __missing__(self, piece: str) -> bytes:
        packed = self._pack(piece)
        if len(piece) <= _LONGEST_KEY:
            if len(self) >= _MOST_ENTRIES:
                self.clear()
            self[piece] = packed
        return packed

    def _pack(self, piece: str) -> bytes:
        # With ignore_merges a part of a piece must not be taken for a whole one: do not cut.
        if not piece.isascii() and len(piece) > 1 and not self._model.ignore_merges:
            if self._seams is None:
                self._seams = Seams(self._model.id_of)
            parts = self._seams.cut(piece)
            if len(parts) > 1:
                return b"".join(map(self.__getitem__, parts))
        return array(self._typecode, self.ids(piece)).tobytes()

    def ids(self, piece: str) -> list[int]:
        """Return the ids of one piece, past the cache."""
        if self._model.ignore_merges:
            id_ = self._model.id_of.get(piece.encode())
            if id_ is not None:
                return [id_]
        return apply_merges(self._first_ids(piece), self._table)

    def ids_of_bytes(self, data: bytes) -> list[int]:
        """Return the ids of one piece given as bytes, which need not be UTF-8."""
        if self._model.ignore_merges and data in self._model.id_of:
            return [self._model.id_of[data]]
        return apply_merges(self._base_ids(data), self._table)

    def _first_ids_utf8(self, piece: str) -> list[int]:
        return self._base_ids(piece.encode())

    def _base_ids(self, data: bytes) -> list[int]:
        base = self._base
        ids = [base[byte] for byte in data]
        if self._whole and -1 in ids:
            raise ValueError(
                f"the vocabulary has no token for byte 0x{data[ids.index(-1)]:02X}; "
                "it can only encode text made of the bytes it was trained on"
            )
        return ids

    def _first_ids_legacy(self, word: str) -> list[int]:
        names = [*word[:-1], word[-1] + " "]
        ids = [self._model.id_of.get(name.encode(), -1) for name in names]
        if -1 in ids:
            place = ids.index(-1)
            where = " at the end of a word" if place == len(word) - 1 else ""
            raise ValueError(
                f"the vocabulary has no token for the character {word[place]!r}{where}; "
                "a hipgpt-legacy tokenizer only knows the characters it was trained on"
            )
        return ids


class ChunkCache(dict[str, bytes]):
    r"""Packed ids of what stands between two spaces: of " " + key, or of a key with "\n" first."""

    def __init__(self, pieces: PieceCache, pattern: SplitPattern) -> None:
        super().__init__()
        self._pieces = pieces
        self._pattern = pattern

    def __missing__(self, key: str) -> bytes:
        chunk = key if key[0] == "\n" else " " + key
        split = self._pattern.split_ascii if key.isascii() else self._pattern.split_any
        packed = b"".join(map(self._pieces.__getitem__, split(chunk)))
        if len(key) <= _LONGEST_KEY:
            if len(self) >= _MOST_ENTRIES:
                self.clear()
            self[key] = packed
        return packed


def plain_chunks(text: str, pattern: str) -> tuple[str, list[str]]:
    r"""Cut text with no awkward place in it into its first chunk and the keys of the others.

    >>> plain_chunks("to be,\nor not", "gpt2")
    ('to', ['be,', '\nor', 'not'])
    """
    if pattern == LEGACY:
        return text, []
    if pattern == "gpt2":
        text = text.replace("\n", " \n")
    keys = text.split(" ")
    # No space stands before the first key, so it is not the chunk of that name.
    return keys.pop(0), keys


class Encoder:
    """Encodes ordinary text, that is text whose special tokens are dealt with already.

    >>> from hipgpt_tokenizer.model import byte_tokens
    >>> encoder = Encoder(Model(byte_tokens(), [], {}, "gpt2"))
    >>> encoder.unpack(encoder.pack("Hi"))
    [39, 72]
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.typecode: Literal["H", "I"] = "H" if len(model.tokens) <= 1 << 16 else "I"
        self.pieces = PieceCache(model, self.typecode)
        self._pattern = model.pattern
        self._chunks = ChunkCache(self.pieces, model.pattern)
        self._name = model.pattern.name

    def ids(self, text: str) -> list[int]:
        """Return the ids of a text."""
        return self.unpack(self.pack(text))

    def unpack(self, packed: bytes) -> list[int]:
        """Return packed ids as a list."""
        return memoryview(packed).cast(self.typecode).tolist()

    def pack(self, text: str) -> bytes:
        """Return the ids of a text as machine integers of `typecode`."""
        try:
            return self._pack(text)
        except UnicodeEncodeError:
            place = next(i for i, char in enumerate(text) if "\ud800" <= char <= "\udfff")
            raise ValueError(surrogate_message(text, place)) from None

    def _pack(self, text: str) -> bytes:
        if len(text) <= _BLOCK:
            return b"".join(self._packed(text))
        packed: list[bytes] = []
        start = 0
        while start < len(text):
            end = self._pattern.cut(text, start + _BLOCK)
            packed += self._packed(text[start:end])
            start = end
        return b"".join(packed)

    def _packed(self, block: str) -> Iterator[bytes]:
        start = 0
        if self._has_awkward(block):
            for begin, end in self._pattern.awkward(block):
                yield from self._packed_plain(block[start:begin])
                yield self._through_pattern(block[begin:end])
                start = end
        yield from self._packed_plain(block[start:] if start else block)

    def _has_awkward(self, block: str) -> bool:
        """Ask a few substring searches, which cost a fifth of the pattern; "yes" may be wrong."""
        return (
            not block.isascii()
            or self._name != "gpt2"
            or "  " in block
            or " \n" in block
            or "\n\n\n" in block
            or "\n\n " in block
            or "\t" in block
            or "\r" in block
            or "\v" in block
            or "\f" in block
            or block.endswith((" ", "\n"))
        )

    def _packed_plain(self, text: str) -> Iterator[bytes]:
        first, keys = plain_chunks(text, self._name)
        if first:
            yield self._through_pattern(first)
        yield b"".join(map(self._chunks.__getitem__, keys))

    def _through_pattern(self, text: str) -> bytes:
        return b"".join(map(self.pieces.__getitem__, self._pattern.split(text)))
