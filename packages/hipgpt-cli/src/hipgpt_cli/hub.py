"""Hugging Face's hub, through its own client: fetch a model's files, publish a folder.

The odd thing: only the files that are wanted are asked for by name, so a repository's pickled
weights are not even downloaded.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hipgpt_cli.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)

_WANTED = (
    "config.json", "model.safetensors", "model.safetensors.index.json",
    "model-?????-of-?????.safetensors", "tokenizer.json", "vocab.json", "merges.txt",
    "added_tokens.json",
)  # fmt: skip


def is_repository(name: str) -> bool:
    """Whether a text can be the name of a repository.

    >>> is_repository("openai-community/gpt2"), is_repository("../gpt2")
    (True, False)
    """
    return _REPOSITORY.fullmatch(name) is not None


def download(repository: str, revision: str | None = None) -> Path:
    """The folder of a model's files, which the client keeps in its own cache.

    Args:
        repository: "owner/name".
        revision: branch, tag or commit; None: the main one.

    Raises:
        UserError: huggingface_hub is not installed, or the files cannot be had.
    """
    hub = _client()
    with _told(f"{repository} is no folder here, and cannot be had from the hub"):
        return Path(
            hub.snapshot_download(repository, revision=revision, allow_patterns=list(_WANTED))
        )


def publish(folder: Path, repository: str, *, private: bool) -> str:
    """Upload a folder as a model, and return its address.

    Args:
        folder: what to upload.
        repository: "owner/name"; made where it is missing.
        private: whether a new repository is.

    Raises:
        UserError: huggingface_hub is not installed, or the upload failed.
    """
    hub = _client()
    with _told(f"{repository} cannot be published"):
        api = hub.HfApi()
        address = api.create_repo(repository, repo_type="model", private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repository, folder_path=str(folder), commit_message="Upload from hipgpt"
        )
    return str(address)


def _client() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError(
            'the hub needs huggingface_hub: pip install "hipgpt-cli[hf]"; '
            "a folder on this machine needs nothing"
        ) from error
    return huggingface_hub


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn what the client raises into one sentence."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        yield
    except LocalEntryNotFoundError as error:
        raise UserError(
            f"{what}: there is no network here, and this machine's cache does not have it"
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UserError(f"{what}: {' '.join(lines[:2]) or type(error).__name__}") from error
