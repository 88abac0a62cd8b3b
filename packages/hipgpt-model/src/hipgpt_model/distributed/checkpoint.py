"""One checkpoint file, written by all ranks at once and read by any number of them.

The header alone says where every byte of a checkpoint stands (docs/checkpoint-format.md). So each
rank writes what it owns to its place in one file, and a single process can read it as it reads any
other. The odd thing: a checksum is of a whole tensor, which no rank has; each sends that of its
stretches to rank 0, which puts them together (`crc.py`).
"""

from __future__ import annotations

import os
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hipgpt_model.checkpoint_header import checksum
from hipgpt_model.checkpoint_stream import (
    CHUNK_BYTES,
    END,
    chunk_prefix,
    chunk_sizes,
    sync_folder,
)
from hipgpt_model.distributed.crc import combine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hipgpt_kernels.backend import Array
    from hipgpt_model.checkpoint_header import CheckpointHeader
    from hipgpt_model.distributed.world import World
    from hipgpt_model.flat_layout import Own
    from hipgpt_model.training_state import TrainingState

ELEMENT = 4
"""Bytes of a float32."""


@dataclass(frozen=True)
class Stretch:
    """Elements of one tensor that one rank writes.

    Attributes:
        tensor: its name in the file.
        start: elements of the tensor before them.
        values: (n,) where they are.
    """

    tensor: str
    start: int
    values: Array


def places(header: CheckpointHeader, head_bytes: int) -> tuple[dict[str, int], int]:
    """Where the chunks of each tensor begin in the file, and how long the file is."""
    found: dict[str, int] = {}
    at = head_bytes
    for name, shape in header.tensor_shapes().items():
        found[name] = at
        nbytes = header.tensor_bytes(shape)
        at += sum(len(chunk_prefix(size)) + size for size in chunk_sizes(nbytes))
        at += len(checksum(0))
    return found, at + len(END)


def stretches(state: TrainingState, own: Sequence[Own]) -> Iterator[Stretch]:
    """What a rank writes: its parts of every buffer, tensor by tensor."""
    parameters = state.parameters
    for prefix, buffer in state.buffers().items():
        shared_out = buffer.shape[0] != parameters.size  # it holds what the rank owns, no more
        for part in own:
            for spec in parameters.table:
                first, _ = parameters.span(spec.name)
                start = max(part.flat.start, first)
                stop = min(part.flat.stop, first + spec.size)
                if start >= stop:
                    continue
                at = start if not shared_out else part.local.start + start - part.flat.start
                yield Stretch(prefix + spec.name, start - first, buffer[at : at + stop - start])


def save_together(
    path: str | os.PathLike[str],
    header: CheckpointHeader,
    state: TrainingState,
    world: World,
    own: Sequence[Own],
) -> None:
    """Write a checkpoint with all ranks, whole or not at all; every rank calls this.

    Args:
        path: the file, in a folder that all ranks see.
        header: what it is, the same on all ranks.
        state: of this rank, between two steps.
        world: the ranks.
        own: what this rank owns.

    Raises:
        OSError: a rank could not write; an older file of this name is as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{world.share(os.getpid())}.part")
    raw = header.to_bytes()
    raw += checksum(zlib.crc32(raw))
    where, file_bytes = places(header, len(raw))
    try:
        if world.leads:
            _together(world, lambda: _begin(temporary, raw, file_bytes))
        else:
            _together(world, lambda: None)
        written: list[tuple[str, int, int, int]] = []
        _together(world, lambda: written.extend(_write(temporary, header, where, state, own)))
        everyone = world.gather(written)
        if world.leads:
            _together(world, lambda: _finish(temporary, path, header, where, state, everyone))
        else:
            _together(world, lambda: None)
    finally:
        if world.leads:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _together(world: World, work: object) -> None:
    """Do something, and fail on every rank where it fails on one."""
    problem = ""
    try:
        work()  # type: ignore[operator]
    except OSError as error:
        problem = error.strerror or str(error)
    problems = {rank: said for rank, said in enumerate(world.gather(problem)) if said}
    if problems:
        rank, said = next(iter(problems.items()))
        raise OSError(
            f"the checkpoint was not written (rank {rank}: {said}); an older file of that name is "
            "as it was"
        )


def _begin(temporary: Path, raw: bytes, file_bytes: int) -> None:
    """The header, and room for the rest."""
    with temporary.open("wb") as file:
        file.write(raw)
        file.truncate(file_bytes)


def _write(
    temporary: Path,
    header: CheckpointHeader,
    where: dict[str, int],
    state: TrainingState,
    own: Sequence[Own],
) -> Iterator[tuple[str, int, int, int]]:
    """This rank's stretches; of each its tensor, start, elements and CRC-32."""
    to_numpy, shapes = state.parameters.backend.to_numpy, header.tensor_shapes()
    with temporary.open("r+b", buffering=0) as file:
        for stretch in stretches(state, own):
            values = np.ascontiguousarray(to_numpy(stretch.values), "<f4")
            data = values.data.cast("B")
            place = where[stretch.tensor], header.tensor_bytes(shapes[stretch.tensor])
            _write_data(file.fileno(), *place, stretch.start * ELEMENT, data)
            yield stretch.tensor, stretch.start, values.size, zlib.crc32(data)
        os.fsync(file.fileno())


def _write_data(descriptor: int, tensor_at: int, nbytes: int, first: int, data: memoryview) -> None:
    """Bytes `first` … of a tensor of so many bytes, each behind the prefix of its chunk."""
    whole = len(chunk_prefix(CHUNK_BYTES)) + CHUNK_BYTES
    while len(data):
        chunk, inside = divmod(first, CHUNK_BYTES)
        prefix = chunk_prefix(min(CHUNK_BYTES, nbytes - chunk * CHUNK_BYTES))
        piece = data[: CHUNK_BYTES - inside]
        _write_all(descriptor, piece, tensor_at + chunk * whole + len(prefix) + inside)
        first += len(piece)
        data = data[len(piece) :]


def _write_all(descriptor: int, data: memoryview | bytes, at: int) -> None:
    while len(data):
        count = os.pwrite(descriptor, data, at)
        data = data[count:]
        at += count


def _finish(
    temporary: Path,
    path: Path,
    header: CheckpointHeader,
    where: dict[str, int],
    state: TrainingState,
    everyone: list[list[tuple[str, int, int, int]]],
) -> None:
    """Prefixes, checksums, small arrays and the end; then the file has its name."""
    sums: dict[str, list[tuple[int, int, int]]] = {name: [] for name in where}
    for written in everyone:
        for name, start, count, crc in written:
            sums[name].append((start, count, crc))
    others = state.others()
    with temporary.open("r+b", buffering=0) as file:
        for name, shape in header.tensor_shapes().items():
            at, nbytes = where[name], header.tensor_bytes(shape)
            for size in chunk_sizes(nbytes):
                _write_all(file.fileno(), chunk_prefix(size), at)
                at += len(chunk_prefix(size)) + size
            crc = 0
            if name in others:
                data = state.parameters.backend.to_numpy(others[name]).astype("<f4").tobytes()
                crc = zlib.crc32(data)
                _write_data(file.fileno(), where[name], nbytes, 0, memoryview(data))
            for _, count, part in sorted(sums[name]):
                crc = combine(crc, part, count * ELEMENT)
            _write_all(file.fileno(), checksum(crc), at)
        file.seek(0, os.SEEK_END)
        _write_all(file.fileno(), END, file.tell() - len(END))
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)
