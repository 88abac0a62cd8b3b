r"""Split a text into the pieces that byte-pair merges may not cross.

Three patterns are known: "gpt2", "gpt4" (the pattern of cl100k as first published) and
"hipgpt-legacy" (words between white space, what the old C++ program did).

Odd thing: one pattern is compiled twice, for ASCII text and for any text. Python's ``re`` has
no ``\p{L}``, so the general one spells 800 ranges out and takes 10 ms to compile; ASCII text,
which never needs it, does not wait for it.
"""

from __future__ import annotations

import re
from functools import cached_property

from .unicode_classes import LETTERS, NUMBERS, SPACES, character_class

TYPE_CHECKING = False  # importing typing would cost half of the import time
if TYPE_CHECKING:
    from collections.abc import Callable

# In a template @L, @N and @S stand for the inside of a character class. The order of the
# alternatives is not the published one where first characters cannot collide: letters are the
# most frequent case, so they are tried first.
_GPT2 = (
    r" ?[@L]+|'(?:[stmd]|re|ve|ll)| ?[@N]+| ?[^@S@L@N]+|[@S]+(?![^@S])|[@S]+",
    # Safe to cut before the last space character of a run: it always begins a piece.
    r"[@S](?=[^@S])",
    # A run of spaces that cannot be cut at each " " and "\n" in it: all of two or more
    # but "\n\n" and "\n " before a word; and one space that ends the text.
    r"[@T][@S]+|\n(?:[\n ](?:[@S]|\Z)|[@U])[@S]*| \Z",
)
_GPT4 = (
    (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n@L@N]?[@L]+|[@N]{1,3}| ?[^@S@L@N]+[\r\n]*"
        r"|[@S]*[\r\n]+|[@S]+(?![^@S])|[@S]+"
    ),
    # A line end belongs to the piece before it, any other space to the piece after it.
    r"[@R](?=[^@S])|(?<=[\r\n])(?=[^@S])",
    r"[@S]{2,}| \Z",
)
_LEGACY = (r"[^ \t\n\r\f\v]+", r"[ \t\n\r\f\v](?=[^ \t\n\r\f\v])", r"(?!)")

_TEMPLATES = {"gpt2": _GPT2, "gpt4": _GPT4, "hipgpt-legacy": _LEGACY}

# How other programs, whose expressions know \p{L}, write the same patterns.
PUBLISHED = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "gpt4": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}


class SplitPattern:
    """One split pattern, and where a text may be cut without changing its pieces.

    >>> split_pattern("gpt2").split("It's 2 o'clock")
    ['It', "'s", ' 2', ' o', "'", 'clock']
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._templates = _TEMPLATES[name]

    @cached_property
    def _ascii(self) -> tuple[re.Pattern[str], ...]:
        return self._compile("A-Za-z", "0-9", r" \t\n\r\f\v", r" \t\r\f\v", r"\t\r\f\v")

    @cached_property
    def _unicode(self) -> tuple[re.Pattern[str], ...]:
        wide = r"\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
        return self._compile(
            character_class(LETTERS),
            character_class(NUMBERS),
            character_class(SPACES),
            r" \t\r\f\v" + wide,
            r"\t\r\f\v" + wide,
        )

    def _compile(
        self, letters: str, numbers: str, spaces: str, not_newline: str, odd: str
    ) -> tuple[re.Pattern[str], ...]:
        values = {
            "@L": letters,
            "@N": numbers,
            "@S": spaces,
            "@T": not_newline,
            "@U": odd,
            "@R": not_newline.replace(r"\r", ""),
        }
        return tuple(
            re.compile(re.sub("@[LNSTUR]", lambda match: values[match[0]], template))
            for template in self._templates
        )

    def _for(self, text: str) -> tuple[re.Pattern[str], ...]:
        return self._ascii if text.isascii() else self._unicode

    def split(self, text: str) -> list[str]:
        """Return the pieces of a text in order."""
        return self.split_ascii(text) if text.isascii() else self.split_any(text)

    @cached_property
    def split_ascii(self) -> Callable[[str], list[str]]:
        """Split text that is known to be ASCII."""
        return self._ascii[0].findall

    @cached_property
    def split_any(self) -> Callable[[str], list[str]]:
        """Split any text."""
        return self._unicode[0].findall

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return the (start, end) of each piece, in characters.

        >>> split_pattern("gpt2").spans("to be")
        [(0, 2), (2, 5)]
        """
        return [match.span() for match in self._for(text)[0].finditer(text)]

    def cut(self, text: str, target: int) -> int:
        """Return the first safe place at or after target, or the text's length.

        Splitting both sides on their own gives the pieces of the whole, whatever follows.

        >>> split_pattern("gpt2").cut("one two three", 4)
        7
        """
        match = self._for(text)[1].search(text, target)
        return match.start() if match else len(text)

    def awkward(self, text: str) -> list[tuple[int, int]]:
        r"""Return the spans that the chunk cache must not see; their pieces need the pattern.

        Each begins and ends at the border of a piece.

        >>> split_pattern("gpt2").awkward("one two\n\n\nthree")
        [(7, 9)]
        """
        spans = []
        previous = 0
        for match in self._for(text)[2].finditer(text):
            start, end = match.span()
            # The last space of the run belongs to what follows, see `cut`.
            if end < len(text) and not (self.name == "gpt4" and text[end - 1] in "\r\n"):
                end -= 1
            if self.name == "gpt4":
                # Line ends may belong to the signs before them: begin at the space before those.
                start = max(text.rfind(" ", previous, start), previous)
            if start < end:
                spans.append((start, end))
            previous = end
        return spans


_known: dict[str, SplitPattern] = {}


def split_pattern(name: str) -> SplitPattern:
    """Return the pattern of that name, compiled at most once a process.

    >>> split_pattern("gpt2") is split_pattern("gpt2")
    True
    """
    if name not in _TEMPLATES:
        raise ValueError(f'pattern is {name!r}, expected "gpt2" or "gpt4"')
    if name not in _known:
        _known[name] = SplitPattern(name)
    return _known[name]
