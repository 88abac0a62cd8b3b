"""Shards as they grow on disk, and the state from which a killed preparation goes on.

Ids are appended to NAME.part behind room for the header; a full shard gets its header and its name.
Every few seconds what was written is synced, and state.json says how far it goes. The odd thing:
whatever lies behind the state is cut off on the way back and made again, so that the bytes at the
end are those of a preparation that nothing interrupted.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from contextlib import suppress
from dataclasses import asdict, fields
from typing import IO, TYPE_CHECKING, Any, TypeGuard

from hipgpt_cli.errors import UserError
from hipgpt_cli.files import read_json_object, write_json, write_text

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from hipgpt_model.data_manifest import ShardEntry
    from hipgpt_tokenizer import Tokenizer

STATE = "state.json"

FORMAT = {"format": "hipgpt-data-state", "version": 1}

SECONDS_BETWEEN_STATES = 5.0

_OURS = re.compile(r"(train|validation)-\d{5,}\.tokens(\.part)?")


class ShardWriter:
    """Writes the shards of one split.

    Args:
        folder: where.
        split: "train" or "validation".
        tokenizer: whose ids they are.
        shard_tokens: ids in every shard but the last.
        kept: what `kept` gave when the state was written that is gone on from; {} starts anew.
    """

    def __init__(
        self,
        folder: Path,
        split: str,
        tokenizer: Tokenizer,
        shard_tokens: int,
        kept: dict[str, Any],
    ) -> None:
        from hipgpt_model.data_manifest import ShardEntry

        self.folder, self.split, self.tokenizer = folder, split, tokenizer
        self.shard_tokens = shard_tokens
        self.id_bytes = 2 if tokenizer.typecode == "H" else 4
        self.entries = [ShardEntry(**entry) for entry in kept.get("entries", [])]
        self.tokens = kept.get("tokens", 0)
        """In the shard that is being written."""
        self._file: IO[bytes] | None = None
        self._text_bytes: np.ndarray | None = None
        self._check_finished()
        self._go_back()

    def write(self, ids: bytes) -> None:
        """Append ids, as machine integers, to the shard and those after it."""
        import sys

        import numpy as np

        if sys.byteorder == "big":
            ids = np.frombuffer(ids, f">u{self.id_bytes}").astype(f"<u{self.id_bytes}").tobytes()
        view = memoryview(ids)
        while view:
            room = (self.shard_tokens - self.tokens) * self.id_bytes
            taken = view[:room]
            self._open().write(taken)
            self.tokens += len(taken) // self.id_bytes
            view = view[len(taken) :]
            if self.tokens == self.shard_tokens:
                self._finish_shard()

    def kept(self) -> dict[str, Any]:
        """Sync what was written; return what the state has to say of it."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
        return {"entries": [asdict(entry) for entry in self.entries], "tokens": self.tokens}

    def finish(self) -> list[ShardEntry]:
        """Finish the last shard; return all of them. None at all makes no file."""
        if self.tokens:
            self._finish_shard()
        return self.entries

    def close(self) -> None:
        """Let go of the file; what is in it stays."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _path(self, number: int, *, part: bool = False) -> Path:
        from hipgpt_model.data_manifest import shard_name

        return self.folder / (shard_name(self.split, number) + (".part" if part else ""))

    def _check_finished(self) -> None:
        from hipgpt_model.data_shard import read_shard_header

        for entry in self.entries:
            path = self.folder / entry.file
            if not path.is_file() or read_shard_header(path).sha256 != entry.sha256:
                raise UserError(
                    f"{path} is missing or was changed since this preparation was stopped; "
                    "--reset starts over"
                )

    def _go_back(self) -> None:
        """Bring the files to where the state was."""
        from hipgpt_model.data_shard import HEADER_BYTES

        number = len(self.entries)
        part, whole = self._path(number, part=True), self._path(number)
        if whole.is_file():  # it was finished after the state was written
            whole.replace(part)
        later = number + 1
        while (extra := self._path(later)).is_file() or self._path(later, part=True).is_file():
            for path in (extra, self._path(later, part=True)):
                path.unlink(missing_ok=True)
            later += 1
        size = HEADER_BYTES + self.tokens * self.id_bytes
        if self.tokens == 0:
            part.unlink(missing_ok=True)
        elif not part.is_file() or part.stat().st_size < size:
            raise UserError(
                f"{part} is missing or shorter than {self.folder / STATE} says; --reset starts over"
            )
        else:
            os.truncate(part, size)

    def _open(self) -> IO[bytes]:
        from hipgpt_model.data_shard import HEADER_BYTES

        if self._file is None:
            part = self._path(len(self.entries), part=True)
            self._file = part.open("r+b" if part.is_file() else "w+b")
            self._file.seek(HEADER_BYTES + self.tokens * self.id_bytes)
        return self._file

    def _finish_shard(self) -> None:
        from hipgpt_model.data_manifest import ShardEntry
        from hipgpt_model.data_shard import ShardHeader

        file, number = self._open(), len(self.entries)
        file.flush()
        sha256, documents, text_bytes = self._look(file)
        header = ShardHeader(
            self.tokens, documents, text_bytes, self.id_bytes, self.tokenizer.vocab_size,
            self.tokenizer.eot_id or 0, self.tokenizer.fingerprint, sha256, self.split, number,
        )  # fmt: skip
        file.seek(0)
        file.write(header.to_bytes())
        file.flush()
        os.fsync(file.fileno())
        self.close()
        self._path(number, part=True).replace(self._path(number))
        entry = ShardEntry(
            self._path(number).name, self.split, number, self.tokens, documents, text_bytes,
            header.file_bytes, sha256,
        )  # fmt: skip
        self.entries.append(entry)
        self.tokens = 0

    def _look(self, file: IO[bytes]) -> tuple[str, int, int]:
        """(SHA-256, ends of text, bytes of text) of the ids in the file."""
        import numpy as np

        from hipgpt_model.data_shard import HEADER_BYTES

        if self._text_bytes is None:
            self._text_bytes = text_bytes_table(self.tokenizer)
        digest, documents, text_bytes = hashlib.sha256(), 0, 0
        file.seek(HEADER_BYTES)
        while data := file.read(1 << 22):
            digest.update(data)
            ids = np.frombuffer(data, f"<u{self.id_bytes}")
            documents += int(np.count_nonzero(ids == self.tokenizer.eot_id))
            text_bytes += int(self._text_bytes[ids].sum())
        return digest.hexdigest(), documents, text_bytes


def text_bytes_table(tokenizer: Tokenizer) -> np.ndarray:
    """(V,) int64: the bytes of text that each id stands for; a special token stands for none."""
    import numpy as np

    table = np.array([len(tokenizer.token_bytes(id_)) for id_ in range(tokenizer.vocab_size)])
    table[list(tokenizer.special_tokens.values())] = 0
    return table


class State:
    """What state.json says, and when it was last written.

    Args:
        folder: of the data.
        settings: everything that decides the bytes; the state of other settings is refused.

    Attributes:
        after: where the source goes on; None is its beginning.
        size: bytes of text behind us.
        splits: what each `ShardWriter` has to know, by split.

    Raises:
        UserError: there is a state of another preparation, or a damaged one.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.path = folder / STATE
        self.settings = settings
        self.after: Any = None
        self.size = 0
        self.splits: dict[str, Any] = {}
        self._written = time.monotonic()
        _clear_unfinished(folder)
        if self.path.is_file():
            self._read()

    def _read(self) -> None:
        from hipgpt_model.data_manifest import json_checksum

        values = read_json_object(self.path)
        if {name: values.get(name) for name in FORMAT} != FORMAT:
            raise UserError(f"{self.path} is no state of a preparation; --reset starts over")
        if values.pop("checksum", None) != json_checksum(values):
            raise UserError(f"{self.path} is damaged; --reset starts over")
        found, splits, size = values.get("settings"), values.get("splits"), values.get("size")
        if not (isinstance(found, dict) and _is_whole(splits) and type(size) is int):
            raise UserError(f"{self.path} is damaged; --reset starts over")
        self.after, self.size, self.splits = values.get("after"), size, splits
        for name, value in self.settings.items():
            if found.get(name) != value:
                raise UserError(
                    f"{self.path.parent} holds a preparation that was stopped, with another "
                    f"{name.replace('_', ' ')}; give the same options to go on, or --reset to "
                    "start over"
                )

    def due(self) -> bool:
        """Whether it is time to write it again."""
        return time.monotonic() - self._written >= SECONDS_BETWEEN_STATES

    def write(self, after: Any, size: int, splits: dict[str, Any]) -> None:
        """Say that everything up to `after` is on the disk."""
        self.after, self.size, self.splits = after, size, splits
        from hipgpt_model.data_manifest import json_checksum

        values = {
            **FORMAT, "settings": self.settings, "after": after, "size": size, "splits": splits,
        }  # fmt: skip
        write_json(self.path, {**values, "checksum": json_checksum(values)})
        self._written = time.monotonic()


