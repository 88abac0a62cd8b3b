"""The checkpoint file itself: written and read as docs/checkpoint-format.md says, nothing more.

Writing is atomic: a temporary file, synced, then renamed. Reading believes nothing: the header
determines how long the file must be, so a file that was cut short or forged is refused before any
memory is asked for. The odd thing: chunks are read past msgpack, straight into one buffer; only
the header goes through its unpacker, under limits.
"""

from __future__ import annotations

import os
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgpack  # type: ignore[import-untyped]
import numpy as np

from hipgpt_model.checkpoint_header import (
    ELEMENT_BYTES,
    FORMAT,
    HEADER_BYTES,
    CheckpointError,
    CheckpointHeader,
    checksum,
    parse_header,
    unpack_header,
)

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from hipgpt_model.checkpoint_header import Storage

CHUNK_BYTES = 1 << 24
END: bytes = msgpack.packb(f"end of {FORMAT}")

_FLOAT32, _BF16 = np.dtype("<f4"), np.dtype("<u2")


def chunk_prefix(nbytes: int) -> bytes:
    """The msgpack bytes before a `bin` of so many bytes."""
    if nbytes < 1 << 8:
        return b"\xc4" + nbytes.to_bytes(1, "big")
    if nbytes < 1 << 16:
        return b"\xc5" + nbytes.to_bytes(2, "big")
    return b"\xc6" + nbytes.to_bytes(4, "big")


def chunk_sizes(nbytes: int) -> Iterator[int]:
    """The lengths of the chunks that a tensor's data is cut into."""
    for start in range(0, nbytes, CHUNK_BYTES):
        yield min(CHUNK_BYTES, nbytes - start)


# --- writing ----------------------------------------------------------------------------------


