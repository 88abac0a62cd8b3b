"""The user's cache of compiled code: whole files or none, and none that was damaged.

A file holds the SHA-256 of its contents and then the contents. The odd thing: a cache that cannot
be written is no error, since everything in it can be made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

DIGEST_BYTES = 32


def cache_directory() -> Path:
    """$HIPGPT_CACHE_DIR, else hipgpt/kernels in the user's cache directory."""
    chosen = os.environ.get("HIPGPT_CACHE_DIR")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "hipgpt" / "kernels"


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