def _is_whole(splits: Any) -> TypeGuard[dict[str, Any]]:
    """Whether splits are what `ShardWriter.kept` gave for both."""
    from hipgpt_model.data_manifest import ShardEntry

    names = {field.name for field in fields(ShardEntry)}
    return (
        isinstance(splits, dict)
        and splits.keys() == {"train", "validation"}
        and all(
            isinstance(kept, dict)
            and kept.keys() == {"entries", "tokens"}
            and type(kept["tokens"]) is int
            and isinstance(kept["entries"], list)
            and all(isinstance(entry, dict) and entry.keys() == names for entry in kept["entries"])
            for kept in splits.values()
        )
    )


def write_manifest(folder: Path, text: str) -> None:
    """Write manifest.json, which makes the data whole, and take the state away."""
    from hipgpt_model.data_manifest import MANIFEST

    write_text(folder / MANIFEST, text)
    (folder / STATE).unlink(missing_ok=True)


def _clear_unfinished(folder: Path) -> None:
    """Delete what a kill in the middle of writing a small file has left."""
    for path in folder.glob(".*.json.*.part"):
        path.unlink()


def clear(folder: Path) -> None:
    """Delete what a preparation writes, and the folder if nothing else is in it."""
    from hipgpt_model.data_manifest import MANIFEST

    if not folder.is_dir():
        return
    _clear_unfinished(folder)
    ours = {MANIFEST, STATE, "tokenizer.json"}
    for path in sorted(folder.iterdir()):
        if path.name in ours or _OURS.fullmatch(path.name):
            path.unlink()
    with suppress(OSError):
        folder.rmdir()
