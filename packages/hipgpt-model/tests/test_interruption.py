"""A save that ends too soon, at every byte; a run that ends between two passes of a step.

The odd thing: three kinds of end are tried. An error (a full disk), after which the program cleans
up; a stop in its tracks, after which it does nothing; and a real kill by the system, which ends a
process at the very byte that a file may not grow beyond.
"""

import errno
import os
import signal
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from hipgpt_model import (
    GPT,
    CheckpointHeader,
    GPTConfig,
    Parameters,
    TokenData,
    TrainConfig,
    Trainer,
    checkpoint_stream,
    load_checkpoint,
    load_parameters,
    save_checkpoint,
    save_training,
    save_weights,
)
from hipgpt_model.checkpoint import verify_checkpoint
from hipgpt_model.checkpoint_stream import CHUNK_BYTES, read_header_from, read_tensors
from hipgpt_model.saving import BackgroundSaver

from .files import Cut, Sparse
from .models import tiny_config

MODEL = GPTConfig(3, 2, 2, 1, 1, 1, tied=True, output_bias=False, final_norm=False)


@pytest.fixture
def run(any_backend, tmp_path):
    """A tiny trainer after two steps, the path of its checkpoint of one, and that file's bytes."""
    ids = np.arange(90, dtype=np.uint16) % 3
    trainer = Trainer(MODEL, TrainConfig(batch_size=2, steps=9), TokenData(ids, 2), any_backend)
    path = tmp_path / "folder" / "run"
    path.parent.mkdir()
    list(trainer.run(1))
    save_training(path, trainer)
    list(trainer.run(1))
    return trainer, path, path.read_bytes()


@pytest.fixture
def size(run, tmp_path):
    """Bytes of the next checkpoint."""
    save_training(tmp_path / "next", run[0])
    return (tmp_path / "next").stat().st_size


class Stopped(BaseException):
    """Nothing catches it."""


def test_a_disk_that_is_full_at_any_byte_leaves_the_older_file(run, size, monkeypatch):
    trainer, path, before = run
    original = Path.open
    for room in range(size):
        full = room, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", lambda p, mode, full=full: Cut(original(p, mode), *full))
            with pytest.raises(OSError, match="No space left on device"):
                save_training(path, trainer)
        assert path.read_bytes() == before
        assert list(path.parent.iterdir()) == [path]


def test_a_stop_at_any_byte_leaves_the_older_file(run, size, monkeypatch):
    """Nothing is cleaned up, as where the plug is pulled; what is half written has another name."""
    trainer, path, before = run
    original = Path.open
    for room in range(size):
        with monkeypatch.context() as patch:
            patch.setattr(
                Path, "open", lambda p, mode, r=room: Cut(original(p, mode), r, Stopped())
            )
            patch.setattr(Path, "unlink", lambda *_, **__: None)
            with pytest.raises(Stopped):
                save_training(path, trainer)
        assert path.read_bytes() == before
        (left,) = set(path.parent.iterdir()) - {path}
        assert left.name == f".run.{os.getpid()}.part"
        assert left.stat().st_size == room
    save_training(path, trainer)  # what was left is no obstacle
    assert load_checkpoint(path)[0].step == 2
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(sys.platform != "linux", reason="kills as Linux does")
def test_a_kill_at_any_byte_leaves_the_older_file(run, size):
    """The system ends the process at the limit of a file's size: every 13th byte, and the ends."""
    import resource

    trainer, path, before = run
    limits = sorted({*range(0, size, 13), 1, 2, *range(size - 30, size)})
    for limit in limits:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            try:
                save_training(path, trainer)
            finally:
                os._exit(3)  # it lived
        assert os.waitpid(child, 0)[1] & 0x7F == signal.SIGXFSZ, limit
        assert path.read_bytes() == before, limit
        for left in set(path.parent.iterdir()) - {path}:
            left.unlink()


@pytest.mark.parametrize("call", ["fsync", "replace", "folder"])
def test_a_stop_around_the_renaming_leaves_one_whole_file(run, monkeypatch, call):
    trainer, path, before = run

    def stop(*_):
        raise Stopped

    names = {"fsync": (os, "fsync"), "replace": (Path, "replace")}
    if call == "folder":
        monkeypatch.setattr(checkpoint_stream, "sync_folder", stop)
    else:
        monkeypatch.setattr(*names[call], stop)
    with pytest.raises(Stopped):
        save_training(path, trainer)
    assert (path.read_bytes() == before) == (call != "folder")
    load_checkpoint(path)


# --- between two passes -------------------------------------------------------------------------


