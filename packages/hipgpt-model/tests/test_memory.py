"""The estimates against what the arena and the buffers really take."""

import numpy as np
import pytest

from hipgpt_model import GPT, GPTConfig, Parameters, generation_bytes, training_bytes

from .models import VARIANTS, losses_and_gradients, random_batch, tiny_config


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("variant", VARIANTS)
def test_training_takes_what_was_said(any_backend, rng, variant, dropout):
    config = tiny_config(**VARIANTS[variant], dropout=dropout)
    for B, T, logits_bytes in ((4, 12, 1 << 28), (2, 5, 1 << 28), (16, 12, 4000)):
        parameters = Parameters(config, any_backend, training=True)
        parameters.initialize(1)
        model = GPT(config, any_backend, parameters, logits_bytes=logits_bytes)
        losses_and_gradients(model, *random_batch(config, rng, B, T))
        said = training_bytes(config, B, T, logits_bytes=logits_bytes)
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
