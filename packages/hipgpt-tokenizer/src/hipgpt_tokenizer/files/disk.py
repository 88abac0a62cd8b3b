"""Read and write whole files; a file is either the old one or the new one, never half.

Odd thing: JSON is read with duplicate keys refused, which `json` alone lets pass in silence.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from hipgpt_tokenizer.errors import TokenizerFileError

if TYPE_CHECKING:
    from collections.abc import Iterator

PathLike = str | os.PathLike[str]


@contextmanager
def naming(path: PathLike) -> Iterator[None]:
    """Turn a ValueError inside into a TokenizerFileError that begins with the path.

    >>> with naming("x.json"):
    ...     raise ValueError("version is 2")
    Traceback (most recent call last):
    hipgpt_tokenizer.errors.TokenizerFileError: x.json: version is 2
    """
    try:
        yield
    except ValueError as error:
        raise TokenizerFileError(f"{os.fspath(path)}: {error}") from None


def read_text(path: PathLike) -> str:
    """Return a UTF-8 file's text, line ends as they are."""
    data = Path(path).read_bytes()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8, expected a UTF-8 text file") from None


def read_json(path: PathLike) -> Any:
    """Return a JSON file's value."""
    try:
        return json.loads(read_text(path), object_pairs_hook=_no_duplicates)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}; "
            "the file may be cut short"
        ) from None
    except RecursionError:
        raise ValueError("not a tokenizer file: its JSON is nested too deep") from None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"key {key!r} stands twice in one JSON object")
            seen.add(key)
    return found


def write_json(path: PathLike, value: object) -> None:
    """Write a JSON file, indented, in UTF-8."""
    write(path, (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode())


def write(path: PathLike, data: bytes) -> None:
    """Write a whole file; see `replacing`."""
    with replacing(path) as file:
        file.write(data)


@contextmanager
def replacing(path: PathLike) -> Iterator[BinaryIO]:
    """Open a file that takes path's place at the end, or leaves the old one if that fails.

    It is written beside it, synced and renamed; a link is followed, not replaced.
    """
    target = Path(path).resolve()
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None  # not the temporary name
        raise
    if os.name == "posix":
        # The rename itself lasts only once the folder is on the disk.
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def get(value: dict[str, Any], key: str, kind: type, where: str) -> Any:
    """Return value[key], refusing a missing one or one of another JSON type.

    >>> get({"a": []}, "a", list, "model")
    []
    """
    if key not in value:
        raise ValueError(f"{where}{key} is missing")
    return expect(value[key], kind, f"{where}{key}")


def expect(value: Any, kind: type, where: str) -> Any:
    """Return value if it has this JSON type; True and False are no numbers.

    >>> expect(3, int, "id")
    3
    """
    names = {dict: "an object", list: "a list", str: "a string", int: "an integer"}
    if type(value) is not kind:
        raise ValueError(f"{where} is {_show(value)}, expected {names[kind]}")
    return value


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."


def vocabulary(value: dict[str, Any], where: str) -> list[str]:
    """Return the tokens of a {token: id} object by id; ids must be 0, 1, 2 and so on.

    >>> vocabulary({"b": 1, "a": 0}, "vocab")
    ['a', 'b']
    """
    size = len(value)
    tokens: list[str | None] = [None] * size
    for token, id_ in value.items():
        expect(id_, int, f"{where}[{token!r}]")
        if not 0 <= id_ < size:
            raise ValueError(
                f"{where}[{token!r}] is {id_}, expected the {size} ids 0 to {size - 1} "
                "without a gap"
            )
        if tokens[id_] is not None:
            raise ValueError(f"{where} gives id {id_} to both {tokens[id_]!r} and {token!r}")
        tokens[id_] = token
    return [token for token in tokens if token is not None]