def make_trainer(backend, **options):
    ids = np.cumsum(np.random.default_rng(3).choice([1, 1, 5], 600)).astype(np.uint16) % 37
    config = TrainConfig(
        **{"batch_size": 3, "steps": 6, "grad_accum": 5, "ema": 0.9, "warmup_steps": 2, **options}
    )
    return Trainer(tiny_config(dropout=0.1), config, TokenData(ids, 12), backend)


def flat_state(trainer):
    parameters = trainer.model.parameters
    buffers = (parameters.weights, parameters.m, parameters.v, trainer.average.values)
    return [trainer.backend.to_numpy(buffer) for buffer in buffers]


@pytest.mark.parametrize("passes", [1, 3, 4])
@pytest.mark.parametrize("beside", [False, True])
def test_a_run_that_pauses_within_an_accumulation_goes_on_to_the_bit(
    backend, tmp_path, passes, beside
):
    """Losses, accuracies, weights, moments and the average are those of the undisturbed run."""
    whole, first = make_trainer(backend), make_trainer(backend)
    reports = [(report.loss, report.accuracy, report.norm) for report in whole.run()]
    found = [(report.loss, report.accuracy, report.norm) for report in first.run(2)]
    first.should_pause = lambda: first.micro_steps == passes
    assert list(first.run()) == []
    assert (first.step, first.micro_steps) == (2, passes)
    assert first.data_position == 3 * (2 * 5 + passes)
    if beside:
        with BackgroundSaver() as saver:
            saver.save(tmp_path / "run", first)
    else:
        save_training(tmp_path / "run", first)
    resumed = Trainer.from_checkpoint(tmp_path / "run", first.data, backend)
    found += [(report.loss, report.accuracy, report.norm) for report in resumed.run()]
    assert found == reports
    for one, other in zip(flat_state(whole), flat_state(resumed), strict=True):
        assert np.array_equal(one, other)
    # And the paused trainer itself may go on, too.
    first.should_pause = lambda: False
    assert [(r.loss, r.accuracy, r.norm) for r in first.run()] == reports[2:]


# --- size ---------------------------------------------------------------------------------------


def test_saving_and_loading_take_about_one_tensor_of_memory(any_backend, tmp_path, rng):
    """Measured on arrays that NumPy makes; the largest tensor is 20 MB, all of them 170 MB."""
    config = GPTConfig(20_000, 32, 256, 2, 2, 512)
    largest, chunk = 20_000 * 256 * 4, CHUNK_BYTES
    parameters = Parameters(config, any_backend, training=False)
    parameters.initialize(1)
    path = tmp_path / "weights"
    tracemalloc.start()
    try:
        save_weights(path, GPT(config, any_backend, parameters))
        saving = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        _, loaded = load_parameters(path, any_backend)
        loading = tracemalloc.get_traced_memory()[1] - before - 4 * loaded.size
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        verify_checkpoint(path)
        verifying = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert saving < 1.1 * largest
    assert loading < 1.1 * chunk
    assert verifying < 1.1 * chunk


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="wants sparse files and memory on demand")
def test_a_tensor_larger_than_4_gib(tmp_path, monkeypatch):
    """4.6 GB of zeros with a few numbers at the far end: every offset beyond 32 bits is right.

    The checksum is only a sum of lengths here, for seconds' sake; what it is has tests of its own.
    """
    monkeypatch.setattr(
        checkpoint_stream.zlib, "crc32", lambda data, crc=0: (crc + len(data)) & 0xFFFFFFFF
    )
    config = GPTConfig(1_130_000, 1, 1024, 1, 1, 1, tied=True, output_bias=False, final_norm=False)
    header = CheckpointHeader("weights", config)
    large = np.zeros((1_130_000, 1024), np.float32)  # memory that is only read takes none
    large[-1, -3:] = [1, 2, 3]
    tensors = {name: np.ones(shape, np.float32) for name, shape in header.tensor_shapes().items()
               if name != "token_embedding"}  # fmt: skip
    tensors = {"token_embedding": large, **tensors}
    path = tmp_path / "large"
    original = Path.open
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda p, mode: Sparse(original(p, mode), CHUNK_BYTES))
        save_checkpoint(path, header, tensors.items())
    assert path.stat().st_size > 1 << 32
    with path.open("rb") as file:
        read_header_from(file, path)
        ends = {
            name: (start + len(chunk), chunk[-3:].tolist())
            for name, start, chunk in read_tensors(file, header, path, header.tensor_shapes())
        }
    assert ends.pop("token_embedding") == (1_130_000 * 1024, [1, 2, 3])
    assert all(set(end) == {1} for _, end in ends.values())
