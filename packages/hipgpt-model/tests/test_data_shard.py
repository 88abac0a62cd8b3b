"""Shards, manifests and folders: written and read, and ten thousand damages refused.

The odd thing: a damage counts as refused only if opening or verifying raises DataError; what is
read without one must be, bit for bit, what was written.
"""

import hashlib
import json
import random
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from hipgpt_kernels import load_backend
from hipgpt_model.data_feed import Feed
from hipgpt_model.data_folder import open_folder
from hipgpt_model.data_manifest import MANIFEST, Manifest, ShardEntry, read_manifest, shard_name
from hipgpt_model.data_shard import (
    HEADER_BYTES,
    DataError,
    ShardHeader,
    open_shard,
    read_shard_header,
    verify_shard,
)

END = 299
TOKENIZER = "ab" * 32


def write_shard(folder, split, number, ids, text_bytes=1000):
    """A shard as the specification has it; returns its entry of the manifest."""
    sha256 = hashlib.sha256(ids.tobytes()).hexdigest()
    documents = int((ids == END).sum())
    header = ShardHeader(
        len(ids), documents, text_bytes, ids.itemsize, 300, END, TOKENIZER, sha256, split, number
    )
    name = shard_name(split, number)
    (folder / name).write_bytes(header.to_bytes() + ids.tobytes())
    return ShardEntry(
        name, split, number, len(ids), documents, text_bytes, header.file_bytes, sha256
    )


