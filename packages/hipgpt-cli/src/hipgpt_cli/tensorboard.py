"""TensorBoard's event files, written with nothing but the standard library.

A file is a row of records: length, payload, and a checksum of each; a payload is an Event, encoded
as protocol buffers are. Field numbers are those of event.proto, summary.proto, tensor.proto and the
hparams plugin's plugin_data.proto of TensorBoard 2. The odd thing: a run that goes on writes a
second file, whose first event tells TensorBoard to forget what the first has of later steps.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), bits in reversed order
_MASK_DELTA = 0xA282EAD8

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_STRING_TENSOR = 7
_SESSION_START = 1

_NAMES = {"norm": "gradient_norm"}
"""Metrics that TensorBoard shows under another name."""


def _table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """The CRC-32C of bytes (RFC 3720, appendix B.4, has the example).

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    """The checksum as a record has it: turned by 15 bits, plus a constant."""
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF)


def record(payload: bytes) -> bytes:
    """One record of an event file."""
    length = struct.pack("<Q", len(payload))
    return length + masked(length) + payload + masked(payload)


class EventWriter:
    """Writes one event file; every event is on disk when a method returns.

    Args:
        folder: where event files of this run lie; made where it is missing.
        after: the step that training goes on from. What other files have of later steps counts no
            more.
    """

    def __init__(self, folder: Path, after: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        # TensorBoard reads a run's files in the order of their names: seconds, then a number.
        host = "".join(c if c.isalnum() or c in ".-" else "-" for c in socket.gethostname())
        stem = f"events.out.tfevents.{int(now):010}.{host}.{os.getpid()}"
        number = 0
        while (folder / f"{stem}.{number}").exists():
            number += 1
        self.path = folder / f"{stem}.{number}"
        self._write(_string(3, "brain.Event:2"), 0)
        if after:
            self._write(_message(7, _int(1, _SESSION_START)), after + 1)

    def add(self, step: int, **values: float | None) -> None:
        """Scalars of a step, by the names of metrics.jsonl; None is left out."""
        summary = b"".join(
            _message(1, _string(1, _tag(name)) + _float(2, value))
            for name, value in values.items()
            if value is not None
        )
        if summary:
            self._write(_message(5, summary), step)

    def text(self, step: int, name: str, text: str) -> None:
        """A text, shown as Markdown."""
        tensor = _int(1, _STRING_TENSOR) + _message(2, _message(2, _int(1, 1))) + _string(8, text)
        metadata = _message(1, _string(1, "text"))
        value = _string(1, f"{name}/text_summary") + _message(8, tensor) + _message(9, metadata)
        self._write(_message(5, _message(1, value)), step)

    def sample(self, step: int, prompt: str, text: str) -> None:
        """What the model wrote after a prompt; neither is taken for Markdown."""
        shown = "\n".join(f"    {line}" for line in (prompt + text).splitlines())
        self.text(step, "sample", f"After `{prompt.replace('`', ' ')}`:\n\n{shown}\n")

    def configuration(self, values: dict[str, Any]) -> None:
        """The run's configuration: as a table of text, and for the tab HParams.

        Args:
            values: simple values by name; a value of another kind is shown as JSON.
        """
        rows = "".join(f"| {name} | {_shown(value)} |\n" for name, value in values.items())
        self.text(0, "configuration", f"| option | value |\n| --- | --- |\n{rows}")
        entries = b"".join(
            _message(1, _string(1, name) + _message(2, _value(value)))
            for name, value in values.items()
            if value is not None
        )
        start = entries + _double(5, time.time())
        content = _message(3, start)  # HParamsPluginData.session_start_info
        plugin = _string(1, "hparams") + _message(2, content)
        value = _string(1, "_hparams_/session_start_info") + _message(9, _message(1, plugin))
        self._write(_message(5, _message(1, value)), 0)

    def _write(self, what: bytes, step: int) -> None:
        event = _double(1, time.time()) + _int(2, step) + what
        with self.path.open("ab") as file:
            file.write(record(event))


def _tag(name: str) -> str:
    """Where TensorBoard files a metric.

    >>> _tag("norm"), _tag("validation_loss")
    ('train/gradient_norm', 'validation/loss')
    """
    if name.startswith("validation_"):
        return f"validation/{name.removeprefix('validation_')}"
    return f"train/{_NAMES.get(name, name)}"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _value(value: Any) -> bytes:
    """A google.protobuf.Value."""
    if isinstance(value, bool):
        return _int(4, int(value))
    if isinstance(value, (int, float)):
        return _double(2, float(value))
    return _string(3, value if isinstance(value, str) else json.dumps(value))


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)


def _key(field: int, kind: int) -> bytes:
    return _varint(field << 3 | kind)


def _int(field: int, number: int) -> bytes:
    return _key(field, _VARINT) + _varint(number)


def _double(field: int, number: float) -> bytes:
    return _key(field, _FIXED64) + struct.pack("<d", number)


def _float(field: int, number: float) -> bytes:
    try:
        data = struct.pack("<f", number)
    except OverflowError:
        data = struct.pack("<f", float("inf") if number > 0 else float("-inf"))
    return _key(field, _FIXED32) + data


def _message(field: int, data: bytes) -> bytes:
    return _key(field, _BYTES) + _varint(len(data)) + data


def _string(field: int, text: str) -> bytes:
    return _message(field, text.encode("utf-8", "replace"))
