"""What ids stand for: the bytes of each, and the text of many.

Odd thing: a token may hold a part of a character. So ids become bytes first and text then, and
what gives text has an argument for bytes that are none.
"""

from __future__ import annotations

from operator import itemgetter
from types import MappingProxyType

from .stream import StreamDecoder

TYPE_CHECKING = False  # importing typing would cost half of the import time
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .model import Model

END_OF_TEXT = "<|endoftext|>"


class Vocabulary:
    """A model's tokens by their ids. Every `Tokenizer` is one."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._tokens = model.tokens

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
