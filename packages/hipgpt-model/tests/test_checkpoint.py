"""Checkpoints: a round trip to the bit, every damage refused by name, nothing half written."""

import errno
import math
import os
import re
import resource
import sys
import zlib
from pathlib import Path

import msgpack
import numpy as np
import pytest

from hipgpt_model import (
    GPT,
    CheckpointError,
    CheckpointHeader,
    GPTConfig,
    Parameters,
    TokenData,
    TrainConfig,
    Trainer,
    checkpoint_stream,
    load_checkpoint,
    load_model,
    load_parameters,
    read_header,
    save_checkpoint,
    save_training,
    save_weights,
)
from hipgpt_model.checkpoint_header import STEP_CONTROL_SIZE

from .files import Cut
from .models import make_model, random_weights, tiny_config

PAGE = Path(__file__).parents[3] / "docs" / "checkpoint-format.md"
SMALLEST = GPTConfig(2, 1, 2, 1, 1, 1)


@pytest.fixture
def trainer(any_backend):
    ids = np.arange(300).astype(np.uint16) % 37
    trainer = Trainer(
        tiny_config(), TrainConfig(batch_size=2, steps=5), TokenData(ids, 12), any_backend
    )
    list(trainer.run(2))
    return trainer


@pytest.fixture
def small(any_backend, rng, tmp_path):
    """A small file of weights, and its bytes."""
    path = tmp_path / "small"
    model = make_model(SMALLEST, any_backend, random_weights(SMALLEST, rng), training=False)
    save_weights(path, model, "c0ffee", step=3, metrics={"loss": 1.5})
    return path, path.read_bytes()


def pack_with_header(raw, **changes):
    """The file `raw` with some of its header changed, and the header's checksum made to fit."""
    unpacker = msgpack.Unpacker()
    unpacker.feed(raw)
    header = unpacker.unpack()
    rest = raw[unpacker.tell() + 5 :]
    packed = msgpack.packb({**header, **changes})
    return packed + b"\xce" + zlib.crc32(packed).to_bytes(4, "big") + rest


def header_of(raw):
    unpacker = msgpack.Unpacker()
    unpacker.feed(raw)
    return unpacker.unpack()


# --- what it is for ---------------------------------------------------------------------------


def test_a_training_round_trip_keeps_every_bit(trainer, tmp_path):
    save_training(tmp_path / "run", trainer, "abc", metrics={"loss": 2.5})
    header, tensors = load_checkpoint(tmp_path / "run", "abc")
    assert header == CheckpointHeader(
        "training",
        trainer.model.config,
        trainer.config,
        2,
        4,
        trainer.data.fingerprint(),
        "abc",
        {"loss": 2.5},
    )
    parameters = trainer.model.parameters
    for prefix, buffer in (
        ("", parameters.weights),
        ("adamw.m/", parameters.m),
        ("adamw.v/", parameters.v),
    ):
        for name in parameters.names():
            assert np.array_equal(tensors[prefix + name], parameters.view(buffer, name))
    assert len(tensors) == 3 * len(parameters.names()) + 1
    assert tensors["step_control"].shape == (STEP_CONTROL_SIZE,)
    assert any(tensors["adamw.v/output.bias"])


@pytest.mark.parametrize("training", [False, True])
def test_a_model_comes_from_either_kind_of_file(trainer, tmp_path, backend, training):
    save_training(tmp_path / "run", trainer)
    save_weights(tmp_path / "weights", trainer.model)
    assert (tmp_path / "weights").stat().st_size < 0.4 * (tmp_path / "run").stat().st_size
    expected = dict(trainer.model.parameters.items())
    for name in ("run", "weights"):
        model = load_model(tmp_path / name, backend, training=training)
        assert isinstance(model, GPT)
        found = dict(model.parameters.items())
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[one], expected[one]) for one in expected)
        assert model.parameters.training == training
    _, parameters = load_parameters(tmp_path / "weights", backend, training=True)
    assert not backend.to_numpy(parameters.m).any()


