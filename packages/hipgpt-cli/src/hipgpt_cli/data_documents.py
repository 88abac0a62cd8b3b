"""Documents on their way from a source, each with where to go on after it.

The odd thing: every document carries the place behind it, as plain JSON, so that a preparation that
was killed goes on from there and reads nothing twice that it can seek over. Lines of JSON travel to
the processes as they are and are parsed there.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, NoReturn, Protocol

from hipgpt_cli.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


INSTALL = "pip install 'hipgpt-cli[datasets]'"
"""For Parquet and for the hub."""
LONGEST_LINE = 1 << 28
"""Bytes of one JSON line; a longer one is no document but a mistake."""
CHUNK_BYTES = 1 << 20
"""Of text that go to a process at a time."""


@dataclass(frozen=True)
class Document:
    """One text.

    Attributes:
        text: not empty, and with nothing in it that UTF-8 cannot say.
        after: where the source goes on behind it: JSON.
        read: how far the source has been read, in the unit of its `total`.
        in_sections: it is part of a plain text, which has no smaller documents of its own.
    """

    text: str
    after: Any
    read: int
    in_sections: bool = False


@dataclass(frozen=True)
class JsonLines:
    """Whole lines of JSON, not parsed yet.

    Attributes:
        data: the lines.
        path: of their file.
        column: the field that holds the text.
        offset: where they begin in it.
    """

    data: bytes
    path: Path
    column: str
    offset: int

    def texts(self) -> Iterator[str]:
        """The texts that are not empty.

        Raises:
            UserError: a line is no document; the sentence says which.
        """
        for text, _ in json_lines(io.BytesIO(self.data), self.path, self.column, self.offset):
            if text.strip():
                yield encodable(text)


@dataclass(frozen=True)
class Chunk:
    """Documents on their way to a process.

    Attributes:
        documents: (text, whether it may be divided into sections); or
        lines: the documents as lines of JSON.
        after: where the source goes on behind them.
        read: how far it has been read.
    """

    documents: tuple[tuple[str, bool], ...]
    lines: JsonLines | None
    after: Any
    read: int

    def texts(self) -> Iterator[tuple[str, bool]]:
        """(text, whether it may be divided into sections), in order."""
        yield from self.documents
        if self.lines is not None:
            for text in self.lines.texts():
                yield text, False


def grouped(found: Iterable[Document]) -> Iterator[Chunk]:
    """Documents in groups of about a million characters."""
    texts: list[tuple[str, bool]] = []
    size = 0
    for document in found:
        texts.append((document.text, document.in_sections))
        size += len(document.text)
        if size >= CHUNK_BYTES:
            yield Chunk(tuple(texts), None, document.after, document.read)
            texts, size = [], 0
    if texts:
        yield Chunk(tuple(texts), None, document.after, document.read)


class Source(Protocol):
    """Where documents come from."""

    @property
    def total(self) -> int:
        """What `Document.read` counts up to; 0 where nobody knows."""

    def identity(self) -> dict[str, Any]:
        """What it reads, as JSON: the same where it would give the same documents."""

    def documents(self, start: Any) -> Iterator[Document]:
        """The documents from a place on; None is the beginning."""

    def chunks(self, start: Any) -> Iterator[Chunk]:
        """The same documents in groups; where they are cut changes no result."""


def json_lines(
    stream: IO[bytes], path: Path, column: str, offset: int
) -> Iterator[tuple[str, int]]:
    """Yield (text, offset behind its line); the stream stands at this offset of the file."""
    while line := stream.readline(LONGEST_LINE):
        if not line.isspace():
            text = None
            try:
                values = json.loads(line)
                text = values[column]
            except Exception:  # noqa: BLE001, S110 - what is wrong is found out below
                pass
            if not isinstance(text, str):
                _refuse_line(line, f"{path}, the line at byte {offset:,}", column)
            yield text, offset + len(line)
        offset += len(line)


def _refuse_line(line: bytes, place: str, column: str) -> NoReturn:
    """Say what is wrong with a line of JSON."""
    if len(line) >= LONGEST_LINE:
        raise UserError(f"{place}: longer than {LONGEST_LINE:,} bytes; is it JSON lines?")
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{place}: no JSON ({error}); a file of JSON lines has one object a line"
        ) from error
    if not isinstance(values, dict):
        raise UserError(f"{place}: expected an object, got {type(values).__name__}")
    if column not in values:
        raise UserError(no_column(place, column, values))
    _refuse_value(values[column], place, column)


def string_in(value: Any, place: str, column: str) -> str:
    """The text in a column, or an error that names the place."""
    if not isinstance(value, str):
        _refuse_value(value, place, column)
    return value


def _refuse_value(value: Any, place: str, column: str) -> NoReturn:
    raise UserError(
        f"{place}: {column!r} is {type(value).__name__}, expected text; --text-column names "
        "the one that holds the text"
    )


def no_column(place: str, column: str, columns: Any) -> str:
    """What to say where there is no such column."""
    names = ", ".join(list(map(str, columns))[:8])
    return f"{place}: there is no {column!r}; --text-column names the text, of: {names}"


def encodable(text: str) -> str:
    """The text with a question mark for half a surrogate pair, which JSON can say and UTF-8 not."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("utf-8")
    return text


def first_line(error: BaseException) -> str:
    """What an error of another library says, without the rest of it."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
