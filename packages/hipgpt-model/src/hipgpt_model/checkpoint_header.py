"""What a checkpoint says of itself, before its tensors: made, packed, unpacked and checked.

The format is docs/checkpoint-format.md. The odd thing: a header is believed only as far as it can
be checked. Every key, type and shape must be what the configuration in the same header calls for;
so that configuration is all that is left to believe, and `checkpoint_stream.py` compares it with
the size of the file.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgpack  # type: ignore[import-untyped]

from hipgpt_model.config import GPTConfig, TrainConfig
from hipgpt_model.parameters import parameter_table

if TYPE_CHECKING:
    from pathlib import Path

Kind: TypeAlias = Literal["weights", "training"]

FORMAT = "hipgpt-checkpoint"
VERSION = 1
HEADER_BYTES = 1 << 22
MAGIC = msgpack.packb("format") + msgpack.packb(FORMAT)
"""What follows the first byte of every checkpoint."""
MOMENTS = ("adamw.m/", "adamw.v/")
"""Prefixes of the two moments' names in a training checkpoint, in their order."""

_KEYS = frozenset(
    ("format", "version", "kind", "model", "training", "step", "data_position", "data",
     "tokenizer", "metrics", "tensors")
)  # fmt: skip
_DATA_KEYS = frozenset(("tokens", "train_tokens", "row", "crc32"))


class CheckpointError(ValueError):
    """A file that is not a usable checkpoint; the message says why, in one sentence."""


@dataclass(frozen=True)
class CheckpointHeader:
    """What a checkpoint says of itself. The tensors that follow are determined by it.

    Attributes:
        kind: "weights", or "training" where the optimizer's moments follow.
        model: sizes and options of the model.
        training: how it was trained; never None for "training".
        step: optimizer steps done.
        data_position: windows of training text consumed.
        data: fingerprint of the training data (`TokenData.fingerprint`); never None for "training".
        tokenizer: fingerprint of the tokenizer, hexadecimal.
        metrics: figures by name.
    """

    kind: Kind
    model: GPTConfig
    training: TrainConfig | None = None
    step: int = 0
    data_position: int = 0
    data: dict[str, int] | None = None
    tokenizer: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor of the file with its shape, in the file's order."""
        shapes = {spec.name: spec.shape for spec in parameter_table(self.model)}
        prefixes = ("", *MOMENTS) if self.kind == "training" else ("",)
        return {prefix + name: shape for prefix in prefixes for name, shape in shapes.items()}

    def to_bytes(self) -> bytes:
        """The header as it stands in the file.

        Raises:
            ValueError: it would be longer than the format allows.
        """
        tensors = {
            name: {"dtype": "float32", "shape": list(shape), "bytes": tensor_bytes(shape)}
            for name, shape in self.tensor_shapes().items()
        }
        raw: bytes = msgpack.packb(
            {
                "format": FORMAT,
                "version": VERSION,
                "kind": self.kind,
                "model": self.model.to_dict(),
                "training": None if self.training is None else self.training.to_dict(),
                "step": self.step,
                "data_position": self.data_position,
                "data": self.data,
                "tokenizer": self.tokenizer,
                "metrics": {name: float(value) for name, value in self.metrics.items()},
                "tensors": tensors,
            }
        )
        if len(raw) > HEADER_BYTES:
            raise ValueError(f"the header takes {len(raw)} bytes, at most {HEADER_BYTES} can be")
        return raw


def tensor_bytes(shape: tuple[int, ...]) -> int:
    """Bytes of a tensor's data."""
    return math.prod(shape) * 4  # float32


def checksum(crc: int) -> bytes:
    """A CRC-32 as msgpack `uint 32`."""
    return b"\xce" + crc.to_bytes(4, "big")


