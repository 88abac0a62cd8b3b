"""The Tokenizer: everything that a program does with text and ids goes through this class.

Odd thing: a tokenizer never changes. What it remembers while encoding is a cache, which is
neither saved, nor compared, nor sent to another process.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from operator import itemgetter
from types import MappingProxyType

from . import special as special_policy
from .encoder import Encoder
from .model import Model
from .stream import StreamDecoder

TYPE_CHECKING = False  # importing typing would cost half of the import time
if TYPE_CHECKING:
    from typing import Any


Progress = Callable[[str, int, int], None]
Path = str | os.PathLike[str]

END_OF_TEXT = "<|endoftext|>"
_NONE: frozenset[str] = frozenset()


class Tokenizer:
    """A byte-level BPE tokenizer. Made by `train`, `load` or one of the `from_` methods.

    >>> tok = Tokenizer.train("to be or not to be", 260)
    >>> tok.decode(tok.encode("to be"))
    'to be'
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._encoder = Encoder(model)
        self._tokens = model.tokens
        self._finders: dict[frozenset[str], Any] = {}

    # ----------------------------------------------------------------------------------------
    # Making, reading and writing

    @classmethod
    def train(
        cls,
        texts: str | Iterable[str],
        vocab_size: int,
        *,
        special_tokens: Sequence[str] = (),
        pattern: str = "gpt2",
        min_frequency: int = 2,
        workers: int = 1,
        progress: Progress | None = None,
    ) -> Tokenizer:
        """Learn a vocabulary from a text or from many.

        The merges are those of Hugging Face's BpeTrainer with the same min_frequency. A text
        that yields fewer of them than wanted gives a smaller vocabulary.

        Args:
            texts: A str, or an iterable of str, which is read once. Each is split by itself.
            vocab_size: Ids wanted: 256 bytes, the merges, and the special tokens, which come last.
            special_tokens: Texts that get an id of their own. Where a training text has one in
                it, it separates what stands around it and is not learnt from.
            pattern: "gpt2", or "gpt4" for the split pattern of cl100k.
            min_frequency: Pairs that occur less often are not merged.
            workers: Processes that count pieces, 0 for every core; the result is the same.
            progress: Called with (stage, done, total): stage "count" in characters, total 0
                where it is not known, then stage "merge" in merges.

        >>> Tokenizer.train("low lower lowest", 300).vocab_size
        260
        """
        from .training import train_model

        model = train_model(
            texts, vocab_size, special_tokens, pattern, min_frequency, workers, progress
        )
        return cls(model)

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read a tokenizer.json: Hugging Face's, or the one of the old C++ HipGPT.

        Raises:
            TokenizerFileError: The file is malformed, or means something else than a
                byte-level BPE of a known split pattern; the message names the field.

        >>> Tokenizer.load("tokenizer.json").vocab_size  # doctest: +SKIP
        5000
        """
        from .files import any_json

        return cls(any_json.read(path))

    def save(self, path: Path) -> None:
        """Write Hugging Face's tokenizer.json; the old file stays until the new one is whole.

        >>> Tokenizer.train("low lower", 258).save("tokenizer.json")  # doctest: +SKIP
        """
        from .files import huggingface

        huggingface.write(self._model, path)

    @classmethod
    def from_gpt2(
        cls, vocab: Path, merges: Path, *, special_tokens: Sequence[str] | None = None
    ) -> Tokenizer:
        """Read GPT-2's vocab.json and merges.txt (also named encoder.json and vocab.bpe).

        Args:
            vocab: Path of vocab.json.
            merges: Path of merges.txt.
            special_tokens: Those of the vocabulary's tokens that are special; None stands for
                all that are neither a byte nor the result of a merge.

        >>> Tokenizer.from_gpt2("vocab.json", "merges.txt").eot_id  # doctest: +SKIP
        50256
        """
        from .files import gpt2

        return cls(gpt2.read(vocab, merges, special_tokens))

    def save_gpt2(self, folder: Path) -> tuple[str, str]:
        """Write vocab.json and merges.txt into a folder and return their paths.

        >>> Tokenizer.train("low lower", 258).save_gpt2(".")  # doctest: +SKIP
        ('vocab.json', 'merges.txt')
        """
        from .files import gpt2

        vocab, merges = gpt2.paths(folder)
        gpt2.write(self._model, vocab, merges)
        return vocab, merges

    @classmethod
    def from_tiktoken(
        cls, path: Path, *, pattern: str = "gpt2", special_tokens: Sequence[str] = ()
    ) -> Tokenizer:
        """Read a tiktoken rank file, which says neither the pattern nor the special tokens.

        Args:
            path: The file, lines of base64 and rank.
            pattern: "gpt2" for r50k and p50k files, "gpt4" for cl100k's.
            special_tokens: Texts that get the ids after the last rank, in this order.

        >>> Tokenizer.from_tiktoken("r50k_base.tiktoken").vocab_size  # doctest: +SKIP
        50256
        """
        from .files import tiktoken

        return cls(tiktoken.read(path, pattern, special_tokens))

    def save_tiktoken(self, path: Path) -> None:
        """Write a tiktoken rank file, which cannot hold the special tokens.

        >>> Tokenizer.train("low lower", 258).save_tiktoken("low.tiktoken")  # doctest: +SKIP
        """
        from .files import tiktoken

        tiktoken.write(self._model, path)

    @classmethod
    def from_hipgpt_legacy(cls, path: Path) -> Tokenizer:
        """Read the tokenizer.json of the old C++ HipGPT (`stoi_to_token`, `merge_rank`).

        Its ids are kept, and so is its loss: white space between words becomes one space. A
        character that it does not know, which it dropped in silence, raises ValueError.

        >>> Tokenizer.from_hipgpt_legacy("tokenizer.json").pattern  # doctest: +SKIP
        'hipgpt-legacy'
        """
        from .files import any_json

        return cls(any_json.read_legacy(path))

    # ----------------------------------------------------------------------------------------
    # Text to ids

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

    # ----------------------------------------------------------------------------------------
    # Ids to text

    def decode(self, ids: Iterable[int], errors: str = "replace") -> str:
        """Return the text of ids.

        Args:
            ids: Ids of this tokenizer; those of special tokens give their text.
            errors: What to do with bytes that are not UTF-8, as in bytes.decode; ids cut out
                of the middle may begin or end inside a character.

        >>> Tokenizer.train("low lower lowest", 260).decode([257, 68, 81])
        'lower'
        """
        return self.decode_bytes(ids).decode("utf-8", errors)

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Return the bytes of ids, exactly.

        >>> Tokenizer.train("low lower lowest", 260).decode_bytes([257, 68, 81])
        b'lower'
        """
        ids = ids if isinstance(ids, list | tuple) else list(ids)
        # itemgetter is a fifth faster than map, but wants two ids to give a tuple. A list takes
        # -1 for its last item, so the smallest id is looked at first.
        if len(ids) > 1:
            try:
                if min(ids) >= 0:
                    return b"".join(itemgetter(*ids)(self._tokens))
            except (IndexError, TypeError):
                pass  # found again, and named, below
        return b"".join([self.token_bytes(id_) for id_ in ids])

    def decode_batch(self, batch: Iterable[Iterable[int]], errors: str = "replace") -> list[str]:
        """Return the text of each list of ids.

        >>> Tokenizer.train("low lower lowest", 260).decode_batch([[257], [68, 81]])
        ['low', 'er']
        """
        return [self.decode(ids, errors) for ids in batch]

    def stream(self, errors: str = "replace") -> StreamDecoder:
        """Return a decoder that takes one id at a time and never gives half a character.

        >>> stream = Tokenizer.train("low lower lowest", 260).stream()
        >>> stream.feed(257) + stream.feed(68) + stream.flush()
        'lowe'
        """
        return StreamDecoder(self.token_bytes, errors)

    # ----------------------------------------------------------------------------------------
    # The vocabulary

    @property
    def model(self) -> Model:
        """The data: tokens, merges, special tokens, pattern."""
        return self._model

    @property
    def vocab_size(self) -> int:
        """How many ids there are, special tokens among them."""
        return len(self._tokens)

    @property
    def special_tokens(self) -> Mapping[str, int]:
        """The text of each special token and its id; cannot be changed."""
        return MappingProxyType(self._model.special)

    @property
    def merges(self) -> list[tuple[int, int]]:
        """The pairs of ids that are merged, most urgent first."""
        return [(left, right) for left, right, _ in self._model.merges]

    @property
    def pattern(self) -> str:
        """The name of the split pattern: "gpt2", "gpt4" or "hipgpt-legacy"."""
        return self._model.pattern.name

    @property
    def eot_id(self) -> int | None:
        """The id of "<|endoftext|>", or None if the tokenizer has no such token."""
        return self._model.special.get(END_OF_TEXT)

    @property
    def typecode(self) -> str:
        """The `array` type of packed ids: "H" up to 65,536 ids, "I" above."""
        return self._encoder.typecode

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 over everything that decides encoding; equal tokenizers have equal ones."""
        return self._model.fingerprint

    def token_bytes(self, id_: int) -> bytes:
        """Return the bytes of one id.

        >>> Tokenizer.train("low lower lowest", 260).token_bytes(257)
        b'low'
        """
        try:
            if 0 <= id_ < len(self._tokens):
                return self._tokens[id_]
        except TypeError:
            raise TypeError(f"an id is {type(id_).__name__}, expected int") from None
        raise ValueError(self._no_such_id(id_))

    def id_to_token(self, id_: int) -> str:
        """Return a token as vocabulary files spell it, a space as "Ġ".

        >>> Tokenizer.train("low lower lowest", 260).id_to_token(258)
        'Ġlow'
        """
        if not 0 <= id_ < len(self._tokens):
            raise ValueError(self._no_such_id(id_))
        return self._model.spelling(id_)

    def token_to_id(self, token: str | bytes) -> int | None:
        """Return the id of a token's bytes, or of its spelling or special text; None if absent.

        >>> tok = Tokenizer.train("low lower lowest", 260)
        >>> tok.token_to_id(b" low"), tok.token_to_id("Ġlow"), tok.token_to_id("high")
        (258, 258, None)
        """
        if isinstance(token, bytes):
            return self._model.id_of.get(token)
        id_ = self._model.special.get(token)
        return self._model.ordinary_id(token) if id_ is None else id_

    def _no_such_id(self, id_: int) -> str:
        return f"id {id_} is not in the vocabulary, expected 0 to {len(self._tokens) - 1}"

    def __len__(self) -> int:
        return len(self._tokens)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self._model == other._model

    def __hash__(self) -> int:
        return hash(self._model)

    def __repr__(self) -> str:
        names = ", ".join(map(repr, self._model.special))
        return (
            f"<Tokenizer {self.pattern}, {self.vocab_size} ids"
            f"{f', special {names}' if names else ''}, {self.fingerprint[:12]}>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (
            self._tokens,
            self._model.merges,
            self._model.special,
            self.pattern,
            self._model.ignore_merges,
        )


def _restore(
    tokens: list[bytes],
    merges: list[tuple[int, int, int]],
    special: dict[str, int],
    pattern: str,
    ignore_merges: bool,
) -> Tokenizer:
    return Tokenizer(Model(tokens, merges, special, pattern, ignore_merges=ignore_merges))