def test_the_header_is_read_by_itself(small):
    path, _ = small
    header = read_header(path)
    assert header.model == SMALLEST
    assert (header.kind, header.step, header.tokenizer) == ("weights", 3, "c0ffee")
    assert header.metrics == {"loss": 1.5}


def test_large_tensors_are_cut_into_chunks(any_backend, rng, tmp_path, monkeypatch):
    """Chunks of 100 bytes, which no tensor is a multiple of, make the same model."""
    monkeypatch.setattr(checkpoint_stream, "CHUNK_BYTES", 100)
    config = tiny_config()
    weights = random_weights(config, rng)
    save_weights(tmp_path / "file", make_model(config, any_backend, weights))
    _, tensors = load_checkpoint(tmp_path / "file")
    assert all(np.array_equal(tensors[name], weights[name]) for name in weights)
    loaded = load_model(tmp_path / "file", any_backend)
    assert all(np.array_equal(loaded.parameters[name], weights[name]) for name in weights)


# --- the page is the specification ------------------------------------------------------------


def test_the_reader_on_the_page_reads_a_file(trainer, tmp_path):
    page = PAGE.read_text(encoding="utf-8")
    (source,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    namespace = {}
    exec(source, namespace)
    save_training(tmp_path / "run", trainer)
    header, tensors = namespace["read_tensors"](tmp_path / "run")
    assert header["format"] == "hipgpt-checkpoint"
    expected = load_checkpoint(tmp_path / "run")[1]
    assert list(tensors) == list(expected)
    for name, data in tensors.items():
        array = np.frombuffer(data, "<f4").reshape(header["tensors"][name]["shape"])
        assert np.array_equal(array, expected[name])


def test_the_file_is_the_stream_that_the_page_describes(small):
    """Every object, its type and its order, and nothing after the last."""
    _, raw = small
    unpacker = msgpack.Unpacker()
    unpacker.feed(raw)
    header = unpacker.unpack()
    assert raw[: unpacker.tell()] == msgpack.packb(header)
    assert unpacker.unpack() == zlib.crc32(msgpack.packb(header))
    for tensor in header["tensors"].values():
        chunk = unpacker.unpack()
        assert isinstance(chunk, bytes)
        assert len(chunk) == tensor["bytes"] == 4 * int(np.prod(tensor["shape"]))
        assert unpacker.unpack() == zlib.crc32(chunk)
    assert unpacker.unpack() == "end of hipgpt-checkpoint"
    assert unpacker.tell() == len(raw)


def test_the_page_names_every_key_size_and_tensor(small):
    page = PAGE.read_text(encoding="utf-8")
    header = header_of(small[1])
    for key in (*header, *header["model"], *TokenData(np.zeros(9, np.uint16), 1).fingerprint()):
        assert f"`{key}`" in page, key
    assert f"{checkpoint_stream.CHUNK_BYTES:,}" in page
    assert f"{checkpoint_stream.HEADER_BYTES:,}" in page
    for name in header["tensors"]:
        stem = re.sub(r"\.\d+\.", ".i.", name).removesuffix(".bias")
        assert f"`{stem}" in page, name


# --- damage -----------------------------------------------------------------------------------


def test_a_file_cut_short_anywhere_is_refused(small, any_backend):
    path, raw = small
    for length in range(len(raw)):
        path.write_bytes(raw[:length])
        message = "cut short" if length else "the file is empty"
        with pytest.raises(CheckpointError, match=message):
            load_model(path, any_backend)


def test_a_file_cut_short_names_the_tensor(small):
    path, raw = small
    path.write_bytes(raw[:-30])
    with pytest.raises(CheckpointError, match=r"small: cut short in output\.bias, after \d+ bytes"):
        load_checkpoint(path)


def test_a_flipped_bit_anywhere_is_refused(small):
    path, raw = small
    for position in range(len(raw)):
        damaged = bytearray(raw)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            load_checkpoint(path)


def test_a_damaged_tensor_is_named(small):
    path, raw = small
    damaged = bytearray(raw)
    damaged[raw.index(b"end of") - 8] ^= (
        1  # in the data before a checksum and a string's first byte
    )
    path.write_bytes(damaged)
    with pytest.raises(CheckpointError, match=r"the checksum of output\.bias does not match"):
        load_checkpoint(path)


def test_bytes_after_the_end_are_refused(small):
    path, raw = small
    path.write_bytes(raw + b"\x00")
    with pytest.raises(CheckpointError, match="1 bytes follow the end"):
        read_header(path)


@pytest.mark.parametrize(
    "content",
    [
        b"\x00",
        b"hello, this is a text",
        b"PK\x03\x04" + bytes(100),
        b"\x80\x05\x95",  # a pickle
        msgpack.packb({"format": "another", "version": 1}),
        msgpack.packb([1, 2, 3]),
        b"\xdd\xff\xff\xff\xff",  # an array of 2³² − 1
        bytes(range(256)) * 10,
    ],
)
def test_another_programs_file_is_refused(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(CheckpointError, match="file: not a hipgpt-checkpoint"):
        read_header(tmp_path / "file")


def test_another_version_is_refused_by_name(small):
    path, raw = small
    path.write_bytes(pack_with_header(raw, version=2))
    with pytest.raises(CheckpointError, match="version 2 of hipgpt-checkpoint; this program reads"):
        read_header(path)


def test_another_tokenizer_is_refused(small, any_backend):
    path, _ = small
    assert load_model(path, any_backend, tokenizer="c0ffee")
    with pytest.raises(CheckpointError, match="tokenizer c0ffee, but the one in use is decaf"):
        load_model(path, any_backend, tokenizer="decaf")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "other"}, "unknown kind 'other'"),
        ({"kind": ["weights"]}, "unknown kind"),
        ({"kind": "training"}, "lacks its data"),
        ({"step": -1}, "step is not a count"),
        ({"step": True}, "step is not a count"),
        ({"data_position": 0.5}, "data_position is not a count"),
        ({"tokenizer": 5}, "tokenizer is no string"),
        ({"metrics": {"loss": "low"}}, "metrics are not numbers"),
        ({"metrics": None}, "metrics are not numbers"),
        ({"data": {"tokens": 1}}, "data is not the fingerprint"),
        ({"training": {"steps": 1}}, "TrainConfig: missing"),
        ({"model": None}, "GPTConfig: expected a dictionary"),
        ({"extra": 1}, "missing or unknown keys: 'extra'"),
        ({"tensors": []}, "do not fit its configuration"),
    ],
)
def test_a_header_that_is_wrong_is_refused_by_key(small, changes, message):
    path, raw = small
    path.write_bytes(pack_with_header(raw, **changes))
    with pytest.raises(CheckpointError, match=message):
        read_header(path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("vocab_size", 3, "token_embedding is"),
        ("tied", True, r"do not fit its configuration: output\.weight"),
        ("final_norm", False, r"do not fit its configuration: final_norm\.bias"),
        ("num_layers", 2, "do not fit its configuration"),
        ("num_heads", 3, "num_heads must divide embed_dim"),
        ("activation", "swiglu", r"blocks\.0\.feed_forward\.up\.weight is"),
    ],
)
def test_tensors_that_do_not_fit_the_configuration_are_refused(small, field, value, message):
    path, raw = small
    model = {**header_of(raw)["model"], field: value}
    path.write_bytes(pack_with_header(raw, model=model))
    with pytest.raises(CheckpointError, match=message):
        read_header(path)


