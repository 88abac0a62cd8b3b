"""Where the text comes from: a file, a folder, standard input, Python's own source, Shakespeare.

A corpus is a row of documents, each read in parts. The odd thing: a literal <|endoftext|> in a text
ends a document, as in the text files that are published that way.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hipgpt_cli import human
from hipgpt_cli.errors import UserError
from hipgpt_cli.nearest import meant, meant_file
from hipgpt_cli.text_parts import END_OF_TEXT, decoded, documents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAMED = frozenset({"-", "stdlib", "shakespeare"})
"""Sources that are no files."""

STDLIB_BYTES = 4_000_000
"""How much of the standard library is taken: about 1.1 M tokens, enough that 1,500 steps of the
default model see no text twice; it trains and encodes in a few seconds."""

_SKIPPED_FOLDERS = frozenset(
    {
        "site-packages", "dist-packages",  # not the standard library
        "test", "tests", "idle_test",
        "encodings", "pydoc_data",  # tables and manual pages: no code to learn from
    }
)  # fmt: skip


@dataclass(frozen=True)
class Corpus:
    """A row of documents.

    Attributes:
        name: short, fit for a folder's name: "stdlib", "shakespeare", a file's stem.
        description: what it is and where, for people.
        source: what `--data` has to be to get the same text again; a path is absolute.
        files: one document each, in the order of training. Empty for standard input.
        text: the one document that came through standard input.
        bytes: size of all documents in UTF-8.
        skipped: files of a folder that hold no UTF-8 text.
    """

    name: str
    description: str
    source: str
    files: tuple[Path, ...]
    bytes: int
    text: str | None = None
    skipped: tuple[Path, ...] = ()

    def parts(self) -> Iterator[tuple[str, bool]]:
        """Yield (text, last): the documents' parts in order; `last` marks a document's end.

        Every document ends with exactly one `last`; its text may be empty.
        """
        for file in self.files:
            with file.open("rb") as stream:
                yield from documents(decoded(stream, str(file)))
        if self.text is not None:
            yield from documents(iter([self.text]))

    def sha256(self, progress: Callable[[str, int, int], None] | None = None) -> str:
        """The hash of all documents with their borders, in hexadecimal.

        Args:
            progress: called with ("read", bytes read, bytes in all).
        """
        digest, done = hashlib.sha256(), 0
        for text, last in self.parts():
            data = text.encode("utf-8")
            digest.update(data)
            done += len(data)
            if progress:
                progress("read", done, self.bytes)
            if last:
                digest.update(END_OF_TEXT.encode())
        return digest.hexdigest()


def open_corpus(source: str) -> Corpus:
    """The corpus that `--data` names.

    Args:
        source: a file, a folder, "-", "stdlib" or "shakespeare". A file or folder of one of these
            names is meant by "./stdlib".

    Raises:
        UserError: there is no such text, or it is not text.
    """
    if source == "-":
        return _standard_input()
    if source == "stdlib":
        return _standard_library()
    if source == "shakespeare":
        from hipgpt_cli.download import shakespeare

        path = shakespeare()
        size = path.stat().st_size
        description = f"Tiny Shakespeare, {human.size(size)} ({path})"
        return Corpus(source, description, source, (path,), size)
    path = find_text(source)
    return _folder(path) if path.is_dir() else _file(path)


def find_text(source: str) -> Path:
    """The file or folder that `--data` names, absolute.

    Raises:
        UserError: there is none.
    """
    path = Path(source).expanduser().absolute()
    try:
        path.stat()
    except (OSError, ValueError) as error:
        near = meant(source, NAMED) or meant_file(Path(source).expanduser())
        raise UserError(
            f"{source}: there is no such file or folder"
            + (
                near
                or "; --data takes a text file, a folder of text files, - (standard input), stdlib "
                "or shakespeare"
            )
        ) from error
    return path


def read_text(source: str) -> str:
    """All of a corpus as one string: a file as it is, a folder with <|endoftext|> between files."""
    corpus = open_corpus(source)
    if corpus.text is not None:
        return corpus.text
    texts = []
    for file in corpus.files:
        with file.open("rb") as stream:
            texts.append("".join(decoded(stream, str(file))))
    return END_OF_TEXT.join(texts)


def _file(path: Path) -> Corpus:
    size = path.stat().st_size
    with path.open("rb") as stream:  # read once now: a mistake is told before anything is made
        empty = not any(part.strip() for part in decoded(stream, str(path)))
    if empty:
        raise UserError(f"{path} is empty; --data needs a file with text in it")
    return Corpus(slug(path.stem), f"{path}, {human.size(size)}", str(path), (path,), size)


def _folder(path: Path) -> Corpus:
    files: list[Path] = []
    skipped: list[Path] = []
    for file in walk(path):
        (files if _is_text(file) else skipped).append(file)
    size = sum(file.stat().st_size for file in files)
    if not files or size == 0:
        raise UserError(f"{path} holds no file with UTF-8 text; --data needs at least one")
    description = f"{path}, {_files(len(files))}, {human.size(size)}"
    return Corpus(
        slug(path.name), description, str(path), tuple(files), size, skipped=tuple(skipped)
    )


def _standard_library() -> Corpus:
    root = Path(sysconfig.get_path("stdlib"))
    files: list[Path] = []
    total = 0
    for file in walk(root, skip=_SKIPPED_FOLDERS, suffix=".py") if root.is_dir() else ():
        if not _is_text(file):
            continue
        size = file.stat().st_size
        if total + size > STDLIB_BYTES:
            break
        files.append(file)
        total += size
    if total == 0:
        raise UserError(
            f"this Python has no source files of its standard library in {root}; "
            "give a text of your own with --data FILE"
        )
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    description = (
        f"Python {version}'s own standard library, {_files(len(files))}, "
        f"{human.size(total)} ({root})"
    )
    return Corpus("stdlib", description, "stdlib", tuple(files), total)


def _standard_input() -> Corpus:
    if sys.stdin is None:
        raise UserError("there is no standard input; --data - needs text there")
    text = "".join(decoded(sys.stdin.buffer, "standard input"))
    if not text.strip():
        raise UserError("standard input is empty; --data - needs text there")
    size = len(text.encode("utf-8"))
    return Corpus("stdin", f"standard input, {human.size(size)}", "-", (), size, text=text)


def walk(root: Path, *, skip: frozenset[str] = frozenset(), suffix: str = "") -> Iterator[Path]:
    """Regular files below root, by their relative path.

    Hidden ones and links to folders are not among them, nor what Python has compiled.
    """
    skip |= {"__pycache__"}
    found: list[tuple[str, Path]] = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in skip and not name.startswith(".")]
        for name in names:
            file = Path(folder, name)
            if name.endswith(suffix) and not name.startswith(".") and file.is_file():
                found.append((file.relative_to(root).as_posix(), file))
    for _, file in sorted(found):
        yield file


def _is_text(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            for _ in decoded(stream, str(path)):
                pass
    except (UserError, OSError):
        return False
    return True


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{human.count(number)} files"


def slug(name: str) -> str:
    """A name that any file system takes.

    >>> slug("my text (2).old")
    'my-text-2-.old'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:40] or "text"
