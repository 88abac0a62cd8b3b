"""A folder of prepared data: the manifest, the shards that it names, and the ids in them.

The odd thing: opening is cheap and trusting is not. `open_folder` reads the manifest and 128 bytes
of each shard; `verify` reads every id, several shards at a time, and is what a training does first.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hipgpt_model.data import TokenData
from hipgpt_model.data_manifest import MANIFEST, Manifest, ShardEntry, read_manifest
from hipgpt_model.data_shard import (
    DataError,
    ShardHeader,
    open_shard,
    read_shard_header,
    verify_shard,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np


@dataclass(frozen=True)
class DataFolder:
    """Prepared data that is there and fits its manifest.

    Attributes:
        path: the folder.
        manifest: what it says.
        headers: of the shards, in the manifest's order.
    """

    path: Path
    manifest: Manifest
    headers: tuple[ShardHeader, ...]

    @property
    def tokens(self) -> int:
        """Ids in all shards."""
        return sum(shard.tokens for shard in self.manifest.shards)

    def token_data(self, T: int) -> TokenData:
        """All shards as rows of T tokens; the ids stay on the disk until they are needed.

        Raises:
            ValueError: a split is too short for one row.
        """
        arrays: dict[str, list[np.ndarray]] = {"train": [], "validation": []}
        for entry, header in zip(self.manifest.shards, self.headers, strict=True):
            arrays[entry.split].append(open_shard(self.path / entry.file, header))
        return TokenData.of_shards(
            arrays["train"],
            arrays["validation"],
            T,
            checksum=int(self.manifest.checksum[:8], 16),
            vocab_size=self.manifest.vocab_size,
        )

    def verify(
        self, progress: Callable[[int, int], None] | None = None, *, threads: int | None = None
    ) -> None:
        """Read every id of every shard and compare with the hashes.

        Args:
            progress: called with (bytes read, bytes in all), from this thread.
            threads: shards read at a time, since hashing releases Python's lock; None: one a core,
                at most eight.

        Raises:
            DataError: a shard is damaged.
            OSError: a shard could not be read.
        """
        total = sum(shard.bytes for shard in self.manifest.shards)
        done = 0
        pool = ThreadPoolExecutor(threads or min(os.cpu_count() or 1, 8))
        try:
            for entry, _ in zip(
                self.manifest.shards,
                pool.map(self._verify, self.manifest.shards, self.headers),
                strict=True,
            ):
                done += entry.bytes
                if progress:
                    progress(done, total)
        finally:
            pool.shutdown(cancel_futures=True)

    def _verify(self, entry: ShardEntry, header: ShardHeader) -> None:
        verify_shard(self.path / entry.file, header)


def is_data_folder(path: Path) -> bool:
    """Whether a folder has a manifest; whether that is whole is for `open_folder` to say."""
    return (path / MANIFEST).is_file()


def open_folder(path: Path) -> DataFolder:
    """Open prepared data.

    Raises:
        DataError: the manifest or a shard is damaged, missing, or of another preparation.
        OSError: a file could not be read.
    """
    if not is_data_folder(path):
        raise DataError(f"{path} is no folder of prepared data: it has no {MANIFEST}")
    manifest = read_manifest(path / MANIFEST)
    headers = tuple(_checked_header(path, manifest, entry) for entry in manifest.shards)
    return DataFolder(path, manifest, headers)


def _checked_header(path: Path, manifest: Manifest, entry: ShardEntry) -> ShardHeader:
    file = path / entry.file
    if not file.is_file():
        raise DataError(f"{file} is missing; {path / MANIFEST} names it")
    header = read_shard_header(file)
    expected = ShardHeader(
        entry.tokens, entry.documents, entry.text_bytes, manifest.id_bytes, manifest.vocab_size,
        manifest.end_of_text, manifest.tokenizer, entry.sha256, entry.split, entry.number,
    )  # fmt: skip
    if header != expected:
        raise DataError(
            f"{file} is not the shard that {path / MANIFEST} names: prepare the data again"
        )
    return header
