"""Text to ids: a text, bytes, many texts, parts of one, files.

Odd thing: special tokens in a text are refused unless allowed, and that is decided here, once for
every way in; below, `encoder` sees ordinary text alone.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet

from . import special as special_policy
from .encoder import Encoder
from .vocabulary import END_OF_TEXT, Vocabulary

TYPE_CHECKING = False  # importing typing would cost half of the import time
if TYPE_CHECKING:
    from typing import Any

    from .model import Model

Progress = Callable[[str, int, int], None]
Path = str | os.PathLike[str]

_NONE: frozenset[str] = frozenset()


class Encoding(Vocabulary):
    """The ways from text to ids. Every `Tokenizer` has them."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self._encoder = Encoder(model)
        self._finders: dict[frozenset[str], Any] = {}

    @property
    def typecode(self) -> str:
        """The `array` type of packed ids: "H" up to 65,536 ids, "I" above."""
        return self._encoder.typecode

    def encode(
        self,
        text: str,
        *,
        allowed_special: str | AbstractSet[str] = _NONE,
        disallowed_special: str | Collection[str] = "all",
    ) -> list[int]:
        """Return the ids of a text.

        A text with a special token in it is refused unless told otherwise: text from users
        must not be able to end a document.

        Args:
            text: Any str without lone surrogates.
            allowed_special: "all", or a set of the special tokens that are to become their id.
            disallowed_special: "all" that are not allowed, or a collection of those to refuse;
                with () the others are encoded as ordinary text.

        Raises:
            ValueError: The text has a disallowed special token or a lone surrogate in it.

        >>> Tokenizer.train("low lower lowest", 260).encode("lower")
        [257, 68, 81]
        """
        if type(text) is not str and not isinstance(text, str):
            raise TypeError(f"text is {type(text).__name__}, expected str")
        if not self._model.special and allowed_special == _NONE and disallowed_special == "all":
            return self._encoder.ids(text)
        allowed, disallowed = self._choose(allowed_special, disallowed_special)
        return self._encoder.unpack(self.pack(text, allowed, disallowed))

    def encode_ordinary(self, text: str) -> list[int]:
        """Return the ids of a text, whose special tokens are text like any other.

        >>> Tokenizer.train("low lower lowest", 260).encode_ordinary("lower")
        [257, 68, 81]
        """
        if not isinstance(text, str):
            raise TypeError(f"text is {type(text).__name__}, expected str")
        return self._encoder.ids(text)

    def encode_bytes(self, data: bytes) -> list[int]:
        r"""Return the ids of bytes, which need not be UTF-8; decode_bytes gives them back.

        UTF-8 is encoded as its text is; other bytes count as symbols, like punctuation.

        >>> tok = Tokenizer.train("low lower lowest", 260)
        >>> tok.decode_bytes(tok.encode_bytes(b"low\xff"))
        b'low\xff'
        """
        try:
            return self._encoder.ids(data.decode())
        except UnicodeDecodeError:
            pieces = self._model.pattern.split(data.decode(errors="surrogateescape"))
            ids: list[int] = []
            for piece in pieces:
                ids += self._encoder.pieces.ids_of_bytes(piece.encode(errors="surrogateescape"))
            return ids

    def encode_with_offsets(
        self,
        text: str,
        *,
        allowed_special: str | AbstractSet[str] = _NONE,
        disallowed_special: str | Collection[str] = "all",
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the ids of a text and the (start, end) of each in it, in characters.

        A token that holds a part of a character has the span of the whole character.

        >>> Tokenizer.train("low lower lowest", 260).encode_with_offsets("lower")
        ([257, 68, 81], [(0, 3), (3, 4), (4, 5)])
        """
        from .offsets import ids_and_offsets

        if not isinstance(text, str):
            raise TypeError(f"text is {type(text).__name__}, expected str")
        allowed, disallowed = self._choose(allowed_special, disallowed_special)
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        for start, end, id_ in self._segments(text, allowed, disallowed):
            if id_ is None:
                more, spans = ids_and_offsets(self._encoder, text[start:end], start)
                ids += more
                offsets += spans
            else:
                ids.append(id_)
                offsets.append((start, end))
        return ids, offsets

    def encode_batch(
        self,
        texts: Iterable[str],
        *,
        allowed_special: str | AbstractSet[str] = _NONE,
        disallowed_special: str | Collection[str] = "all",
        workers: int = 1,
    ) -> list[list[int]]:
        """Return the ids of each text, as `encode` gives them.

        Args:
            texts: An iterable of str.
            allowed_special: As in `encode`.
            disallowed_special: As in `encode`.
            workers: Processes, 0 for every core.

        >>> Tokenizer.train("low lower lowest", 260).encode_batch(["low", "er"])
        [[257], [68, 81]]
        """
        from .corpus import packed_texts
        from .parallel import worker_count

        if isinstance(texts, str):
            raise TypeError("texts is a str, expected an iterable of str")
        allowed, disallowed = self._choose(allowed_special, disallowed_special)
        groups = packed_texts(self, texts, allowed, disallowed, worker_count(workers))
        return [self._encoder.unpack(packed) for _, group in groups for packed in group]

    def encode_array(
        self,
        texts: str | Iterable[str],
        *,
        allowed_special: str | AbstractSet[str] = _NONE,
        disallowed_special: str | Collection[str] = "all",
        append_eot: bool = False,
        workers: int = 1,
        progress: Progress | None = None,
    ) -> array[int]:
        """Return the ids of a text, or of many one after the other, as a compact array.

        Args:
            texts: A str, or an iterable of str, which is read once.
            allowed_special: As in `encode`.
            disallowed_special: As in `encode`.
            append_eot: Put "<|endoftext|>" after each text.
            workers: Processes, 0 for every core.
            progress: Called with ("encode", characters done, characters in all or 0).

        >>> Tokenizer.train("low lower lowest", 260).encode_array(["low", "er"])
        array('H', [257, 68, 81])
        """
        from .corpus import gather, packed_blocks, packed_texts
        from .parallel import worker_count

        allowed, disallowed = self._choose(allowed_special, disallowed_special)
        count = worker_count(workers)
        end = self._end_of_text() if append_eot else b""
        if isinstance(texts, str):
            blocks = packed_blocks(self, [texts], allowed, disallowed, count)
            ids = gather(self.typecode, blocks, len(texts), progress)
            ids.frombytes(end)
            return ids
        total = sum(map(len, texts)) if isinstance(texts, Sequence) else 0
        groups = packed_texts(self, texts, allowed, disallowed, count)
        joined = ((length, b"".join(packed + end for packed in group)) for length, group in groups)
        return gather(self.typecode, joined, total, progress)

    def encode_parts(
        self,
        parts: Iterable[str],
        *,
        allowed_special: str | AbstractSet[str] = _NONE,
        disallowed_special: str | Collection[str] = "all",
        workers: int = 1,
    ) -> Iterator[array[int]]:
        """Yield arrays of the ids of one text that comes in parts, cut anywhere.

        Joined they are the ids of the whole text: it is encoded in blocks that end where no
        piece and no special token is divided. Memory is needed for some blocks of a million
        characters, or for the longest stretch without white space where that is more.

        >>> tok = Tokenizer.train("low lower lowest", 260)
        >>> list(tok.encode_parts(["lo", "wer"]))
        [array('H', [257, 68, 81])]
        """
        from .corpus import packed_blocks
        from .parallel import worker_count

        if isinstance(parts, str):
            raise TypeError("parts is a str, expected an iterable of str")
        allowed, disallowed = self._choose(allowed_special, disallowed_special)
        for _, packed in packed_blocks(self, parts, allowed, disallowed, worker_count(workers)):
            yield array(self.typecode, packed)

    def encode_file(
        self,
        path: Path,
        *,
        allowed_special: str | AbstractSet[str] = _NONE,
        disallowed_special: str | Collection[str] = "all",
        workers: int = 1,
        progress: Progress | None = None,
    ) -> array[int]:
        """Return the ids of a UTF-8 file; only they, not its text, need to fit in memory.

        Args:
            path: The file; its line ends are kept as they are.
            allowed_special: As in `encode`.
            disallowed_special: As in `encode`.
            workers: Processes, 0 for every core.
            progress: Called with ("encode", characters done, 0): the characters of a file are
                not known before it is read.

        >>> Tokenizer.load("tokenizer.json").encode_file("input.txt")  # doctest: +SKIP
        array('H', [1639, 318, 257])
        """
        from .blocks import read_text
        from .corpus import gather, packed_blocks
        from .parallel import worker_count

        allowed, disallowed = self._choose(allowed_special, disallowed_special)
        blocks = packed_blocks(self, read_text(path), allowed, disallowed, worker_count(workers))
        return gather(self.typecode, blocks, 0, progress)

    def encode_file_to(
        self,
        path: Path,
        target: Path,
        *,
        allowed_special: str | AbstractSet[str] = _NONE,
        disallowed_special: str | Collection[str] = "all",
        workers: int = 1,
        progress: Progress | None = None,
    ) -> int:
        """Write the ids of a UTF-8 file to another, and return how many there are.

        Neither text nor ids need to fit in memory. The target holds integers of `typecode`, in
        the machine's byte order and nothing else; it appears when it is complete.

        >>> tok = Tokenizer.load("tokenizer.json")  # doctest: +SKIP
        >>> tok.encode_file_to("input.txt", "input.bin")  # doctest: +SKIP
        338025
        """
        from .blocks import read_text
        from .corpus import packed_blocks, write_blocks
        from .parallel import worker_count

        allowed, disallowed = self._choose(allowed_special, disallowed_special)
        blocks = packed_blocks(self, read_text(path), allowed, disallowed, worker_count(workers))
        return write_blocks(target, blocks, 0, progress) // array(self.typecode).itemsize

    def pack(self, text: str, allowed: frozenset[str], disallowed: frozenset[str]) -> bytes:
        r"""Return ids as machine integers of `typecode`; the sets are those of the policy.

        >>> Tokenizer.train("low", 256).pack("a", frozenset(), frozenset())
        b'@\x00'
        """
        if not allowed:
            special_policy.refuse(text, disallowed)
            return self._encoder.pack(text)
        packed = []
        for start, end, id_ in self._segments(text, allowed, disallowed):
            if id_ is None:
                packed.append(self._encoder.pack(text[start:end]))
            else:
                packed.append(array(self.typecode, [id_]).tobytes())
        return b"".join(packed)

    def _choose(
        self, allowed: str | AbstractSet[str], disallowed: str | Collection[str]
    ) -> tuple[frozenset[str], frozenset[str]]:
        return special_policy.choose(self._model.special, allowed, disallowed)

    def _segments(
        self, text: str, allowed: frozenset[str], disallowed: frozenset[str]
    ) -> Iterator[tuple[int, int, int | None]]:
        """Yield (start, end, id) of special tokens and (start, end, None) of the text between."""
        special_policy.refuse(text, disallowed)
        if allowed not in self._finders:
            self._finders[allowed] = special_policy.finder(allowed)
        find = self._finders[allowed]
        start = 0
        for match in find.finditer(text) if find else ():
            if start < match.start():
                yield start, match.start(), None
            yield match.start(), match.end(), self._model.special[match[0]]
            start = match.end()
        if start < len(text):
            yield start, len(text), None

    def _end_of_text(self) -> bytes:
        if self.eot_id is None:
            raise ValueError(f"append_eot needs the special token {END_OF_TEXT!r}, which is absent")
        return array(self.typecode, [self.eot_id]).tobytes()
