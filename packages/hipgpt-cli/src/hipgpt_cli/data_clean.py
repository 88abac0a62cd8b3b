"""WikiText as text that people write: its articles put together, its spaced-out signs undone.

WikiText comes as lines with the signs of a tokenizer in them: "1 @,@ 000", "( see )", "do n't". The
odd thing: no rule needs a dictionary, and what no rule is sure of stays as it is; docs/data.md has
the list.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hipgpt_cli.data_documents import Document, grouped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hipgpt_cli.data_documents import Chunk, Source

_TITLE = re.compile(r"= (?!= )(?=.*[^\W\d_])\S(?:.*\S)?(?<! =) =")
"""The line of an article's title, without the spaces around it. Sections have "= = Name = =", and
a line without a letter is a formula."""

_RULES = (
    (re.compile(r" @([-,.])@ "), r"\1"),  # 1 @,@ 000; well @-@ known; 3 @.@ 5
    (re.compile(r"(?<=\w) ('(?:s|re|ve|ll|d|m|t)|n't)\b"), r"\1"),  # it 's; do n't
    (re.compile(r"(?<=s) '(?= )"), "'"),  # the players ' names
    (re.compile(r' ?" ([^"\n]*?) "'), r' "\1"'),  # " quoted "
    (re.compile(r"([(\[{]) "), r"\1"),  # ( opening
    (re.compile(r" ([)\]}])"), r"\1"),  # closing )
    (re.compile(r"([$£€#]) (?=\d)"), r"\1"),  # $ 5
    (re.compile(r" ([.,;:!?%])(?=[\s)\]}\"'.,;:!?]|$)"), r"\1"),  # a comma , and a stop .
)

_HEADING = re.compile(r"^((?:= )+)(.*?)((?: =)+)$")


class WikiText:
    """A source of WikiText's lines or files, read as articles.

    Args:
        source: gives lines, or passages of lines.
    """

    def __init__(self, source: Source) -> None:
        self.source = source

    @property
    def total(self) -> int:
        """See `Source.total`."""
        return self.source.total

    def identity(self) -> dict[str, Any]:
        """See `Source.identity`."""
        return {**self.source.identity(), "clean": "wikitext"}

    def documents(self, start: Any) -> Iterator[Document]:
        """See `Source.documents`; a place is [the source's before a passage, lines done in it]."""
        before, skip = start or (None, 0)
        lines: list[str] = []
        read = 0
        for passage in self.source.documents(before):
            read = passage.read
            for number, line in enumerate(passage.text.splitlines()):
                if number < skip:
                    continue
                if lines and _TITLE.fullmatch(line.strip()):
                    yield Document(_article(lines), [before, number], read)
                    lines = []
                if line.strip():
                    lines.append(line)
            before, skip = passage.after, 0
        if lines:
            yield Document(_article(lines), [before, 0], read)

    def chunks(self, start: Any) -> Iterator[Chunk]:
        """See `Source.chunks`."""
        return grouped(self.documents(start))


def _article(lines: list[str]) -> str:
    return "\n".join(clean_line(line) for line in lines) + "\n"


def clean_line(line: str) -> str:
    r"""One line as its writer meant it.

    >>> clean_line(" = = 2 @.@ 5 million players ' guides = = ")
    "== 2.5 million players' guides =="
    >>> print(clean_line('It \'s " well @-@ known " ( see it ) , is n\'t it ? About $ 1 @,@ 0 .'))
    It's "well-known" (see it), isn't it? About $1,0.
    """
    line = line.strip()
    opening = closing = ""
    if heading := _HEADING.match(line):
        opening, line, closing = heading.groups()
        opening = f"{opening.replace(' ', '')} "
        closing = f" {closing.replace(' ', '')}"
    for pattern, replacement in _RULES:
        line = pattern.sub(replacement, line)
    return f"{opening}{line.strip()}{closing}"
