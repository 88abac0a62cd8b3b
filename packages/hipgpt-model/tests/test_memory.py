"""The estimates against what the arena and the buffers really take."""

from dataclasses import replace

import numpy as np
import pytest

from hipgpt_model import (
    GPT,
    GPTConfig,
    Parameters,
    TokenData,
    TrainConfig,
    Trainer,
    generation_bytes,
    training_bytes,
)
from hipgpt_model.memory import available_bytes, run_bytes, shortage, smaller_runs

from .models import VARIANTS, losses_and_gradients, random_batch, tiny_config


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("variant", VARIANTS)
def test_training_takes_what_was_said(any_backend, rng, variant, dropout):
    config = tiny_config(**VARIANTS[variant], dropout=dropout)
    for B, T, logits_bytes, anew in (
        (4, 12, 1 << 28, False),
        (2, 5, 1 << 28, True),
        (16, 12, 4000, False),
        (16, 12, 4000, True),
    ):
        parameters = Parameters(config, any_backend, training=True)
        parameters.initialize(1)
        model = GPT(
            config,
            any_backend,
            parameters,
            logits_bytes=logits_bytes,
            checkpoint_activations=anew,
        )
        losses_and_gradients(model, *random_batch(config, rng, B, T))
        said = training_bytes(config, B, T, logits_bytes=logits_bytes, checkpoint_activations=anew)
        assert said["activations"] == model.arena.high_water
        assert said["weights"] == said["gradients"] == parameters.weights.nbytes
        assert said["moments"] == parameters.m.nbytes + parameters.v.nbytes


@pytest.mark.parametrize("variant", VARIANTS)
def test_generation_takes_what_was_said(any_backend, variant):
    config = tiny_config(**VARIANTS[variant])
    for B in (1, 3):
        model = GPT(config, any_backend, Parameters(config, any_backend, training=False))
        cache = model.new_cache(B)
        model.forward_cached(any_backend.from_numpy(np.zeros((B, 12), np.int32)), cache)
        said = generation_bytes(config, B)
        assert said["activations"] == model.arena.high_water
        assert said["key-value cache"] == pytest.approx(
            sum(array.nbytes for array in (*cache.keys, *cache.values)), rel=0.2
        )


def test_later_steps_take_no_more(any_backend, rng):
    config = GPTConfig(300)
    parameters = Parameters(config, any_backend, training=True)
    parameters.initialize(1)
    model = GPT(config, any_backend, parameters)
    inputs, targets = random_batch(config, rng, 8)
    losses_and_gradients(model, inputs, targets)
    high_water = model.arena.high_water
    for _ in range(3):
        losses_and_gradients(model, inputs, targets)
    assert model.arena.high_water == high_water
    assert model.arena.capacity < 1.01 * high_water + 4096


class Stub:
    """A backend that has so much memory, and its kind of chunks."""

    chunk_bytes, chunk_rows, column_multiple, overlaps = 1 << 30, 256, 64, True

    def __init__(self, free, *, can_capture=True):
        self.can_capture = can_capture
        self._free = free

    def memory_info(self):
        return self._free, 2 * self._free


def test_gpt2_fits_in_what_pytorch_takes():
    """124M, 32 rows of 1024, bf16: PyTorch 2.11 takes 17.7 GB on an H200."""
    config = GPTConfig(50257, 1024, 768, 12, 12, 3072, tied=True, output_bias=False)
    training = TrainConfig(batch_size=32, dtype="bf16")
    needed = run_bytes(config, training, 1024, Stub(0))
    assert 12e9 < sum(needed.values()) < 15e9
    anew = replace(training, checkpoint_activations=True)
    assert sum(run_bytes(config, anew, 1024, Stub(0)).values()) < 6.5e9


def test_a_running_average_takes_the_weights_once_more():
    plain, averaged = (
        run_bytes(GPTConfig(300), TrainConfig(ema=ema), 32, Stub(0)) for ema in (0.0, 0.9)
    )
    assert averaged == {**plain, "running average": plain["weights"]}


def test_low_precision_takes_about_half(any_backend):
    config = GPTConfig(300, 64)
    full, low = (training_bytes(config, 8, dtype=dtype) for dtype in ("float32", "bf16"))
    assert 0.5 < low["activations"] / full["activations"] < 0.52  # statistics stay float32
    assert low["weights"] == full["weights"] * 1.5
    assert generation_bytes(config, dtype="bf16")["weights"] == full["weights"] / 2


@pytest.mark.parametrize("gigabytes", [40, 16, 8, 6])
def test_smaller_runs_fit_and_train_on_the_same_rows(gigabytes):
    config = GPTConfig(50257, 1024, 768, 12, 12, 3072, tied=True, output_bias=False)
    training = TrainConfig(batch_size=64, grad_accum=2)
    backend = Stub(gigabytes * 10**9)
    runs = smaller_runs(config, training, 1024, backend, available_bytes(backend))
    assert runs
    for run in runs:
        assert run.batch_size * run.grad_accum == 128
        assert sum(run_bytes(config, run, 1024, backend).values()) <= gigabytes * 10**9
    message = shortage(run_bytes(config, training, 1024, backend), 16 << 30, runs)
    assert "activations" in message
    assert f"batch_size={runs[-1].batch_size}" in message


def test_nothing_fits_where_the_weights_do_not():
    config = GPTConfig(50257, 1024, 768, 12, 12, 3072)
    backend = Stub(1 << 30, can_capture=False)
    assert available_bytes(backend) == 2 << 30
    assert smaller_runs(config, TrainConfig(), 1024, backend, 1 << 30) == []
    needed = run_bytes(config, TrainConfig(), 1024, backend)
    assert "a smaller model" in shortage(needed, 1 << 30, [])


def test_a_trainer_says_what_does_not_fit(any_backend, monkeypatch):
    monkeypatch.setattr(type(any_backend), "memory_info", lambda _: (1 << 22, 1 << 22))
    data = TokenData(np.zeros(600, np.uint16), 12)
    with pytest.raises(MemoryError, match=r"activations .* GiB\) and 0.00 GiB are free"):
        Trainer(tiny_config(), TrainConfig(batch_size=512), data, any_backend)


@pytest.mark.parametrize(("dtype", "of_one", "shared"), [("float32", 16, 8), ("bf16", 18, 12)])
def test_ranks_share_out_what_only_the_optimizer_needs(dtype, of_one, shared):
    """Bytes a parameter as docs/distributed.md has them: the shared ones over the ranks."""
    config = GPTConfig(50257, 1024, 768, 12, 12, 3072, tied=True, output_bias=False)
    parts = "weights", "gradients", "moments"
    for owners in (1, 4):
        needed = run_bytes(config, TrainConfig(dtype=dtype), 1024, Stub(1 << 40), owners)
        each = sum(needed[part] for part in parts) / config.num_parameters()
        assert each == pytest.approx(of_one - shared + shared / owners, rel=1e-2)