def make_folder(folder, train=(500, 300, 40), validation=(120, 60), dtype="uint16"):
    """Prepared data of random ids; returns all ids in order."""
    rng = np.random.default_rng(5)
    folder.mkdir(exist_ok=True)
    arrays, entries = [], []
    for split, lengths in (("train", train), ("validation", validation)):
        for number, length in enumerate(lengths):
            arrays.append(rng.integers(0, 300, length).astype(dtype))
            entries.append(write_shard(folder, split, number, arrays[-1]))
    manifest = Manifest(dtype, 300, END, TOKENIZER, {"text": "é"}, 0.1, tuple(entries))
    (folder / MANIFEST).write_text(manifest.to_json())
    return np.concatenate(arrays)


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_what_is_written_is_read(tmp_path, dtype):
    ids = make_folder(tmp_path / "data", dtype=dtype)
    folder = open_folder(tmp_path / "data")
    seen = []
    folder.verify(lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == sum(shard.bytes for shard in folder.manifest.shards)
    data = folder.token_data(16)
    assert len(data) == folder.tokens == len(ids)
    assert data.dtype == np.dtype(dtype)
    assert np.array_equal(data.read(0, len(ids)), ids)
    assert np.array_equal(data.read(490, 810), ids[490:810])
    assert data.train_tokens == 840


def test_the_header_has_the_bytes_of_the_specification():
    header = ShardHeader(3, 1, 7, 2, 300, 299, "01" * 32, "23" * 32, "validation", 4)
    data = header.to_bytes()
    assert len(data) == HEADER_BYTES == 128
    assert data[:8] == b"\x89HGPTOK\n"
    assert np.frombuffer(data, "<u4", 4, 8).tolist() == [1, 128, 2, 300]
    assert np.frombuffer(data, "<u8", 3, 24).tolist() == [3, 1, 7]
    assert data[48:80] == b"\x01" * 32
    assert data[80:112] == b"\x23" * 32
    assert np.frombuffer(data, "<u4", 3, 112).tolist() == [1, 4, 299]


def test_every_window_lies_in_one_shard_and_comes_once(tmp_path):
    make_folder(tmp_path / "data", train=(500, 17, 300, 9, 40))
    data = open_folder(tmp_path / "data").token_data(16)
    borders = np.cumsum([0, 500, 17, 300, 9, 40])
    W = data.train_windows
    assert W == 30 + 1 + 17 + 0 + 1
    starts = np.concatenate([data.train_batch(p, 7, 3) for p in range(0, 2 * W, 7)])[: 2 * W]
    for epoch in (starts[:W], starts[W:]):
        ordered = np.sort(epoch)
        assert (np.diff(ordered) >= 16).all()
        which = np.searchsorted(borders, ordered, side="right") - 1
        assert (ordered + 16 < borders[which + 1]).all()
    assert not np.array_equal(starts[:W], starts[W:])
    held_out = np.concatenate(data.validation_batches(4, 100))
    assert len(held_out) == 119 // 16 + 59 // 16
    assert held_out.min() == data.train_tokens
    assert held_out.max() + 16 < len(data)


def test_one_shard_is_shuffled_as_an_array_is(tmp_path):
    from hipgpt_model import TokenData

    ids = make_folder(tmp_path / "data", train=(900,), validation=(100,))
    shards = open_folder(tmp_path / "data").token_data(16)
    array = TokenData(ids, 16, 0.1)
    assert np.array_equal(shards.train_batch(3, 200, 1), array.train_batch(3, 200, 1))
    assert np.array_equal(shards.validation_batches(4, 9)[0], array.validation_batches(4, 9)[0])


@pytest.mark.parametrize("resident", [True, False, None])
def test_a_batch_is_the_same_from_everywhere(tmp_path, resident):
    ids = make_folder(tmp_path / "data")
    data = open_folder(tmp_path / "data").token_data(16)
    feed = Feed(data, load_backend("cpu"), 8, resident=resident)
    feed._on_host = resident is None  # False: the way of a device that cannot hold the corpus
    inputs, targets = np.zeros((2, 5, 16), np.int32)
    for starts in (data.train_batch(0, 5, 1), data.validation_batches(5, 1)[0]):
        feed.fill(starts, inputs, targets)
        for row, start in enumerate(starts):
            assert np.array_equal(inputs[row], ids[start : start + 16])
            assert np.array_equal(targets[row], ids[start + 1 : start + 17])


def test_the_fingerprint_is_the_manifests(tmp_path):
    make_folder(tmp_path / "data")
    before = open_folder(tmp_path / "data").token_data(16).fingerprint()
    assert before["tokens"] == 1020
    assert before["train_tokens"] == 840
    folder = tmp_path / "data"
    manifest = read_manifest(folder / MANIFEST)
    entry = write_shard(folder, "train", 0, np.zeros(500, np.uint16))
    changed = replace(manifest, shards=(entry, *manifest.shards[1:]))
    (folder / MANIFEST).write_text(changed.to_json())
    assert open_folder(folder).token_data(16).fingerprint() != before


def test_a_vocabulary_too_small_and_shards_too_short_are_refused(tmp_path):
    make_folder(tmp_path / "data")
    folder = open_folder(tmp_path / "data")
    folder.token_data(8).check_ids(300)
    with pytest.raises(ValueError, match="prepared with 300 ids, but vocab_size is 299"):
        folder.token_data(8).check_ids(299)
    with pytest.raises(ValueError, match="longest validation shard has 120 tokens"):
        folder.token_data(120)
    with pytest.raises(ValueError, match="has 5 shards"):
        _ = folder.token_data(8).tokens


def test_what_is_missing_or_foreign_is_named(tmp_path):
    folder = tmp_path / "data"
    with pytest.raises(DataError, match=r"has no manifest\.json"):
        open_folder(folder)
    make_folder(folder)
    write_shard(folder, "train", 1, np.zeros(300, np.uint16))
    with pytest.raises(DataError, match="not the shard that"):
        open_folder(folder)
    (folder / "train-00001.tokens").unlink()
    with pytest.raises(DataError, match=r"train-00001\.tokens is missing"):
        open_folder(folder)


def damaged(data, rng):
    """Bytes with one damage of one of the kinds that disks and people make."""
    kind = rng.randrange(6)
    data = bytearray(data)
    at = rng.randrange(len(data))
    if kind == 0:
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        data[at : at + 8] = rng.randbytes(len(data[at : at + 8]))
    elif kind == 3:
        data += rng.randbytes(rng.randrange(1, 200))
    elif kind == 4:
        data[at : at + 8] = b"\xff" * len(data[at : at + 8])
    else:
        del data[at : at + rng.randrange(1, 9)]
    return bytes(data)


def test_7000_damaged_shards_are_refused(tmp_path):
    """No crash, no wrong load, and no memory beyond the file's size (and Python's own)."""
    ids = np.arange(400, dtype=np.uint16) % 300
    entry = write_shard(tmp_path, "train", 0, ids)
    path = tmp_path / entry.file
    good = path.read_bytes()
    rng = random.Random(1)
    refused = 0
    for number in range(7000):
        if number == 6500:
            tracemalloc.start()  # makes everything slow
        bad = damaged(good if number % 3 else good[:HEADER_BYTES] + good[HEADER_BYTES:][:64], rng)
        path.write_bytes(bad)
        try:
            header = read_shard_header(path)
            verify_shard(path, header)
            loaded = open_shard(path, header)
        except DataError:
            refused += 1
        else:
            assert bad == good
            assert np.array_equal(loaded, ids)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused > 6900
    assert peak < 1 << 20  # the file has 928 bytes


def test_headers_that_lie_under_a_right_checksum_are_refused(tmp_path):
    """Huge counts and odd sizes with a CRC that fits: what a bug would write, not a disk."""
    ids = np.arange(100, dtype=np.uint16)
    write_shard(tmp_path, "train", 0, ids)
    path = tmp_path / "train-00000.tokens"
    right = read_shard_header(path)
    lies = [
        {"tokens": 2**63}, {"tokens": 99}, {"tokens": 2**40}, {"documents": 101}, {"id_bytes": 0},
        {"id_bytes": 8}, {"id_bytes": 4}, {"vocab_size": 0}, {"vocab_size": 65537},
        {"end_of_text": 300}, {"sha256": "00" * 32}, {"vocab_size": 50, "end_of_text": 1},
        {"documents": 3},
    ]  # fmt: skip
    for lie in lies:
        path.write_bytes(replace(right, **lie).to_bytes() + ids.tobytes())
        with pytest.raises(DataError):
            verify_shard(path, read_shard_header(path))


def test_3000_damaged_manifests_are_refused(tmp_path):
    make_folder(tmp_path)
    path = tmp_path / MANIFEST
    good = path.read_bytes()
    meant = read_manifest(path)
    rng = random.Random(2)
    refused = 0
    for _ in range(3000):
        path.write_bytes(damaged(good, rng))
        try:
            found = read_manifest(path)
        except DataError:
            refused += 1
        else:
            assert found == meant  # only a space or the last newline has changed
    assert refused > 2500


def set_in(values, keys, value):
    *way, last = keys
    for key in way:
        values = values[key]
    values[last] = value


def checksummed(values):
    """The manifest's own checksum put right, as by somebody who knows how."""
    values.pop("checksum", None)
    form = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return {**values, "checksum": hashlib.sha256(form.encode()).hexdigest()}


KEYS = [
    ("format",), ("version",), ("dtype",), ("vocab_size",), ("end_of_text",), ("tokenizer",),
    ("source",), ("validation_fraction",), ("shards",), ("shards", 0), ("shards", 0, "file"),
    ("shards", 0, "split"), ("shards", 0, "number"), ("shards", 0, "tokens"),
    ("shards", 0, "documents"), ("shards", 0, "text_bytes"), ("shards", 0, "bytes"),
    ("shards", 0, "sha256"),
]  # fmt: skip

WRONG = [None, True, -1, 1.5, 2**70, "x", "../../etc/passwd", [], {}, [[]], "é" * 100, 1e308]


@pytest.mark.parametrize("keys", KEYS, ids=str)
def test_wrong_types_and_huge_numbers_are_refused(tmp_path, keys):
    """Even under a right checksum nothing but the right type and size passes."""
    make_folder(tmp_path)
    path = tmp_path / MANIFEST
    good = path.read_text()
    for wrong in WRONG:
        if keys == ("source",) and wrong == {}:
            continue
        values = json.loads(good)
        set_in(values, keys, wrong)
        path.write_text(json.dumps(checksummed(values)))
        with pytest.raises(DataError):
            open_folder(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{}", "[" * 100_000, "9" * 100_000, '{"format": NaN}', "\x00", "{"]
)
def test_what_is_no_manifest_is_refused(tmp_path, text):
    make_folder(tmp_path)
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(DataError, match="manifest"):
        open_folder(tmp_path)