def test_tensors_in_another_order_are_refused(small):
    path, raw = small
    tensors = dict(reversed(header_of(raw)["tensors"].items()))
    path.write_bytes(pack_with_header(raw, tensors=tensors))
    with pytest.raises(CheckpointError, match="their order"):
        read_header(path)


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory the way Linux does")
def test_declared_sizes_take_no_memory(small):
    """Forged sizes of terabytes are refused within a few MB."""
    path, raw = small
    header = header_of(raw)
    huge = {**header["model"], "vocab_size": 2**31 - 1, "embed_dim": 2**20}
    table = {
        name: {"dtype": "float32", "shape": list(shape), "bytes": 4 * math.prod(shape)}
        for name, shape in CheckpointHeader("weights", GPTConfig(**huge)).tensor_shapes().items()
    }
    layers = {**header["model"], "num_layers": 2**31 - 1}
    magic = raw[1:25]
    forged = [
        pack_with_header(raw, model=huge, tensors=table),
        pack_with_header(raw, model=layers),
        b"\xdf\xff\xff\xff\xff"[:1] + magic,  # cut short
        b"\x8b" + magic + b"\xa7version" + b"\xdd\xff\xff\xff\xff" * 500,  # nested huge arrays
        b"\x8b" + magic + b"\xa7version" + b"\xdf\xff\xff\xff\xff" * 500,  # nested huge maps
        b"\x8b" + magic + b"\xa7version" + b"\xc6\xff\xff\xff\xff" + bytes(100),  # a huge bin
        b"\x8b" + magic + b"\xa7version" + b"\x91" * 100_000,  # deeply nested
    ]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB
    for content in forged:
        path.write_bytes(content)
        with pytest.raises(CheckpointError):
            load_checkpoint(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


# --- writing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("room", [0, 10, 2000, 6000])
def test_a_full_disk_leaves_the_older_file(small, trainer, monkeypatch, room):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    path, raw = small
    original = Path.open
    monkeypatch.setattr(Path, "open", lambda self, mode: Cut(original(self, mode), room, full))
    with pytest.raises(OSError, match=r"not written .No space left on device.; an older") as error:
        save_training(path, trainer)
    assert error.value.errno == errno.ENOSPC
    assert error.value.filename == str(path)
    monkeypatch.undo()
    assert path.read_bytes() == raw
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failure_at_the_end_leaves_the_older_file(small, trainer, monkeypatch, call):
    path, raw = small

    def fail(*_args):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(*((os, "fsync") if call == "fsync" else (Path, "replace")), fail)
    with pytest.raises(OSError, match="not written"):
        save_training(path, trainer)
    assert path.read_bytes() == raw
    assert list(path.parent.iterdir()) == [path]


def test_an_interruption_leaves_the_older_file(small, any_backend, monkeypatch):
    path, raw = small
    parameters = Parameters(SMALLEST, any_backend, training=False)

    def tensors():
        yield from list(parameters.items())[:5]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, CheckpointHeader("weights", SMALLEST), tensors())
    assert path.read_bytes() == raw
    assert list(path.parent.iterdir()) == [path]


def test_a_missing_folder_is_named(trainer, tmp_path):
    with pytest.raises(FileNotFoundError, match="No such file"):
        save_training(tmp_path / "nowhere" / "run", trainer)
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "nothing")


def test_tensors_that_are_not_the_headers_are_not_written(any_backend, tmp_path):
    header = CheckpointHeader("weights", SMALLEST)
    tensors = dict(Parameters(SMALLEST, any_backend, training=False).items())
    first = next(iter(tensors))
    for wrong in (
        {**tensors, first: tensors[first].astype(np.float64)},
        {**tensors, first: tensors[first][:1]},
        dict(reversed(tensors.items())),
        dict(list(tensors.items())[:-1]),
    ):
        with pytest.raises(ValueError, match=r"calls for|argument"):
            save_checkpoint(tmp_path / "file", header, wrong.items())
    assert not list(tmp_path.iterdir())
