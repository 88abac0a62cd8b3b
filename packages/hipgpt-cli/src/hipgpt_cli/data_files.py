"""Documents out of files: plain text, JSON lines and Parquet, one file after the other.

The odd thing: of a folder, what does not begin as text is left out, and said so; a file that was
named must be readable to its end.
"""

from __future__ import annotations

import codecs
import gzip
from itertools import takewhile
from typing import IO, TYPE_CHECKING, Any

from hipgpt_cli import data_documents
from hipgpt_cli.corpus import walk
from hipgpt_cli.data_documents import (
    INSTALL,
    LONGEST_LINE,
    Chunk,
    Document,
    JsonLines,
    encodable,
    first_line,
    grouped,
    json_lines,
    no_column,
    string_in,
)
from hipgpt_cli.errors import UserError
from hipgpt_cli.nearest import meant_file
from hipgpt_cli.text_parts import PART_BYTES, decoded, documents

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


_JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
_SNIFFED_BYTES = 1 << 16
"""Of each file of a folder, to leave out what is no text."""
_ROWS_AT_ONCE = 1024


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
                    clean = encodable(text)
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
                while data := stream.read(data_documents.CHUNK_BYTES) + stream.readline(
                    LONGEST_LINE
                ):
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
                    for text, offset in json_lines(stream, path, self.column, inner):
                        yield text, offset, raw.tell(), False
                else:
                    for number, text in enumerate(_texts(stream, str(path)), 1):
                        if number > inner:
                            yield text, number, raw.tell(), True
            except (gzip.BadGzipFile, EOFError) as error:
                raise UserError(f"{path} is no whole gzip file: {error}") from error


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
                raise UserError(no_column(str(path), column, names))
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
                            string_in(value, place, column),
                            before,
                            size * before // metadata.num_rows,
                        )
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {first_line(error)}") from error
