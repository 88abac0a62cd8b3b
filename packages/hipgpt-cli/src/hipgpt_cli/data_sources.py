"""Documents out of files and data sets, one after the other, each with where to go on after it.

A source reads text files, JSON lines and Parquet files, in the order of their names, or a data set
of the Hugging Face hub as a stream. The odd thing: every document carries the place behind it, as
plain JSON, so that a preparation that was killed goes on from there and reads nothing twice that it
can seek over. Lines of JSON travel to the processes as they are and are parsed there.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
from dataclasses import dataclass
from itertools import takewhile
from typing import IO, TYPE_CHECKING, Any, NoReturn, Protocol

from hipgpt_cli.corpus import walk
from hipgpt_cli.errors import UserError
from hipgpt_cli.nearest import meant_file
from hipgpt_cli.text_parts import PART_BYTES, decoded, documents

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

INSTALL = "pip install 'hipgpt-cli[datasets]'"

_JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")

_LONGEST_LINE = 1 << 28
"""Bytes of one JSON line; a longer one is no document but a mistake."""

CHUNK_BYTES = 1 << 20
"""Of text that go to a process at a time."""

_SNIFFED_BYTES = 1 << 16
"""Of each file of a folder, to leave out what is no text."""

_ROWS_AT_ONCE = 1024

_ROWS_BETWEEN_MARKS = 1000
"""Rows of a stream after which its state is asked for again, which takes a while."""


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
        for text, _ in _json_lines(io.BytesIO(self.data), self.path, self.column, self.offset):
            if text.strip():
                yield _encodable(text)


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


class FileSource:
    """Text files, JSON lines (.jsonl, .ndjson, .json) and Parquet; .gz of the first two.

    Args:
        paths: files and folders; of a folder all files below it, by name, but for those whose
            beginning shows that they are no text.
        column: the field or column that holds the text.

    Raises:
        UserError: there is no such file, or none in a folder.
    """

    def __init__(self, paths: Sequence[Path], column: str) -> None:
        self.column = column
        found = [_files(path) for path in paths]
        self.files = tuple(file for files, _ in found for file in files)
        self.skipped = tuple(file for _, files in found for file in files)
        self.sizes = tuple(file.stat().st_size for file in self.files)

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(self.sizes)

    def identity(self) -> dict[str, Any]:
        """See `Source.identity`."""
        return {
            "files": [
                {"name": file.name, "bytes": size}
                for file, size in zip(self.files, self.sizes, strict=True)
            ],
            "text_column": self.column,
        }

    def documents(self, start: Any) -> Iterator[Document]:
        """See `Source.documents`; a place is [number of the file, place in it]."""
        first, inner = start or (0, 0)
        before = sum(self.sizes[:first])
        for number in range(first, len(self.files)):
            file, size = self.files[number], self.sizes[number]
            for text, after, read, in_sections in self._read(file, inner):
                if text.strip():
                    clean = _encodable(text)
                    yield Document(clean, [number, after], before + min(read, size), in_sections)
            before += size
            inner = 0

    def chunks(self, start: Any) -> Iterator[Chunk]:
        """See `Source.chunks`."""
        first, inner = start or (0, 0)
        for number in range(first, len(self.files)):
            if _kind(self.files[number]) == "json":
                yield from self._json_chunks(number, inner)
            else:
                found = self.documents([number, inner])
                yield from grouped(takewhile(lambda d, n=number: d.after[0] == n, found))  # type: ignore[misc]
            inner = 0

    def _json_chunks(self, number: int, offset: int) -> Iterator[Chunk]:
        """A file of JSON lines in pieces of about a megabyte, from an offset on."""
        path, before = self.files[number], sum(self.sizes[:number])
        with path.open("rb") as raw:
            stream: IO[bytes] = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw  # type: ignore[assignment]
            try:
                stream.seek(offset)
                while data := stream.read(CHUNK_BYTES) + stream.readline(_LONGEST_LINE):
                    lines = JsonLines(data, path, self.column, offset)
                    offset += len(data)
                    read = before + min(raw.tell(), self.sizes[number])
                    yield Chunk((), lines, [number, offset], read)
            except (gzip.BadGzipFile, EOFError) as error:
                raise UserError(f"{path} is no whole gzip file: {error}") from error

    def _read(self, path: Path, inner: int) -> Iterator[tuple[str, int, int, bool]]:
        """Yield (text, place behind it, bytes read, in sections) of one file from a place on."""
        kind = _kind(path)
        if kind == "parquet":
            for text, row, read in _parquet_rows(path, self.column, inner):
                yield text, row, read, False
            return
        with path.open("rb") as raw:
            stream: IO[bytes] = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw  # type: ignore[assignment]
            try:
                if kind == "json":
                    stream.seek(inner)
                    for text, offset in _json_lines(stream, path, self.column, inner):
                        yield text, offset, raw.tell(), False
                else:
                    for number, text in enumerate(_texts(stream, str(path)), 1):
                        if number > inner:
                            yield text, number, raw.tell(), True
            except (gzip.BadGzipFile, EOFError) as error:
                raise UserError(f"{path} is no whole gzip file: {error}") from error


class HubSource:
    """A data set of the Hugging Face hub, or a local folder that `datasets` can load, streamed.

    Args:
        name: such as HuggingFaceFW/fineweb-edu, or a folder.
        config: which of its configurations; None is the default.
        split: such as train.
        column: the column that holds the text.
        revision: a commit, tag or branch; None is the newest.

    Raises:
        UserError: `datasets` is not installed, or the data set cannot be had.
    """

    def __init__(
        self, name: str, config: str | None, split: str, column: str, revision: str | None
    ) -> None:
        self.name, self.config, self.split, self.column = name, config, split, column
        self.revision = revision
        self._rows = self._open()

    @property
    def total(self) -> int:
        """Rows, where the data set says how many it has."""
        splits = getattr(self._rows.info, "splits", None) or {}
        return int(splits[self.split].num_examples or 0) if self.split in splits else 0

    def identity(self) -> dict[str, Any]:
        """See `Source.identity`."""
        return {
            "hub": self.name,
            "config": self.config,
            "split": self.split,
            "revision": self.revision,
            "text_column": self.column,
        }

    def documents(self, start: Any) -> Iterator[Document]:
        """See `Source.documents`; a place is [rows read, state of the stream, rows behind it]."""
        done, state, behind = start or (0, None, 0)
        rows = self._rows
        if state is not None:
            rows.load_state_dict(state)
        mark, since = state, 0
        for row in self._iterate(rows):
            since += 1
            if since > behind:
                done += 1
                text = _string(row.get(self.column), f"{self.name}, row {done:,}", self.column)
                if text.strip():
                    yield Document(_encodable(text), [done, mark, since], done)
            if since >= _ROWS_BETWEEN_MARKS:
                mark, since, behind = rows.state_dict(), 0, 0

    def chunks(self, start: Any) -> Iterator[Chunk]:
        """See `Source.chunks`."""
        return grouped(self.documents(start))

    def _open(self) -> Any:
        try:
            import datasets
        except ImportError as error:
            raise UserError(f"--hf needs the package datasets: {INSTALL}") from error
        try:
            rows = datasets.load_dataset(
                self.name, self.config, split=self.split, revision=self.revision, streaming=True
            )
        except Exception as error:
            raise UserError(
                f"{self.name} cannot be loaded by datasets: {_first_line(error)}"
            ) from (error)
        columns = rows.column_names
        if columns is not None and self.column not in columns:
            raise UserError(_no_column(self.name, self.column, columns))
        return rows if columns is None else rows.select_columns([self.column])

    def _iterate(self, rows: Any) -> Iterator[dict[str, Any]]:
        iterator = iter(rows)
        while True:
            try:
                row = next(iterator)
            except StopIteration:
                return
            except Exception as error:
                raise UserError(
                    f"reading {self.name} failed: {_first_line(error)}; the same command goes on "
                    "from here"
                ) from error
            yield row


def _files(path: Path) -> tuple[list[Path], list[Path]]:
    """(files to read, files left out) of a file or folder."""
    if path.is_dir():
        found: tuple[list[Path], list[Path]] = [], []
        for file in walk(path):
            found[_kind(file) == "text" and not _begins_as_text(file)].append(file)
        if not found[0]:
            raise UserError(f"{path} holds no file to read")
        return found
    if not path.is_file():
        raise UserError(
            f"{path}: there is no such file or folder"
            + (
                meant_file(path)
                or "; give text files, .jsonl, .parquet, folders of them, or a data set with --hf"
            )
        )
    return [path], []


def _begins_as_text(path: Path) -> bool:
    """Whether the first bytes of a file are UTF-8; one that goes on otherwise is an error later."""
    if path.suffix == ".gz":
        return True
    try:
        with path.open("rb") as stream:
            data = stream.read(_SNIFFED_BYTES)
        codecs.getincrementaldecoder("utf-8")().decode(data, final=len(data) < _SNIFFED_BYTES)
    except (UnicodeDecodeError, OSError):
        return False
    return 0 not in data


def _kind(path: Path) -> str:
    """One of "text", "json" and "parquet", by the file's name."""
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(_JSON_SUFFIXES):
        return "json"
    return "parquet" if name.endswith((".parquet", ".pq")) else "text"


