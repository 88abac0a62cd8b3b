"""A safetensors file is believed only as far as it can be checked."""

import io
import json
import struct

import numpy as np
import pytest

from hipgpt_model.interop import safetensors
from hipgpt_model.interop.errors import InteropError
from hipgpt_model.interop.safetensors import SafetensorsFile


def entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def raw_file(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def opened(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    return SafetensorsFile(path)


def written(tensors, **metadata):
    file = io.BytesIO()
    shapes = {name: array.shape for name, array in tensors.items()}
    safetensors.write(file, shapes, tensors.items(), metadata)
    return file.getvalue()


def test_what_is_written_is_read(tmp_path, rng):
    tensors = {
        "a": rng.standard_normal((3, 5)).astype(np.float32),
        "ü": rng.standard_normal((1,)).astype(np.float32),
        "scalar": np.array(2.5, np.float32),
        "none": np.zeros((0, 4), np.float32),
    }
    content = written(tensors, format="pt")
    assert int.from_bytes(content[:8], "little") % 8 == 0, "the data is not aligned"
    with opened(tmp_path, content) as file:
        assert file.metadata == {"format": "pt"}
        for name, array in tensors.items():
            assert np.array_equal(file.read(name), array)
            assert file.read(name).shape == array.shape


def test_half_precision_is_read_exactly(tmp_path):
    halves = np.array([1.5, -65504, 6e-8], np.float16)
    header = {"b": entry([2], 0, 4, "BF16"), "h": entry([3], 4, 10, "F16")}
    with opened(tmp_path, raw_file(header, b"\x80\x3f\x00\xc0" + halves.tobytes())) as file:
        assert file.read("b").tolist() == [1, -2]
        assert file.read("h").tolist() == halves.astype(np.float32).tolist()


def test_a_dtype_that_float32_cannot_hold_is_refused(tmp_path):
    with (
        opened(tmp_path, raw_file({"x": entry([1], 0, 8, "F64")}, bytes(8))) as file,
        pytest.raises(InteropError, match="x has dtype F64; read are F32, F16 and BF16"),
    ):
        file.read("x")


HOSTILE = {
    "empty": (b"", "a file of 0 bytes"),
    "seven bytes": (bytes(7), "a file of 7 bytes"),
    "a header longer than the file": (raw_file({}, length=10**6), "end at byte 1000008 of"),
    "a header of 2^63 bytes": (raw_file({}, length=2**63), "at most"),
    "a header of 2^64 - 1 bytes": (raw_file({}, length=2**64 - 1), "at most"),
    "no JSON": (raw_file(b"{nonsense}"), "not valid JSON"),
    "a list": (raw_file(b"[]"), "does not begin with {"),
    "a space in front": (raw_file(b" {}"), "does not begin with {"),
    "not UTF-8": (raw_file(b'{"\xff": 1}'), "not valid JSON"),
    "too deep": (raw_file(b'{"a":' + b"[" * 100_000), "not valid JSON"),
    "NaN": (raw_file(b'{"__metadata__": {}, "a": NaN}'), "not valid JSON"),
    "a key twice": (
        raw_file(b'{"a": {"dtype":"U8","shape":[0],"data_offsets":[0,0]}, "a": 1}'),
        "a key occurs twice",
    ),
    "metadata that is no text": (raw_file({"__metadata__": {"a": 1}}), "__metadata__ is not text"),
    "an entry that is a number": (raw_file({"a": 3}), "a is not described by"),
    "a missing key": (raw_file({"a": {"dtype": "F32", "shape": [1]}}), "a is not described by"),
    "a key too many": (
        raw_file({"a": {**entry([1], 0, 4), "x": 1}}, bytes(4)), "a is not described by",
    ),
    "an unknown dtype": (raw_file({"a": entry([1], 0, 4, "F99")}, bytes(4)), "unknown dtype 'F99'"),
    "a dtype that is a list": (raw_file({"a": entry([1], 0, 4, [])}, bytes(4)), "unknown dtype []"),
    "a negative size": (raw_file({"a": entry([-1], 0, 4)}, bytes(4)), "shape of a is [-1]"),
    "a size of true": (raw_file({"a": entry([True], 0, 4)}, bytes(4)), "shape of a is [True]"),
    "a size of 1.0": (raw_file({"a": entry([1.0], 0, 4)}, bytes(4)), "shape of a is [1.0]"),
    "a size of 2^70": (raw_file({"a": entry([2**70], 0, 4)}, bytes(4)), "shape of a is"),
    "sizes whose product overflows": (
        raw_file({"a": entry([2**40, 2**40], 0, 4)}, bytes(4)), "take 4835703278458516698824704",
    ),
    "one offset": (
        raw_file({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}, bytes(4)),
        "data_offsets of a is [0]",
    ),
    "offsets the wrong way": (raw_file({"a": entry([1], 4, 0)}, bytes(4)), "hold -4 bytes"),
    "a negative offset": (raw_file({"a": entry([1], -4, 0)}, bytes(4)), "data_offsets of a is"),
    "too few bytes": (raw_file({"a": entry([2], 0, 4)}, bytes(4)), "hold 4 bytes, but [2]"),
    "beyond the end": (raw_file({"a": entry([2], 0, 8)}, bytes(4)), "ends at byte"),
    "far beyond the end": (
        raw_file({"a": entry([2**40], 0, 2**42)}, bytes(4)), "ends at byte",
    ),
    "overlap": (
        raw_file({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12)), "b, at byte 4, over",
    ),
    "the same place": (
        raw_file({"a": entry([2], 0, 8), "b": entry([2], 0, 8)}, bytes(8)), "b, at byte 0, over",
    ),
    "a gap": (
        raw_file({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, bytes(12)), "b, at byte 8, follo",
    ),
    "a gap in front": (raw_file({"a": entry([1], 4, 8)}, bytes(8)), "a, at byte 4, follows a gap"),
    "more data": (raw_file({"a": entry([1], 0, 4)}, bytes(5)), "1 bytes follow the last tensor"),
    "a pickle": (b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01K\x01s.", "its header is said"),
    "a zip of pickles": (b"PK\x03\x04" + bytes(60), "its header is said"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "message"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_and_damaged_files_are_refused(tmp_path, content, message):
    with pytest.raises(InteropError) as caught:
        opened(tmp_path, content)
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_file_cut_short_is_refused(tmp_path):
    content = written({"a": np.ones((2, 3), np.float32), "b": np.ones(1, np.float32)}, format="pt")
    for length in range(len(content)):
        with pytest.raises(InteropError):
            opened(tmp_path, content[:length])


def test_no_flipped_bit_gets_out_as_another_error(tmp_path, rng):
    """A damaged header is refused, or still describes the same bytes; nothing else happens."""
    content = bytearray(written({"a": np.ones((2, 3), np.float32)}, format="pt"))
    for place in range(len(content) - 24):
        for bit in rng.integers(0, 8, 2):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            try:
                with opened(tmp_path, bytes(damaged)) as file:
                    for name in file.tensors:
                        assert file.read(name).nbytes <= 48
            except InteropError:
                pass


def test_other_tensors_than_announced_are_not_written():
    with pytest.raises(ValueError, match="expected a"):
        safetensors.write(io.BytesIO(), {"a": (2,)}, [("a", np.ones(3, np.float32))], {})
