"""The data of a tokenizer: its tokens, merges, special tokens and split pattern, checked.

Odd thing: a merge is kept as three ids (left, right, result), because two merges may give
the same token: "a" + "bc" and "ab" + "c" are both "abc".
"""

from __future__ import annotations

from functools import cached_property

from .byte_symbols import GPT2_ORDER, spell, unspell
from .patterns import split_pattern

TYPE_CHECKING = False  # importing typing would cost half of the import time
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ID_BITS = 24
"""A pair of ids is packed in one int: left << ID_BITS | right."""

LEGACY = "hipgpt-legacy"
"""The pattern of the old C++ program, whose words end in "</w>" instead of beginning with " "."""

_END_OF_WORD = "</w>"


class Model:
    """Everything that decides how text becomes ids, and nothing else.

    Args:
        tokens: The bytes of each id; for a special token its UTF-8 text.
        merges: (left, right, result) ids, most urgent first.
        special: Text of each special token and its id.
        pattern: Name of the split pattern.
        ignore_merges: Take a piece that is a token whole, without asking the merges.

    >>> Model([b"a", b"b", b"ab"], [(0, 1, 2)], {}, "gpt2").spelling(2)
    'ab'
    """

    def __init__(
        self,
        tokens: Sequence[bytes],
        merges: Sequence[tuple[int, int, int]],
        special: Mapping[str, int],
        pattern: str,
        *,
        ignore_merges: bool = False,
    ) -> None:
        self.tokens = list(tokens)
        self.merges = list(merges)
        self.special = dict(sorted(special.items(), key=lambda item: item[1]))
        self.pattern = split_pattern(pattern)
        self.ignore_merges = ignore_merges
        self._check()

    def _check(self) -> None:
        size = len(self.tokens)
        if size >= 1 << ID_BITS:
            raise ValueError(f"the vocabulary has {size} ids, expected fewer than {1 << ID_BITS}")
        for text, id_ in self.special.items():
            if not text:
                raise ValueError("a special token is empty, expected at least one character")
            if not 0 <= id_ < size or self.tokens[id_] != encode_utf8(text):
                raise ValueError(f"special token {text!r} has id {id_}, which is another token's")
        if len(set(self.special.values())) < len(self.special):
            raise ValueError("two special tokens have the same id")
        ordinary = set(range(size)) - set(self.special.values())
        if len({self.tokens[id_] for id_ in ordinary}) < len(ordinary):
            seen: dict[bytes, int] = {}
            for id_ in sorted(ordinary):
                first = seen.setdefault(self.tokens[id_], id_)
                if first != id_:
                    raise ValueError(f"ids {first} and {id_} are the same token")
        for text in self.special:
            # Files know tokens by their spelling, so one spelling cannot have two ids.
            if self.ordinary_id(text) is not None:
                raise ValueError(
                    f"special token {text!r} is also the spelling of an ordinary token; "
                    f"choose another text, such as {'<|' + text + '|>'!r}"
                )

    def ordinary_id(self, spelling: str) -> int | None:
        """Return the id of the ordinary token that files spell so, or None."""
        try:
            return self.id_of.get(self._bytes(spelling))
        except KeyError:  # a character that is no byte's symbol
            return None

    def _bytes(self, spelling: str) -> bytes:
        if self.pattern.name != LEGACY:
            return unspell(spelling)
        if spelling.endswith(_END_OF_WORD):
            spelling = spelling.removesuffix(_END_OF_WORD) + " "
        return spelling.encode()

    def _text(self, data: bytes) -> str:
        if self.pattern.name != LEGACY:
            return spell(data)
        text = data.decode("ascii")
        return text[:-1] + _END_OF_WORD if text.endswith(" ") else text

    def spelling(self, id_: int) -> str:
        """Return a token as vocabulary files write it: byte symbols, or a special token's text."""
        return self._special_text.get(id_) or self._text(self.tokens[id_])

    @cached_property
    def _special_text(self) -> dict[int, str]:
        return {id_: text for text, id_ in self.special.items()}

    @cached_property
    def id_of(self) -> dict[bytes, int]:
        """The id of each ordinary token's bytes."""
        special = set(self.special.values())
        return {data: id_ for id_, data in enumerate(self.tokens) if id_ not in special}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def _parts(self) -> tuple[object, ...]:
        return self.tokens, self.merges, self.special, self.pattern.name, self.ignore_merges

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 over every part; each is written with its length, so none can run over."""
        import hashlib

        digest = hashlib.sha256(b"hipgpt-tokenizer 1\n")
        digest.update(f"pattern {self.pattern.name}\nignore {int(self.ignore_merges)}\n".encode())
        digest.update(f"tokens {len(self.tokens)}\n".encode())
        digest.update(b"".join(b"%d %b\n" % (len(data), data) for data in self.tokens))
        digest.update(f"merges {len(self.merges)}\n".encode())
        digest.update(b"".join(b"%d %d %d\n" % merge for merge in self.merges))
        digest.update(f"special {len(self.special)}\n".encode())
        digest.update(b"".join(b"%d\n" % id_ for id_ in self.special.values()))
        return digest.hexdigest()


def byte_tokens() -> list[bytes]:
    """Return the first 256 tokens of GPT-2: each byte, in the order of its symbol.

    >>> byte_tokens()[:3]
    [b'!', b'"', b'#']
    """
    return [bytes([byte]) for byte in GPT2_ORDER]


def encode_utf8(text: str) -> bytes:
    r"""Return UTF-8; a lone surrogate is refused by one sentence that says where it is.

    >>> encode_utf8("é")
    b'\xc3\xa9'
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(surrogate_message(text, error.start)) from None


def surrogate_message(text: str, place: int) -> str:
    r"""Say what is wrong with text[place], a lone surrogate.

    >>> surrogate_message("a\ud800", 1)[:52]
    'text has a lone surrogate U+D800 at character 1, whi'
    """
    return (
        f"text has a lone surrogate U+{ord(text[place]):04X} at character {place}, which UTF-8 "
        'cannot hold; replace it first, as text.encode("utf-16", "surrogatepass")'
        '.decode("utf-16", "replace") does'
    )
