"""Tiny Shakespeare: downloaded once into the user's cache folder, and believed only by its hash."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from hipgpt_cli.errors import UserError
from hipgpt_cli.files import replacing
from hipgpt_cli.progress import stages

SHAKESPEARE_URL = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
)
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
SHAKESPEARE_BYTES = 1_115_394

_TIMEOUT_S = 20
_PART_BYTES = 1 << 14


def cache_folder() -> Path:
    """Where downloads are kept: HIPGPT_CACHE, else the platform's cache folder for this user."""
    if own := os.environ.get("HIPGPT_CACHE"):
        return Path(own).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return (Path(base) if base else Path.home() / "AppData" / "Local") / "hipgpt" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "hipgpt"
    base = os.environ.get("XDG_CACHE_HOME")
    # The XDG specification has a relative path ignored.
    return (Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache") / "hipgpt"


def shakespeare() -> Path:
    """The path of Tiny Shakespeare on this machine; the first call downloads it.

    Raises:
        UserError: it cannot be had; the sentence says what to do instead.
    """
    path = cache_folder() / "shakespeare.txt"
    if path.is_file() and _sha256(path.read_bytes()) == SHAKESPEARE_SHA256:
        return path
    data = _download(SHAKESPEARE_URL, SHAKESPEARE_BYTES)
    if _sha256(data) != SHAKESPEARE_SHA256:
        raise UserError(
            f"what {SHAKESPEARE_URL} gave is not Tiny Shakespeare (its SHA-256 is "
            f"{_sha256(data)[:12]}…, expected {SHAKESPEARE_SHA256[:12]}…); "
            "--data stdlib needs no network"
        )
    with replacing(path) as file:
        file.write(data)
    return path


def _download(url: str, limit: int) -> bytes:
    """At most limit + 1 bytes from a URL: enough to see that a file is too long."""
    import http.client
    import urllib.request

    try:
        with (
            urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer,  # noqa: S310 - our constant
            stages() as progress,
        ):
            data = bytearray()
            while len(data) <= limit and (part := answer.read(_PART_BYTES)):
                data += part
                progress("download", min(len(data), limit), limit)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error  # urllib wraps the real one
        reason = getattr(reason, "strerror", None) or reason
        raise UserError(
            f"Tiny Shakespeare could not be downloaded ({reason}); --data stdlib needs no network, "
            f"or save {url} elsewhere and give --data FILE"
        ) from error
    return bytes(data[: limit + 1])


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
