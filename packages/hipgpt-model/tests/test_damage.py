"""6,000 damaged checkpoints and configurations: refused in a sentence, or the same as before.

No crash, no hang, no memory beyond what the file could fill, and above all no wrong load.
"""

import time
import tracemalloc
import zlib

import msgpack
import numpy as np
import pytest

from hipgpt_model import (
    CheckpointError,
    GPTConfig,
    TokenData,
    TrainConfig,
    Trainer,
    load_checkpoint,
    load_model,
    save_training,
)
from hipgpt_model.checkpoint import CheckpointHeader, load_training
from hipgpt_model.checkpoint_convert import convert_checkpoint

from .damage import damaged, forged

MODEL = GPTConfig(3, 2, 2, 1, 1, 1, tied=True, output_bias=False, final_norm=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Path and bytes of a small training checkpoint with everything, and of its weights alone."""
    from hipgpt_kernels import load_backend

    folder = tmp_path_factory.mktemp("damage")
    ids = np.arange(90, dtype=np.uint16) % 3
    config = TrainConfig(batch_size=2, steps=9, grad_accum=3, ema=0.9, eval_every=0)
    trainer = Trainer(MODEL, config, TokenData(ids, 2), load_backend("cpu"))
    list(trainer.run(2))
    trainer.should_pause = lambda: trainer.micro_steps == 2
    list(trainer.run())
    assert (trainer.step, trainer.micro_steps) == (2, 2)
    save_training(folder / "training", trainer, "c0ffee", metrics={"loss": 1.5})
    convert_checkpoint(folder / "training", folder / "weights", storage="bf16")
    return {name: (folder / name).read_bytes() for name in ("training", "weights")}


class Watch:
    """Time and memory of many small things; none may take more than the limits.

    But twice: keys of maps go into Python's own table of strings, which grows by megabytes at once.
    """

    def __init__(self, seconds, nbytes):
        self.seconds, self.nbytes, self._growths = seconds, nbytes, 0

    def __enter__(self):
        tracemalloc.start()
        return self

    def __exit__(self, *_):
        tracemalloc.stop()

    def begin(self):
        tracemalloc.reset_peak()
        self._before, self._began = tracemalloc.get_traced_memory()[0], time.perf_counter()

    def end(self, what):
        taken = tracemalloc.get_traced_memory()[1] - self._before
        self._growths += taken >= self.nbytes
        assert taken < self.nbytes or self._growths <= 2, f"{what} took {taken} bytes"
        assert time.perf_counter() - self._began < self.seconds, f"{what} hung"


def refusal(path):
    """What is said of a file that is no good. (pytest.raises takes memory of its own.)"""
    try:
        load_checkpoint(path)
    except CheckpointError as error:
        return str(error)
    return "accepted"


def same(tensors, others):
    return tensors.keys() == others.keys() and all(
        tensors[name].tobytes() == others[name].tobytes() for name in tensors
    )


@pytest.mark.parametrize("kind", ["training", "weights"])
def test_damaged_checkpoints_are_refused(files, tmp_path, kind):
    """1,500 of each kind; a checksum covers every byte, so nothing may load."""
    path, raw = tmp_path / "file", files[kind]
    with Watch(seconds=2, nbytes=40 * len(raw) + 200_000) as watch:
        for seed in range(1500):
            path.write_bytes(damaged(raw, seed))
            watch.begin()
            message = refusal(path)
            watch.end(f"damage {seed}")
            assert message.startswith(str(path)), seed
            assert len(message) < 1000, seed
    path.write_bytes(raw)
    assert load_checkpoint(path)[0].kind == kind


def test_forged_headers_are_refused_or_believed_to_the_letter(files, tmp_path, any_backend):
    """1,500 headers changed in one thing, with the checksum made to fit."""
    path, raw = tmp_path / "file", files["training"]
    unpacker = msgpack.Unpacker()
    unpacker.feed(raw)
    header = unpacker.unpack()
    rest = raw[unpacker.tell() + 5 :]
    _, tensors = (path.write_bytes(raw), load_checkpoint(path))[1]
    believed = 0
    with Watch(seconds=2, nbytes=40 * len(raw) + 200_000) as watch:
        for seed in range(1500):
            values = forged(header, seed)
            packed = msgpack.packb(values)
            path.write_bytes(packed + b"\xce" + zlib.crc32(packed).to_bytes(4, "big") + rest)
            watch.begin()
            try:
                found, loaded = load_checkpoint(path)
            except CheckpointError as error:
                assert len(str(error)) < 1000, seed  # noqa: PT017
            else:
                believed += 1
                assert found.to_bytes() == packed or found.to_dict() == values, seed
                assert same(loaded, tensors), seed
            watch.end(f"forgery {seed}")
    assert 10 < believed < 500


def test_a_forged_run_is_refused_or_goes_on(files, tmp_path, any_backend):
    """What a header may say without contradicting itself must not crash who believes it."""
    path, raw = tmp_path / "file", files["training"]
    unpacker = msgpack.Unpacker()
    unpacker.feed(raw)
    header = unpacker.unpack()
    rest = raw[unpacker.tell() + 5 :]
    data = TokenData(np.arange(90, dtype=np.uint16) % 3, 2)
    for seed in range(300):
        packed = msgpack.packb(forged(header, seed))
        path.write_bytes(packed + b"\xce" + zlib.crc32(packed).to_bytes(4, "big") + rest)
        try:
            _, state = load_training(path, any_backend)
            Trainer.from_checkpoint(path, data, any_backend)
        except CheckpointError:
            continue
        assert state.parameters.config.num_parameters() > 0
        load_model(path, any_backend)


@pytest.mark.parametrize("config", [GPTConfig(7), TrainConfig()], ids=["model", "training"])
def test_forged_configurations_are_refused_or_kept(config):
    """750 of each kind; whatever is accepted comes back as it was given."""
    values = config.to_dict()
    accepted = 0
    for seed in range(750):
        changed = forged(values, seed)
        try:
            made = type(config).from_dict(changed)
        except ValueError:
            continue
        accepted += 1
        for name, value in made.to_dict().items():  # an integer may stand for a float
            assert value == changed[name] or value == float(changed[name]), (seed, name)
        assert not any(value != value for value in made.to_dict().values()), seed
    assert 20 < accepted < 400


def test_every_forged_configuration_that_is_accepted_can_be_saved():
    for seed in range(500):
        try:
            config = TrainConfig.from_dict(forged(TrainConfig().to_dict(), seed))
        except ValueError:
            continue
        data = {"row": 1}
        header = CheckpointHeader("training", GPTConfig(7), config, 0, 0, data, dtype=config.dtype)
        assert header.to_bytes()
