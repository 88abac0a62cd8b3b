"""The manifest of prepared data: manifest.json, which says what the shards are and what they hold.

It names every shard with its size, counts and hash, the tokenizer, where the text came from and how
the validation part was chosen. The odd thing: it carries the SHA-256 of itself, taken over its own
JSON in one agreed form, so that a changed digit anywhere is noticed; and that hash, which depends
on the hash of every shard, is the identity of the data.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hipgpt_model.data_shard import HEADER_BYTES, SPLITS, DataError

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = "manifest.json"

FORMAT = {"format": "hipgpt-data", "version": 1}

_LARGEST_FILE = 64 << 20
"""Bytes: some 200,000 shards. What is longer is not read at all."""

_LARGEST_COUNT = 1 << 48
"""Of tokens, documents and bytes: above it something is wrong with the file."""

_HEX = re.compile(r"[0-9a-f]{64}")

_SHARD_KEYS = {"file", "split", "number", "tokens", "documents", "text_bytes", "bytes", "sha256"}

_KEYS = {
    "format", "version", "dtype", "vocab_size", "end_of_text", "tokenizer", "source",
    "validation_fraction", "shards", "checksum",
}  # fmt: skip


@dataclass(frozen=True)
class ShardEntry:
    """One shard as the manifest knows it.

    Attributes:
        file: its name in the folder.
        split: "train" or "validation".
        number: in its split, from 0.
        tokens: ids in it.
        documents: that end in it.
        text_bytes: of the text in UTF-8.
        bytes: size of the file.
        sha256: of its ids, hexadecimal.
    """

    file: str
    split: str
    number: int
    tokens: int
    documents: int
    text_bytes: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What manifest.json says.

    Attributes:
        dtype: "uint16" or "uint32".
        vocab_size: every id is below it.
        end_of_text: the id that ends each document.
        tokenizer: fingerprint of the tokenizer.
        source: where the text came from and how it was read; any JSON object.
        validation_fraction: the part of the text that was meant for validation.
        shards: in order: those of "train" by number, then those of "validation".
    """

    dtype: str
    vocab_size: int
    end_of_text: int
    tokenizer: str
    source: dict[str, Any]
    validation_fraction: float
    shards: tuple[ShardEntry, ...]

    @property
    def id_bytes(self) -> int:
        """Size of an id."""
        return 2 if self.dtype == "uint16" else 4

    @property
    def checksum(self) -> str:
        """SHA-256 over everything that the manifest says, hexadecimal: the data's identity."""
        return json_checksum(self._values())

    def of_split(self, split: str) -> tuple[ShardEntry, ...]:
        """The shards of "train" or "validation"."""
        return tuple(shard for shard in self.shards if shard.split == split)

    def to_json(self) -> str:
        """The text of manifest.json."""
        values = self._values()
        return json.dumps({**values, "checksum": json_checksum(values)}, indent=2) + "\n"

    def _values(self) -> dict[str, Any]:
        return {**FORMAT, **asdict(self), "shards": [asdict(shard) for shard in self.shards]}


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest.

    Args:
        path: the file.

    Raises:
        DataError: it is not one, or is damaged; the sentence says where.
        OSError: it could not be read.
    """
    if path.stat().st_size > _LARGEST_FILE:
        raise DataError(f"{path} is no manifest: it is longer than {_LARGEST_FILE} bytes")
    data = path.read_bytes()
    try:
        values = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError, JSONDecodeError, too long
        raise DataError(f"{path} is damaged: it is not valid JSON ({error})") from None
    return _Reader(path).manifest(values)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def json_checksum(values: dict[str, Any]) -> str:
    """SHA-256 of a value as JSON with sorted keys, no spaces and only ASCII, hexadecimal."""
    form = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(form.encode("ascii")).hexdigest()


class _Reader:
    """Checks the values of one manifest, and names the file when one is wrong."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def manifest(self, values: Any) -> Manifest:
        """From what JSON made of the file."""
        self.check(isinstance(values, dict), "it is no JSON object")
        self.check(
            values.get("format") == FORMAT["format"],
            f"its format is {_short(values.get('format'))}, expected {FORMAT['format']!r}",
        )
        self.check(
            self.is_count(values.get("version")) and values["version"] == FORMAT["version"],
            f"its version is {_short(values.get('version'))}; this hipgpt reads "
            f"{FORMAT['version']}: update it, or prepare anew",
        )
        self.keys(values, _KEYS, "it")
        checksum = values.pop("checksum")
        self.check(
            isinstance(checksum, str) and checksum == json_checksum(values),
            "its own checksum does not fit, so something in it was changed",
        )
        self.check(values["dtype"] in ("uint16", "uint32"), "dtype is neither uint16 nor uint32")
        limit = 1 << (16 if values["dtype"] == "uint16" else 32)
        self.check(
            self.is_count(values["vocab_size"]) and 0 < values["vocab_size"] <= limit,
            f"vocab_size does not fit {values['dtype']}",
        )
        self.check(
            self.is_count(values["end_of_text"]) and values["end_of_text"] < values["vocab_size"],
            "end_of_text is no id",
        )
        self.hexadecimal(values["tokenizer"], "tokenizer")
        self.check(isinstance(values["source"], dict), "source is no object")
        fraction = values["validation_fraction"]
        self.check(isinstance(fraction, float) and 0 < fraction < 1, "validation_fraction is wrong")
        self.check(isinstance(values["shards"], list), "shards is no list")
        id_bytes = 2 if values["dtype"] == "uint16" else 4
        shards = tuple(self.shard(shard, id_bytes) for shard in values["shards"])
        for split in SPLITS:
            numbers = [shard.number for shard in shards if shard.split == split]
            self.check(bool(numbers), f"it names no shard of the split {split}")
            self.check(numbers == list(range(len(numbers))), f"the {split} shards have a gap")
        self.check(
            [shard.split for shard in shards] == sorted(shard.split for shard in shards),
            "the shards are out of order",
        )
        return Manifest(
            values["dtype"], values["vocab_size"], values["end_of_text"], values["tokenizer"],
            values["source"], fraction, shards,
        )  # fmt: skip

    def shard(self, values: Any, id_bytes: int) -> ShardEntry:
        """One entry of the list."""
        self.check(isinstance(values, dict), "a shard is no object")
        self.keys(values, _SHARD_KEYS, "a shard")
        self.check(values["split"] in SPLITS, "a shard is of no known split")
        for name in ("number", "tokens", "documents", "text_bytes", "bytes"):
            self.check(self.is_count(values[name]), f"a shard's {name} is no count")
        self.hexadecimal(values["sha256"], "a shard's sha256")
        entry = ShardEntry(**values)
        self.check(
            entry.file == shard_name(entry.split, entry.number),
            f"a shard's file is {_short(entry.file)}, expected "
            f"{shard_name(entry.split, entry.number)}",
        )
        self.check(
            entry.bytes == HEADER_BYTES + entry.tokens * id_bytes,
            f"the size of {entry.file} does not fit its tokens",
        )
        return entry

    def keys(self, values: dict[str, Any], expected: set[str], what: str) -> None:
        """See that an object has these keys and no others."""
        odd = sorted(map(_short, expected ^ values.keys()))
        self.check(not odd, f"{what} has missing or unknown keys: {', '.join(odd[:5])}")

    def hexadecimal(self, value: Any, what: str) -> None:
        """See that a value is a SHA-256 in hexadecimal."""
        self.check(
            isinstance(value, str) and _HEX.fullmatch(value) is not None,
            f"{what} is not 64 hexadecimal digits",
        )

    def check(self, right: bool, message: str) -> None:
        """Raise unless it is right."""
        if not right:
            raise DataError(f"{self.path} cannot be used: {message}")

    @staticmethod
    def is_count(value: Any) -> bool:
        """A whole number that can count something; JSON's true is none."""
        return type(value) is int and 0 <= value <= _LARGEST_COUNT


def shard_name(split: str, number: int) -> str:
    """The file of a shard.

    >>> shard_name("train", 7)
    'train-00007.tokens'
    """
    return f"{split}-{number:05}.tokens"


def _short(value: Any) -> str:
    """A value for an error message, cut where it is long."""
    text = repr(value) if isinstance(value, (str, int, float, type(None))) else type(value).__name__
    return text if len(text) <= 40 else f"{text[:40]}…"
