"""The user's cache of compiled code: whole files or none, and none that was damaged.

A file holds the SHA-256 of its contents and then the contents. The odd thing: a cache that cannot
be written is no error, since everything in it can be made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

DIGEST_BYTES = 32
OURS = re.compile(r"\w+-(?:gfx|sm_)[\w-]+-[0-9a-f]{32}|bridge-[0-9a-f]{32}")
"""Names of code objects and of the bridge's folder."""


def cache_directory() -> Path:
    """$HIPGPT_CACHE_DIR, else hipgpt/kernels in the user's cache directory."""
    chosen = os.environ.get("HIPGPT_CACHE_DIR")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "hipgpt" / "kernels"


@dataclass(frozen=True)
class Entry:
    """One file of the cache.

    Attributes:
        path: where it is.
        nbytes: its size.
        sound: whether its contents are what was written.
    """

    path: Path
    nbytes: int
    sound: bool


def entries() -> list[Entry]:
    """Every file that `write` has made, damaged ones too."""
    found = []
    for path in _ours():
        if path.is_file():
            data = path.read_bytes()
            sound = hashlib.sha256(data[DIGEST_BYTES:]).digest() == data[:DIGEST_BYTES]
            found.append(Entry(path, len(data), sound))
    return found


def clear() -> int:
    """Remove everything that is kept, whole or not; return how many things that were.

    Raises:
        OSError: something cannot be removed.
    """
    found = _ours()
    for path in found:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return len(found)


def _ours() -> list[Path]:
    """What was put there by us: the folder may hold other things too, if the user chose it."""
    try:
        return sorted(path for path in cache_directory().iterdir() if OURS.fullmatch(path.name))
    except OSError:
        return []


def writable() -> bool:
    """Can something new be kept?"""
    directory = cache_directory()
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    return directory.is_dir() and os.access(directory, os.W_OK | os.X_OK)


def read(name: str) -> bytes | None:
    """What was written under that name; None if nothing was, or if it is damaged."""
    path = cache_directory() / name
    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, contents = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
    if hashlib.sha256(contents).digest() != digest:
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    return contents


def write(name: str, contents: bytes) -> None:
    """Keep `contents`; another process sees the old file or the new one, never a part."""
    with contextlib.suppress(OSError):
        directory = cache_directory()
        directory.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=directory, prefix=f".{name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(contents).digest() + contents)
            Path(temporary).replace(directory / name)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