def unpack_header(head: bytes, path: Path) -> tuple[dict[str, Any], int]:
    """The first map of a file, and how many bytes it and its checksum take."""
    if not head:
        raise CheckpointError(f"{path}: the file is empty; expected a {FORMAT}")
    small_map = head[0] & 0xF0 == 0x80  # msgpack's `fixmap`
    if small_map and len(head) <= len(MAGIC) and MAGIC.startswith(head[1:]):
        raise CheckpointError(f"{path}: cut short in its header, after {len(head)} bytes")
    if not small_map or not head[1:].startswith(MAGIC):
        raise CheckpointError(f"{path}: not a {FORMAT}; was it written by another program?")
    # No array may be long: its memory would be taken at once, whatever the file really holds.
    unpacker = msgpack.Unpacker(max_buffer_size=len(head), max_array_len=8)
    unpacker.feed(head)
    try:
        values = unpacker.unpack()
    except msgpack.OutOfData:
        if len(head) > HEADER_BYTES:
            message = f"its header is longer than {HEADER_BYTES} bytes"
        else:
            message = f"cut short in its header, after {len(head)} bytes"
        raise CheckpointError(f"{path}: {message}") from None
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise CheckpointError(f"{path}: damaged: its header is no msgpack map ({error})") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: damaged: its header is no msgpack map")
    if values.get("version") != VERSION:
        raise CheckpointError(
            f"{path}: version {values.get('version')!r} of {FORMAT}; this program reads version "
            f"{VERSION}: use the hipgpt that wrote it, or a newer one"
        )
    end = unpacker.tell()
    stored = head[end : end + len(checksum(0))]
    if len(stored) < len(checksum(0)):
        raise CheckpointError(f"{path}: cut short after its header, {len(head)} bytes")
    if stored != checksum(zlib.crc32(head[:end])):
        raise CheckpointError(f"{path}: damaged: the checksum of its header does not match")
    return values, end + len(stored)


def parse_header(values: dict[str, Any], path: Path) -> CheckpointHeader:
    """Check every key and type, and that the tensors are those of the model."""

    def check(right: bool, message: str) -> None:
        if not right:
            raise CheckpointError(f"{path}: {message}")

    def is_count(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0

    odd = sorted(map(repr, _KEYS ^ values.keys()))
    check(not odd, f"the header has missing or unknown keys: {', '.join(odd)}")
    kind, training, data = values["kind"], values["training"], values["data"]
    check(kind in ("weights", "training"), f"unknown kind {kind!r}; expected weights or training")
    check(is_count(values["step"]), "step is not a count")
    check(is_count(values["data_position"]), "data_position is not a count")
    check(
        values["tokenizer"] is None or isinstance(values["tokenizer"], str),
        "tokenizer is no string",
    )
    metrics = values["metrics"]
    check(
        isinstance(metrics, dict) and all(isinstance(value, float) for value in metrics.values()),
        "metrics are not numbers by name",
    )
    if kind == "training":
        check(training is not None and data is not None, "a training checkpoint lacks its data")
    if data is not None:
        check(
            isinstance(data, dict)
            and data.keys() == _DATA_KEYS
            and all(map(is_count, data.values())),
            "data is not the fingerprint of a corpus",
        )
    try:
        header = CheckpointHeader(
            kind,
            GPTConfig.from_dict(values["model"]),
            None if training is None else TrainConfig.from_dict(training),
            values["step"],
            values["data_position"],
            data,
            values["tokenizer"],
            metrics,
        )
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None
    _check_tensors(header, values["tensors"], path)
    return header


def _check_tensors(header: CheckpointHeader, tensors: Any, path: Path) -> None:
    """The tensors that are declared must be exactly those that the configuration calls for."""
    message = f"{path}: its tensors do not fit its configuration"
    # The count first: a forged number of layers must not make a table of two thousand million rows.
    if not isinstance(tensors, dict) or len(tensors) < 12 * header.model.num_layers:
        raise CheckpointError(message)
    expected = header.tensor_shapes()
    if list(tensors) != list(expected):
        odd = sorted(tensors.keys() ^ expected.keys()) or ["their order"]
        raise CheckpointError(f"{message}: {odd[0]}")
    for name, shape in expected.items():
        wanted = {"dtype": "float32", "shape": list(shape), "bytes": tensor_bytes(shape)}
        if tensors[name] != wanted:
            raise CheckpointError(f"{message}: {name} is {tensors[name]}, expected {wanted}")
