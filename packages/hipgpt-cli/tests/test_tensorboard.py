"""Event files: checksums and order; and TensorBoard itself reads them."""

import os
import struct
import subprocess
import sys
import zlib

import pytest

from hipgpt_cli.tensorboard import EventWriter, crc32c, masked

READER = """
import json, sys, warnings
warnings.simplefilter("ignore")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "tensors": 0})
events.Reload()
tags = events.Tags()
scalars = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags["scalars"]}
texts = {tag: [(e.step, e.tensor_proto.string_val[0].decode()) for e in events.Tensors(tag)]
         for tag in tags["tensors"] if tag.endswith("text_summary")}
content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
data = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
values = {name: getattr(value, value.WhichOneof("kind")) for name, value in data.hparams.items()}
print(json.dumps({"scalars": scalars, "texts": texts, "hparams": values,
                  "text_plugin": sorted(events.PluginTagToContent("text"))}))
"""


def read_records(path):
    """The payloads of an event file, every checksum looked at."""
    data, at, payloads = path.read_bytes(), 0, []
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        assert data[at + 8 : at + 12] == masked(data[at : at + 8])
        payload = data[at + 12 : at + 12 + length]
        assert data[at + 12 + length : at + 16 + length] == masked(payload)
        payloads.append(payload)
        at += 16 + length
    return payloads


def test_crc32c_is_that_of_its_specification():
    """RFC 3720, appendix B.4."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"") == 0
    assert crc32c(b"a") != zlib.crc32(b"a")


def test_records_are_whole_and_the_first_says_the_version(tmp_path):
    writer = EventWriter(tmp_path / "tb")
    writer.add(3, loss=2.5, norm=None)
    writer.add(4, norm=None)  # nothing to say
    payloads = read_records(writer.path)
    assert len(payloads) == 2
    assert b"brain.Event:2" in payloads[0]
    assert b"train/loss" in payloads[1]
    assert b"norm" not in payloads[1]
    assert "tfevents" in writer.path.name


def test_a_number_too_large_for_a_float_is_infinite(tmp_path):
    writer = EventWriter(tmp_path)
    writer.add(1, loss=1e300)
    assert struct.pack("<f", float("inf")) in read_records(writer.path)[1]


def test_two_writers_have_two_files(tmp_path):
    assert EventWriter(tmp_path).path != EventWriter(tmp_path).path


def test_tensorboard_reads_scalars_texts_and_configuration(tmp_path):
    """TensorBoard's own reader, in a process of its own: its imports warn of other packages."""
    pytest.importorskip("tensorboard", reason="the reader is TensorBoard's own")
    import json

    first = EventWriter(tmp_path)
    first.configuration({"lr": 0.001, "tied": True, "data": "a|b", "seed": 7, "none": None})
    for step in (10, 20, 30):
        first.add(step, loss=5 - step / 10, norm=0.5, learning_rate=1e-3)
    first.add(30, validation_loss=2.25, validation_perplexity=1e4)
    first.sample(30, "To be", ", or not\n# to be ⏎")
    second = EventWriter(tmp_path, after=20)  # goes on from step 20: what came after is void
    second.add(30, loss=7.0)
    for path, name in ((first.path, "1"), (second.path, "2")):
        path.rename(path.with_name(f"events.out.tfevents.{name}.x"))
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READER, str(tmp_path)],
        capture_output=True, text=True, check=True, env=environment, timeout=120,
    )  # fmt: skip
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["scalars"]["train/loss"] == [[10, 4.0], [20, 3.0], [30, 7.0]]
    assert found["scalars"]["train/gradient_norm"] == [[10, 0.5], [20, 0.5]]
    assert found["scalars"]["validation/perplexity"] == []  # it was of step 30 only
    assert found["hparams"] == {"lr": 0.001, "tied": True, "data": "a|b", "seed": 7.0}
    [(step, table)] = found["texts"]["configuration/text_summary"]
    assert step == 0
    assert "| data | a\\|b |" in table
    assert "configuration/text_summary" in found["text_plugin"]


def test_tensorboard_reads_samples(tmp_path):
    pytest.importorskip("tensorboard", reason="the reader is TensorBoard's own")
    import json

    writer = EventWriter(tmp_path)
    writer.configuration({})
    writer.sample(30, "To be", ", or not\n# to be ⏎")
    writer.add(30, validation_loss=2.25)
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READER, str(tmp_path)],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["scalars"] == {"validation/loss": [[30, 2.25]]}
    [(step, text)] = found["texts"]["sample/text_summary"]
    assert step == 30
    assert text == "After `To be`:\n\n    To be, or not\n    # to be ⏎\n"
