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
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import msgpack  # type: ignore[import-untyped]

from hipgpt_model.config import GPTConfig, TrainConfig
from hipgpt_model.parameter_specs import parameter_table

if TYPE_CHECKING:
    from pathlib import Path

Kind: TypeAlias = Literal["weights", "training"]
Dtype: TypeAlias = Literal["float32", "bf16", "fp16"]
Storage: TypeAlias = Literal["float32", "bf16"]
Weights: TypeAlias = Literal["model", "ema"]

FORMAT = "hipgpt-checkpoint"
VERSION = 1
HEADER_BYTES = 1 << 22
MAGIC = msgpack.packb("format") + msgpack.packb(FORMAT)
"""What follows the first byte of every checkpoint."""
MOMENTS = ("adamw.m/", "adamw.v/")
"""Prefixes of the two moments' names in a training checkpoint, in their order."""
EMA = "ema/"
"""Prefix of the running averages' names."""
GRADIENT = "gradient/"
"""Prefix of the accumulated gradients' names, in a checkpoint from the middle of a step."""
STEP_CONTROL = "step_control"
"""Name of the small array that decides what becomes of each update."""
STEP_CONTROL_SIZE = 8
LOSSES, CORRECT = "step_losses", "step_correct"
"""What the passes of an unfinished step have found, token by token."""
ELEMENT_BYTES: dict[Storage, int] = {"float32": 4, "bf16": 2}

