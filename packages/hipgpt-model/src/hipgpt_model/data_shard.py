"""A shard: one file of ids behind a header of 128 bytes, which docs/data.md specifies.

The header says what the ids are and proves itself by a CRC-32 and the ids by a SHA-256; the ids
follow as plain little-endian integers, so `numpy.memmap` reads them from where they lie. The odd
thing: opening a shard looks at 128 bytes and the file's length and no more; whether every id is as
it was written is what `verify_shard` finds out, by reading them all.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

MAGIC = b"\x89HGPTOK\n"
"""No text begins so, and a transfer that changes line ends or drops the eighth bit destroys it."""

VERSION = 1

HEADER_BYTES = 128

SPLITS = ("train", "validation")

_LAYOUT = struct.Struct("<8sIIIIQQQ32s32sIIII")
"""Magic, version, header bytes, bytes of an id, vocabulary, ids, documents, bytes of text,
tokenizer, SHA-256 of the ids, split, number, id of the end of text, CRC-32 of all before it."""

_DTYPES = {2: "<u2", 4: "<u4"}

_BYTES_AT_ONCE = 1 << 22


class DataError(ValueError):
    """A file of prepared data is damaged, incomplete, or not one."""


@dataclass(frozen=True)
class ShardHeader:
    """What the first 128 bytes say.

    Attributes:
        tokens: how many ids follow.
        documents: how many of them are the id of the end of text.
        text_bytes: size in UTF-8 of the text that the ids stand for.
        id_bytes: 2 or 4.
        vocab_size: every id is below it.
        end_of_text: the id that ends each document.
        tokenizer: fingerprint, 64 hexadecimal digits.
        sha256: of the ids as they are in the file, hexadecimal.
        split: "train" or "validation".
        number: of the shard in its split, from 0.
    """

    tokens: int
    documents: int
    text_bytes: int
    id_bytes: int
    vocab_size: int
    end_of_text: int
    tokenizer: str
    sha256: str
    split: str
    number: int

    def to_bytes(self) -> bytes:
        """The header as it stands in the file."""
        packed = _LAYOUT.pack(
            MAGIC,
            VERSION,
            HEADER_BYTES,
            self.id_bytes,
            self.vocab_size,
            self.tokens,
            self.documents,
            self.text_bytes,
            bytes.fromhex(self.tokenizer),
            bytes.fromhex(self.sha256),
            SPLITS.index(self.split),
            self.number,
            self.end_of_text,
            0,
        )[:-4]
        return packed + struct.pack("<I", zlib.crc32(packed))

    @property
    def file_bytes(self) -> int:
        """Size of the whole file."""
        return HEADER_BYTES + self.tokens * self.id_bytes


def read_shard_header(path: Path) -> ShardHeader:
    """The header of a shard, with everything checked that can be without reading an id.

    Raises:
        DataError: the file is no shard, or is damaged or cut short.
        OSError: it could not be read.
    """
    with path.open("rb") as file:
        data = file.read(HEADER_BYTES)
        size = file.seek(0, 2)
    if data[: len(MAGIC)] != MAGIC:
        raise DataError(f"{path} is no shard of ids: it does not begin with {MAGIC!r}")
    if len(data) < HEADER_BYTES:
        raise DataError(f"{path} is cut short: {len(data)} bytes of a header of {HEADER_BYTES}")
    if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise DataError(f"{path} is damaged: its header does not have the checksum that it names")
    (_, version, header_bytes, id_bytes, vocab_size, tokens, documents, text_bytes, tokenizer,
     sha256, split, number, end_of_text, _) = _LAYOUT.unpack(data)  # fmt: skip
    if version != VERSION or header_bytes != HEADER_BYTES:
        raise DataError(
            f"{path} has version {version} of the format with a header of {header_bytes} bytes; "
            f"this hipgpt reads version {VERSION} with {HEADER_BYTES}: update it, or prepare anew"
        )
    if id_bytes not in _DTYPES or split >= len(SPLITS):
        raise DataError(f"{path} is damaged: ids of {id_bytes} bytes, split number {split}")
    if not 0 < vocab_size <= 1 << (8 * id_bytes) or end_of_text >= vocab_size:
        raise DataError(
            f"{path} is damaged: a vocabulary of {vocab_size} with the end of text at {end_of_text}"
        )
    if size != HEADER_BYTES + tokens * id_bytes or documents > tokens:
        raise DataError(
            f"{path} is damaged or cut short: {tokens} ids of {id_bytes} bytes, {documents} "
            f"documents, and the file has {size} bytes"
        )
    return ShardHeader(
        tokens, documents, text_bytes, id_bytes, vocab_size, end_of_text, tokenizer.hex(),
        sha256.hex(), SPLITS[split], number,
    )  # fmt: skip


def open_shard(path: Path, header: ShardHeader) -> np.ndarray:
    """The ids, (tokens,) uint16 or uint32, read from the disk as they are needed."""
    dtype = np.dtype(_DTYPES[header.id_bytes])
    if header.tokens == 0:
        return np.empty(0, dtype.newbyteorder("="))
    ids = np.memmap(path, dtype=dtype, mode="r", offset=HEADER_BYTES, shape=(header.tokens,))
    return ids if dtype.isnative else ids.astype(dtype.newbyteorder("="))


def verify_shard(path: Path, header: ShardHeader) -> None:
    """Read every id and hold the header to its word.

    Raises:
        DataError: the ids are not those that were written.
        OSError: the file could not be read.
    """
    largest, ends = 0, 0
    digest = hashlib.sha256()
    # A read asks for its memory first, so it is not to ask for more than there is.
    at_once = max(min(header.tokens * header.id_bytes, _BYTES_AT_ONCE), 1)
    with path.open("rb") as file:
        file.seek(HEADER_BYTES)
        while data := file.read(at_once):
            digest.update(data)
            whole = len(data) // header.id_bytes * header.id_bytes
            ids = np.frombuffer(data[:whole], _DTYPES[header.id_bytes])
            largest = max(largest, int(ids.max(initial=0)))
            ends += int(np.count_nonzero(ids == header.end_of_text))
    if digest.hexdigest() != header.sha256:
        raise DataError(f"{path} is damaged: its ids do not have the SHA-256 that it names")
    if largest >= header.vocab_size or ends != header.documents:
        raise DataError(
            f"{path} was written wrong: the largest id is {largest} of {header.vocab_size}, and "
            f"{ends} documents end, not {header.documents}"
        )