def _texts(stream: IO[bytes], name: str) -> Iterator[str]:
    """The documents of a text file; one of more than 8 MiB comes in several."""
    parts: list[str] = []
    size = 0
    for text, last in documents(decoded(stream, name)):
        parts.append(text)
        size += len(text)
        if last or size >= PART_BYTES:
            yield "".join(parts)
            parts, size = [], 0


def _json_lines(
    stream: IO[bytes], path: Path, column: str, offset: int
) -> Iterator[tuple[str, int]]:
    """Yield (text, offset behind its line); the stream stands at this offset of the file."""
    while line := stream.readline(_LONGEST_LINE):
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
    if len(line) >= _LONGEST_LINE:
        raise UserError(f"{place}: longer than {_LONGEST_LINE:,} bytes; is it JSON lines?")
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{place}: no JSON ({error}); a file of JSON lines has one object a line"
        ) from error
    if not isinstance(values, dict):
        raise UserError(f"{place}: expected an object, got {type(values).__name__}")
    if column not in values:
        raise UserError(_no_column(place, column, values))
    _refuse_value(values[column], place, column)


def _parquet_rows(path: Path, column: str, row: int) -> Iterator[tuple[str, int, int]]:
    """Yield (text, rows before and with it, about how many bytes were read) from a row on."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UserError(f"{path} is Parquet, which needs the package pyarrow: {INSTALL}") from error
    size = path.stat().st_size
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if column not in names:
                raise UserError(_no_column(str(path), column, names))
            metadata, before = file.metadata, 0
            groups: list[int] = []
            for group in range(metadata.num_row_groups):
                rows = metadata.row_group(group).num_rows
                if before + rows > row or groups:
                    groups.append(group)
                else:
                    before += rows
            for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=groups, columns=[column]):
                for value in batch.column(0).to_pylist():
                    before += 1
                    if before > row:
                        place = f"{path}, row {before:,}"
                        yield (
                            _string(value, place, column),
                            before,
                            size * before // metadata.num_rows,
                        )
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {_first_line(error)}") from error


def _string(value: Any, place: str, column: str) -> str:
    if not isinstance(value, str):
        _refuse_value(value, place, column)
    return value


def _refuse_value(value: Any, place: str, column: str) -> NoReturn:
    raise UserError(
        f"{place}: {column!r} is {type(value).__name__}, expected text; --text-column names "
        "the one that holds the text"
    )


def _no_column(place: str, column: str, columns: Any) -> str:
    names = ", ".join(list(map(str, columns))[:8])
    return f"{place}: there is no {column!r}; --text-column names the text, of: {names}"


def _encodable(text: str) -> str:
    """The text with a question mark for half a surrogate pair, which JSON can say and UTF-8 not."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("utf-8")
    return text


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