_KEYS = frozenset(
    ("format", "version", "kind", "model", "training", "step", "micro_steps", "data_position",
     "data", "tokenizer", "dtype", "weights", "metrics", "tensors")
)  # fmt: skip
_LONGEST = 256
"""Characters of a fingerprint or a name."""


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
        micro_steps: passes of the next step that are done; their gradients are in the file.
        dtype: what the run computes in.
        weights: which of a run's weights they are: "model", or "ema" for their running average.
        storage: dtype of the tensors in the file; "bf16" only for "weights".
    """

    kind: Kind
    model: GPTConfig
    training: TrainConfig | None = None
    step: int = 0
    data_position: int = 0
    data: dict[str, int | str] | None = None
    tokenizer: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    micro_steps: int = 0
    dtype: Dtype = "float32"
    weights: Weights = "model"
    storage: Storage = "float32"

    @property
    def has_ema(self) -> bool:
        """Whether the file holds the running average of the weights beside the weights."""
        return self.kind == "training" and self.training is not None and self.training.ema > 0

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor of the file with its shape, in the file's order."""
        shapes = {spec.name: spec.shape for spec in parameter_table(self.model)}
        if self.kind == "weights":
            return shapes
        assert self.training is not None  # these two are what makes it "training"
        assert self.data is not None
        prefixes = ["", *MOMENTS]
        if self.has_ema:
            prefixes.append(EMA)
        if self.micro_steps:
            prefixes.append(GRADIENT)
        tensors = {prefix + name: shape for prefix in prefixes for name, shape in shapes.items()}
        tensors[STEP_CONTROL] = (STEP_CONTROL_SIZE,)
        if self.micro_steps:
            rows = (self.micro_steps, self.training.batch_size * int(self.data["row"]))
            tensors[LOSSES] = tensors[CORRECT] = rows
        return tensors

    def tensor_bytes(self, shape: tuple[int, ...]) -> int:
        """Bytes of a tensor's data in this file."""
        return math.prod(shape) * ELEMENT_BYTES[self.storage]

    def tensor_table(self) -> dict[str, dict[str, Any]]:
        """What the header says of each tensor."""
        return {
            name: {"dtype": self.storage, "shape": list(shape), "bytes": self.tensor_bytes(shape)}
            for name, shape in self.tensor_shapes().items()
        }

    def to_dict(self) -> dict[str, Any]:
        """The header's map, in the order of its keys in a file."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "kind": self.kind,
            "model": self.model.to_dict(),
            "training": None if self.training is None else self.training.to_dict(),
            "step": self.step,
            "micro_steps": self.micro_steps,
            "data_position": self.data_position,
            "data": self.data,
            "tokenizer": self.tokenizer,
            "dtype": self.dtype,
            "weights": self.weights,
            "metrics": {name: float(value) for name, value in self.metrics.items()},
            "tensors": self.tensor_table(),
        }

    def to_bytes(self) -> bytes:
        """The header as it stands in the file.

        Raises:
            ValueError: it would be longer than the format allows.
        """
        raw: bytes = msgpack.packb(self.to_dict())
        if len(raw) > HEADER_BYTES:
            raise ValueError(f"the header takes {len(raw)} bytes, at most {HEADER_BYTES} can be")
        return raw


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
    unpacker = msgpack.Unpacker(
        max_buffer_size=len(head), max_array_len=8, max_map_len=max(len(head) // 2, 16)
    )
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
            raise CheckpointError(f"{path}: {message:.400}")

    odd = sorted(map(repr, _KEYS ^ values.keys()))
    check(not odd, f"the header has missing or unknown keys: {', '.join(odd[:4])}")
    kind, training, data = values["kind"], values["training"], values["data"]
    check(kind in ("weights", "training"), f"unknown kind {kind!r}; expected weights or training")
    for name in ("step", "micro_steps", "data_position"):
        check(_is_count(values[name]), f"{name} is not a count")
    check(values["tokenizer"] is None or _is_name(values["tokenizer"]), "tokenizer is no string")
    for name, choices in (("dtype", get_args(Dtype)), ("weights", get_args(Weights))):
        check(values[name] in choices, f"{name} is {values[name]!r}; expected one of {choices}")
    metrics = values["metrics"]
    check(
        isinstance(metrics, dict)
        and all(_is_name(name) and isinstance(value, float) for name, value in metrics.items()),
        "metrics are not numbers by name",
    )
    check(data is None or _is_fingerprint(data), "data is not the fingerprint of a corpus")
    if kind == "training":
        check(training is not None and data is not None, "a training checkpoint lacks its data")
    check(kind == "training" or not values["micro_steps"], "weights are of no unfinished step")
    check(kind == "weights" or values["weights"] == "model", "a run goes on from its own weights")
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
            values["micro_steps"],
            values["dtype"],
            values["weights"],
            _storage(values["tensors"], kind),
        )
    except ValueError as error:
        raise CheckpointError(f"{path}: {error!s:.400}") from None
    if header.training is not None and header.micro_steps >= header.training.grad_accum:
        check(header.micro_steps == 0, "it has more passes of a step than the step has")
    if kind == "training" and header.training is not None:
        check(header.dtype == header.training.dtype, "dtype and training.dtype differ")
    _check_tensors(header, values["tensors"], path)
    return header


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST


def _is_fingerprint(data: Any) -> bool:
    """Counts and short strings by name, the row length among them."""
    return (
        isinstance(data, dict)
        and len(data) <= _LONGEST
        and all(
            _is_name(name) and (_is_count(value) or _is_name(value)) for name, value in data.items()
        )
        and _is_count(data.get("row"))
        and 0 < data["row"] < 1 << 31
    )


def _storage(tensors: Any, kind: Kind) -> Storage:
    """The dtype of the first tensor, where the kind allows it; the others must have it too."""
    first = next(iter(tensors.values()), None) if isinstance(tensors, dict) else None
    dtype = first.get("dtype") if isinstance(first, dict) else None
    return "bf16" if dtype == "bf16" and kind == "weights" else "float32"


def _check_tensors(header: CheckpointHeader, tensors: Any, path: Path) -> None:
    """The tensors that are declared must be exactly those that the configuration calls for."""
    message = f"{path}: its tensors do not fit its configuration"
    # The count first: a forged number of layers must not make a table of two thousand million rows.
    if not isinstance(tensors, dict) or len(tensors) < 12 * header.model.num_layers:
        raise CheckpointError(message)
    expected = header.tensor_table()
    if list(tensors) != list(expected):
        odd = sorted(map(str, tensors.keys() ^ expected.keys())) or ["their order"]
        raise CheckpointError(f"{message}: {odd[0]:.200}")
    for name, wanted in expected.items():
        if tensors[name] != wanted:
            found = str(tensors[name])
            raise CheckpointError(f"{message}: {name} is {found:.200}, expected {wanted}")