def save_checkpoint(
    path: str | os.PathLike[str],
    header: CheckpointHeader,
    tensors: Iterable[tuple[str, np.ndarray]],
) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: the file; an older one of this name stays as it is until the new one is complete.
        header: what it is.
        tensors: float32 arrays by name, exactly those of `header.tensor_shapes()` in their order;
            taken one at a time. For storage in bf16 they are rounded to the nearest, ties to even.

    Raises:
        ValueError: other tensors than the header calls for.
        OSError: the file could not be written, such as on a full disk; nothing is left behind.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    raw = header.to_bytes()
    try:
        with temporary.open("wb") as file:
            file.write(raw + checksum(zlib.crc32(raw)))
            _write_tensors(file, header, tensors)
            file.write(END)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise OSError(
            error.errno,
            f"the checkpoint was not written ({error.strerror or error}); "
            "an older file of that name is as it was",
            str(path),
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _write_tensors(
    file: BinaryIO, header: CheckpointHeader, tensors: Iterable[tuple[str, np.ndarray]]
) -> None:
    expected = header.tensor_shapes()
    for (name, shape), (given, array) in zip(expected.items(), tensors, strict=True):
        if given != name or tuple(array.shape) != shape or array.dtype != np.float32:
            raise ValueError(
                f"the checkpoint calls for {name} {shape} float32 next; "
                f"got {given} {tuple(array.shape)} {array.dtype}"
            )
        flat = np.ascontiguousarray(array).reshape(-1)
        crc = start = 0
        for size in chunk_sizes(header.tensor_bytes(shape)):
            count = size // ELEMENT_BYTES[header.storage]
            data = encoded(flat[start : start + count], header.storage).data.cast("B")
            file.write(chunk_prefix(size))
            file.write(data)
            crc = zlib.crc32(data, crc)
            start += count
        file.write(checksum(crc))


def encoded(values: np.ndarray, storage: Storage) -> np.ndarray:
    """float32 values (n,) as they stand in a file: "<f4", or the upper half of it as "<u2"."""
    if storage == "float32":
        return values.astype(_FLOAT32, copy=False)
    bits = values.view(np.uint32)
    # Half of the lower half's range, less one where the upper half is even: ties go to even.
    rounded = (bits + (np.uint32(0x7FFF) + ((bits >> 16) & 1))) >> 16
    quiet = (bits >> 16) | np.uint32(0x40)  # a NaN stays one, whatever its lower half was
    return np.where(np.isnan(values), quiet, rounded).astype(_BF16)


def decoded(data: memoryview, storage: Storage) -> np.ndarray:
    """The inverse: float32 values (n,)."""
    if storage == "float32":
        return np.frombuffer(data, _FLOAT32).astype(np.float32, copy=False)
    return (np.frombuffer(data, _BF16).astype(np.uint32) << 16).view(np.float32)


def sync_folder(folder: Path) -> None:
    """Make the renaming itself survive a power cut, where the system can sync a folder."""
    with suppress(OSError):  # Windows cannot open one
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# --- reading ----------------------------------------------------------------------------------


def read_header(path: str | os.PathLike[str]) -> CheckpointHeader:
    """The header of a checkpoint, checked against the file's size; no tensor is read.

    Raises:
        CheckpointError: not a checkpoint, another version, damaged, or cut short.
        OSError: the file could not be read.
    """
    with Path(path).open("rb") as file:
        return read_header_from(file, Path(path))


def read_header_from(file: BinaryIO, path: Path) -> CheckpointHeader:
    """Read and check the header; afterwards the file stands at the first tensor."""
    file_bytes = os.fstat(file.fileno()).st_size
    head = file.read(min(file_bytes, HEADER_BYTES + len(checksum(0))))
    values, header_bytes = unpack_header(head, path)
    header = parse_header(values, path)
    file.seek(header_bytes)
    _check_size(header, header_bytes, file_bytes, path)
    return header


def read_tensors(
    file: BinaryIO, header: CheckpointHeader, path: Path, wanted: Container[str]
) -> Iterator[tuple[str, int, np.ndarray]]:
    """The wanted tensors of a file, chunk by chunk, from where `read_header_from` left it.

    Yields:
        Name, number of elements before the chunk, and the chunk (n,) float32, valid until the next.

    Raises:
        CheckpointError: a tensor's data is damaged.
    """
    shapes = header.tensor_shapes()
    largest = max(header.tensor_bytes(shape) for shape in shapes.values())
    buffer = bytearray(min(CHUNK_BYTES, largest))
    for name, shape in shapes.items():
        nbytes = header.tensor_bytes(shape)
        if name not in wanted:
            file.seek(_stored_bytes(nbytes), os.SEEK_CUR)
            continue
        crc = done = 0
        for size in chunk_sizes(nbytes):
            prefix = chunk_prefix(size)
            chunk = memoryview(buffer)[:size]
            if file.read(len(prefix)) != prefix or file.readinto(chunk) != size:  # type: ignore[attr-defined]
                raise CheckpointError(f"{path}: damaged: {name} is not laid out as its size says")
            crc = zlib.crc32(chunk, crc)
            values = decoded(chunk, header.storage)
            yield name, done, values
            done += len(values)
        if file.read(len(checksum(0))) != checksum(crc):
            raise CheckpointError(f"{path}: damaged: the checksum of {name} does not match")
    if file.read(len(END)) != END:
        raise CheckpointError(f"{path}: damaged: it does not end as a checkpoint does")


def _stored_bytes(nbytes: int) -> int:
    """Bytes of the file that a tensor takes: its chunks and its checksum.

    Arithmetic, because a forged tensor has more chunks than could ever be counted one by one.
    """
    whole, rest = divmod(nbytes, CHUNK_BYTES)
    prefixes = whole * len(chunk_prefix(CHUNK_BYTES)) + (len(chunk_prefix(rest)) if rest else 0)
    return prefixes + nbytes + len(checksum(0))


def _check_size(header: CheckpointHeader, position: int, file_bytes: int, path: Path) -> None:
    """The file must be exactly as long as its header says."""
    for name, shape in header.tensor_shapes().items():
        position += _stored_bytes(header.tensor_bytes(shape))
        if position > file_bytes:
            raise CheckpointError(f"{path}: cut short in {name}, after {file_bytes} bytes")
    position += len(END)
    if position > file_bytes:
        raise CheckpointError(f"{path}: cut short at its end, after {file_bytes} bytes")
    if position < file_bytes:
        raise CheckpointError(
            f"{path}: {file_bytes - position} bytes follow the end of the checkpoint"
        )
