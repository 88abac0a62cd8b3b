"""AdamW over the flat buffers against the formula, tensor by tensor, in float64."""

import math

import numpy as np
import pytest

from hipgpt_model import AdamW, Parameters, TrainConfig

from .models import random_weights, tiny_config


@pytest.mark.parametrize("clip", [0.0, 1.0, 1e6])
def test_steps_are_the_formula(backend, rng, clip):
    config = TrainConfig(clip=clip, weight_decay=0.2)
    model = tiny_config()
    parameters = Parameters(model, backend, training=True)
    weights = random_weights(model, rng)
    parameters.load(weights)
    optimizer = AdamW(parameters, config)
    expected = {name: array.astype(np.float64) for name, array in weights.items()}
    m = {name: np.zeros(array.shape) for name, array in weights.items()}
    v = {name: np.zeros(array.shape) for name, array in weights.items()}

    for step in (1, 2, 3):
        gradients = random_weights(model, rng)
        for name, gradient in gradients.items():
            backend.copy(parameters.gradient(name), gradient)
        norm = float(backend.to_numpy(optimizer.step(0.01 * step, step)))

        exact_norm = math.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradients.values()))
        assert norm == pytest.approx(exact_norm, rel=1e-6)
        shrink = min(1, clip / (exact_norm + 1e-6)) if clip else 1
        for spec in parameters.table:
            name = spec.name
            gradient = shrink * gradients[name].astype(np.float64)
            m[name] = config.beta1 * m[name] + (1 - config.beta1) * gradient
            v[name] = config.beta2 * v[name] + (1 - config.beta2) * gradient**2
            m_hat = m[name] / (1 - config.beta1**step)
            v_hat = v[name] / (1 - config.beta2**step)
            decay = config.weight_decay * expected[name] if len(spec.shape) == 2 else 0
            expected[name] -= 0.01 * step * (m_hat / (np.sqrt(v_hat) + config.epsilon) + decay)
            now = backend.to_numpy(parameters[name])
            assert np.abs(now - expected[name]).max() < 1e-5, name

    assert not backend.to_numpy(parameters.gradients).any()


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_gradient_that_is_not_finite_changes_nothing_and_is_gone(backend, rng, bad):
    model = tiny_config()
    parameters = Parameters(model, backend, training=True)
    parameters.load(random_weights(model, rng))
    before = backend.to_numpy(parameters.weights)
    backend.fill(parameters.gradients, 1.0)
    backend.fill(parameters.gradient("output.bias"), bad)
    norm = AdamW(parameters, TrainConfig()).step(0.1, 1)
    assert not np.isfinite(float(backend.to_numpy(norm)))
    assert np.array_equal(backend.to_numpy(parameters.weights), before)
    for buffer in (parameters.m, parameters.v, parameters.gradients):
        assert not backend.to_numpy(buffer).any()
