"""The safetensors format: read without believing a byte of it, and written.

    8 bytes            N, the length of the header, little-endian
    N bytes            JSON: name → {"dtype", "shape", "data_offsets": [begin, end]}, and
                       "__metadata__": text → text
    the rest           the tensors' data, row-major, little-endian, without gaps or overlaps

The odd thing: every claim of the header is checked against the size of the file before anything is
read, and the tensors must fill the file exactly. So a forged file costs no memory.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, NoReturn, Self

import numpy as np

from hipgpt_model.interop.bfloat16 import from_bf16
from hipgpt_model.interop.errors import InteropError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

LARGEST_HEADER = 100_000_000
"""Bytes; the limit of the reference implementation."""

ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "I16": 2, "U16": 2, "F16": 2,
    "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8,
}  # fmt: skip
"""Bytes of one element. Read are F32, F16 and BF16, which float32 holds exactly."""

_METADATA = "__metadata__"
_HEAD_BYTES = 8


@dataclass(frozen=True)
class TensorInfo:
    """One row of the header.

    Attributes:
        dtype: as the file spells it: "F32".
        shape: sizes.
        start: of its data, in bytes from the beginning of the file.
        nbytes: of its data.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    nbytes: int


class SafetensorsFile:
    """A file of tensors; use it as a context.

    Args:
        path: the file.

    Attributes:
        tensors: what it holds, by name.
        metadata: texts by name.

    Raises:
        InteropError: the file is not what its header says; the sentence says where.
        OSError: it cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file = self.path.open("rb")
        try:
            self._file.seek(0, 2)
            self.tensors, self.metadata = _read_header(self._file, self._file.tell(), self.path)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def read(self, name: str) -> np.ndarray:
        """A tensor as a new float32 array.

        Raises:
            InteropError: its dtype has values that float32 cannot hold.
        """
        info = self.tensors[name]
        if info.dtype not in ("F32", "F16", "BF16"):
            raise InteropError(
                f"{self.path}: {name} has dtype {info.dtype}; read are F32, F16 and BF16, which "
                "float32 holds exactly"
            )
        stored = np.empty(info.shape, {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}[info.dtype])
        self._file.seek(info.start)
        if self._file.readinto(stored.reshape(-1).view(np.uint8).data) != info.nbytes:
            raise InteropError(f"{self.path}: cut short in {name} while it was read")
        return from_bf16(stored) if info.dtype == "BF16" else stored.astype(np.float32, copy=False)


def _read_header(
    file: BinaryIO, file_bytes: int, path: Path
) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    """Every tensor by name, and the metadata; checked against the size of the file."""
    if file_bytes < _HEAD_BYTES:
        _refuse(
            path, f"a file of {file_bytes} bytes; its header's length alone takes {_HEAD_BYTES}"
        )
    file.seek(0)
    header_bytes = int.from_bytes(file.read(_HEAD_BYTES), "little")
    if header_bytes > LARGEST_HEADER:
        _refuse(path, f"its header is said to have {header_bytes} bytes; {LARGEST_HEADER} at most")
    data_start = _HEAD_BYTES + header_bytes
    if data_start > file_bytes:
        _refuse(path, f"its header is said to end at byte {data_start} of {file_bytes}")
    raw = file.read(header_bytes)
    if not raw.startswith(b"{"):
        _refuse(path, "its header does not begin with {")
    try:
        header = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise InteropError(f"{path}: its header is not valid JSON ({error})") from None
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        _refuse(path, f"{_METADATA} is not text by name")
    tensors = {name: _tensor_info(path, name, entry, data_start) for name, entry in header.items()}
    place = data_start
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].nbytes)):
        if info.start != place:
            what = "overlaps the tensor before it" if info.start < place else "follows a gap"
            _refuse(path, f"the data of {name}, at byte {info.start - data_start}, {what}")
        place += info.nbytes
        if place > file_bytes:
            _refuse(path, f"the data of {name} ends at byte {place} of {file_bytes}")
    if place != file_bytes:
        _refuse(path, f"{file_bytes - place} bytes follow the last tensor")
    return tensors, metadata


def _tensor_info(path: Path, name: str, entry: Any, data_start: int) -> TensorInfo:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        _refuse(path, f"{name} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        _refuse(path, f"{name} has the unknown dtype {dtype!r}")
    if not isinstance(shape, list) or not all(map(_is_count, shape)):
        _refuse(path, f"the shape of {name} is {shape!r}, expected a list of sizes")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_count, offsets)):
        _refuse(path, f"data_offsets of {name} is {offsets!r}, expected [begin, end]")
    begin, end = offsets
    nbytes = math.prod(shape) * ITEM_BYTES[dtype]
    if end - begin != nbytes:
        _refuse(
            path,
            f"data_offsets of {name} hold {end - begin} bytes, but {shape} of {dtype} take "
            f"{nbytes}",
        )
    return TensorInfo(dtype, tuple(shape), data_start + begin, nbytes)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys must differ: of two equal ones readers disagree which counts."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _refuse(path: Path, what: str) -> NoReturn:
    raise InteropError(f"{path} is damaged or no safetensors file: {what}")


def write(
    file: IO[bytes],
    shapes: Mapping[str, tuple[int, ...]],
    tensors: Iterable[tuple[str, np.ndarray]],
    metadata: Mapping[str, str],
) -> None:
    """Write float32 tensors.

    Args:
        file: where to.
        shapes: of every tensor, in the order of the data.
        tensors: (name, array) in that order, taken one at a time.
        metadata: texts by name. transformers wants {"format": "pt"}.

    Raises:
        ValueError: the tensors are not those of `shapes`.
    """
    header: dict[str, Any] = {_METADATA: dict(metadata)}
    place = 0
    for name, shape in shapes.items():
        nbytes = 4 * math.prod(shape)
        header[name] = {
            "dtype": "F32", "shape": list(shape), "data_offsets": [place, place + nbytes],
        }  # fmt: skip
        place += nbytes
    raw = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    raw += b" " * (-len(raw) % 8)  # so that the data is aligned
    file.write(len(raw).to_bytes(_HEAD_BYTES, "little") + raw)
    for (name, shape), (given, array) in zip(shapes.items(), tensors, strict=True):
        if given != name or array.shape != shape or array.dtype != np.float32:
            raise ValueError(
                f"expected {name} {shape} float32; got {given} {array.shape} {array.dtype}"
            )
        file.write(np.ascontiguousarray(array, "<f4").reshape(-1).view(np.uint8).data)
