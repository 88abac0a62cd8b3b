"""The whole model against a naive one in float64, its gradients against finite differences."""

import contextlib

import numpy as np
import pytest

from hipgpt_model import GPT, Parameters, training_bytes

from . import naive_gpt
from .models import (
    VARIANTS,
    losses_and_gradients,
    make_model,
    random_batch,
    random_weights,
    tiny_config,
)

FLOAT32 = 2e-5
"""Largest error of logits and losses, relative to their size: some hundred roundings of 6e-8."""

DIFFERENCE_STEP = 1e-5
"""Of central differences in float64: truncation and rounding both stay below 1e-8."""


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_and_losses_are_the_naive_ones(backend, rng, variant):
    config = tiny_config(**VARIANTS[variant])
    weights = random_weights(config, rng)
    model = make_model(config, backend, weights, training=False)
    for B, T in ((3, 12), (1, 1), (2, 7)):
        inputs, targets = random_batch(config, rng, B, T)
        logits = backend.to_numpy(model.logits(backend.from_numpy(inputs)))
        expected = naive_gpt.logits(config, weights, inputs)
        assert np.abs(logits - expected).max() < FLOAT32 * np.abs(expected).max()
        hits = backend.empty((B * T,))
        losses = model.loss(backend.from_numpy(inputs), backend.from_numpy(targets), correct=hits)
        expected_losses = naive_gpt.losses(config, weights, inputs, targets)
        assert np.abs(backend.to_numpy(losses) - expected_losses).max() < FLOAT32 * 10
        guesses = expected.argmax(axis=-1).ravel()
        assert np.array_equal(backend.to_numpy(hits), guesses == targets.ravel())


@pytest.mark.parametrize("dropout", [0.0, 0.25])
@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_are_finite_differences(backend, rng, variant, dropout):
    """Along random directions in each tensor, of the naive model's mean loss in float64."""
    config = tiny_config(**VARIANTS[variant], dropout=dropout)
    weights = random_weights(config, rng)
    model = make_model(config, backend, weights)
    inputs, targets = random_batch(config, rng, 2, 7)
    targets[0, 2] = -1  # does not count
    losses, gradients = losses_and_gradients(model, inputs, targets, seed=11, stream=5)
    drop = (11, 5) if dropout else None
    expected = naive_gpt.losses(config, weights, inputs, targets, dropout=drop)
    assert np.abs(losses - expected).max() < FLOAT32 * 10

    def slope(name, direction):
        def loss(step):
            moved = {**weights, name: weights[name] + step * direction}
            return naive_gpt.losses(config, moved, inputs, targets, dropout=drop).mean()

        return (loss(DIFFERENCE_STEP) - loss(-DIFFERENCE_STEP)) / (2 * DIFFERENCE_STEP)

    for name, gradient in gradients.items():
        direction = rng.standard_normal(gradient.shape)
        along = float((gradient * direction).sum())
        size = float(np.linalg.norm(gradient) * np.linalg.norm(direction))
        assert abs(along - slope(name, direction)) < 2e-5 * size + 1e-7, name


@pytest.mark.parametrize("variant", ["default", "seed"])
def test_chunks_of_logits_change_nothing_but_rounding(backend, rng, variant):
    config = tiny_config(**VARIANTS[variant])
    weights = random_weights(config, rng)
    inputs, targets = random_batch(config, rng, 3, 11)
    whole = make_model(config, backend, weights)
    pieces = make_model(config, backend, weights, logits_bytes=5 * 37 * 4)  # 5 of 33 rows
    expected, expected_gradients = losses_and_gradients(whole, inputs, targets)
    losses, gradients = losses_and_gradients(pieces, inputs, targets)
    assert losses == pytest.approx(expected, rel=1e-5)
    for name, gradient in gradients.items():
        error = np.abs(gradient - expected_gradients[name]).max()
        assert error < 1e-5 * np.abs(expected_gradients[name]).max() + 1e-7, name
    on_device = [backend.from_numpy(array) for array in (inputs, targets)]
    assert backend.to_numpy(pieces.loss(*on_device)) == pytest.approx(expected, rel=1e-5)


def test_gradients_accumulate(backend, rng):
    """Two passes of half the batch leave the gradient of the whole."""
    config = tiny_config()
    model = make_model(config, backend, random_weights(config, rng))
    inputs, targets = random_batch(config, rng, 4)
    _, whole = losses_and_gradients(model, inputs, targets)
    backend.fill(model.parameters.gradients, 0.0)
    losses = backend.empty((2 * config.max_seq_len,))
    for half in (slice(0, 2), slice(2, 4)):
        model.forward_backward(
            backend.from_numpy(inputs[half]),
            backend.from_numpy(targets[half]),
            scale=1 / inputs.size,
            losses=losses,
        )
    for name, expected in whole.items():
        gradient = backend.to_numpy(model.parameters.gradient(name))
        assert np.abs(gradient - expected).max() < 1e-5 * np.abs(expected).max() + 1e-7, name


def test_no_logit_sees_a_later_token(backend, rng):
    config = tiny_config()
    model = make_model(config, backend, random_weights(config, rng), training=False)
    inputs, _ = random_batch(config, rng, 2)
    before = backend.to_numpy(model.logits(backend.from_numpy(inputs)))
    for t in range(config.max_seq_len):
        changed = inputs.copy()
        changed[:, t] = (changed[:, t] + 1) % config.vocab_size
        after = backend.to_numpy(model.logits(backend.from_numpy(changed)))
        assert np.array_equal(after[:, :t], before[:, :t])
        assert not np.array_equal(after[:, t], before[:, t])


@pytest.mark.parametrize("pieces", [[12], [1] * 12, [5, 1, 1, 3, 2], [11, 1]])
@pytest.mark.parametrize("variant", ["default", "gpt2", "swiglu", "seed"])
def test_the_cache_changes_nothing(backend, rng, variant, pieces):
    """Prefill, one by one, or in pieces: the last logits are those of the whole."""
    config = tiny_config(**VARIANTS[variant])
    model = make_model(config, backend, random_weights(config, rng), training=False)
    inputs, _ = random_batch(config, rng, 3)
    whole = backend.to_numpy(model.logits(backend.from_numpy(inputs)))
    cache = model.new_cache(3)
    for piece in pieces:
        tokens = np.ascontiguousarray(inputs[:, cache.length : cache.length + piece])
        last = backend.to_numpy(model.forward_cached(backend.from_numpy(tokens), cache))
        expected = whole[:, cache.length - 1]
        assert np.abs(last - expected).max() < FLOAT32 * np.abs(whole).max()


def test_equal_calls_give_equal_bits(backend, rng):
    config = tiny_config(dropout=0.1)
    weights = random_weights(config, rng)
    inputs, targets = random_batch(config, rng, 3)
    runs = [
        losses_and_gradients(make_model(config, backend, weights), inputs, targets, stream=3)
        for _ in range(2)
    ]
    assert np.array_equal(runs[0][0], runs[1][0])
    assert all(np.array_equal(runs[0][1][name], runs[1][1][name]) for name in weights)


def test_dropout_differs_between_passes_and_is_off_in_evaluation(backend, rng):
    config = tiny_config(dropout=0.5)
    weights = random_weights(config, rng)
    model = make_model(config, backend, weights)
    inputs, targets = random_batch(config, rng)
    first, _ = losses_and_gradients(model, inputs, targets, seed=1, stream=0)
    other_pass, _ = losses_and_gradients(model, inputs, targets, seed=1, stream=1)
    other_seed, _ = losses_and_gradients(model, inputs, targets, seed=2, stream=0)
    assert not np.array_equal(first, other_pass)
    assert not np.array_equal(first, other_seed)
    losses = model.loss(backend.from_numpy(inputs), backend.from_numpy(targets))
    expected = naive_gpt.losses(config, weights, inputs, targets)
    assert np.abs(backend.to_numpy(losses) - expected).max() < FLOAT32 * 10


def test_what_does_not_fit_is_refused(backend, rng):
    config = tiny_config()
    model = make_model(config, backend, random_weights(config, rng), training=False)
    long = backend.from_numpy(np.zeros((1, 13), np.int32))
    with pytest.raises(ValueError, match="13 tokens in a row are more than max_seq_len, 12"):
        model.logits(long)
    with pytest.raises(ValueError, match=r"\(B, T\) int32"):
        model.logits(backend.from_numpy(np.zeros((1, 4), np.int64)))
    with pytest.raises(ValueError, match=r"\(B, T\) int32"):
        model.logits(backend.from_numpy(np.zeros(4, np.int32)))
    cache = model.new_cache(1)
    model.forward_cached(backend.from_numpy(np.zeros((1, 7), np.int32)), cache)
    with pytest.raises(ValueError, match="holds 7 of at most 12 tokens; 6 more do not fit"):
        model.forward_cached(backend.from_numpy(np.zeros((1, 6), np.int32)), cache)
    assert cache.length == 7
    with pytest.raises(ValueError, match="load it with training=True"):
        model.forward_backward(long, long, scale=1.0, losses=backend.empty((13,)))


def test_parameters_of_another_configuration_are_refused(any_backend):
    parameters = Parameters(tiny_config(), any_backend, training=False)
    with pytest.raises(ValueError, match="made for GPTConfig"):
        GPT(tiny_config(tied=True), any_backend, parameters)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("variant", VARIANTS)
def test_weight_gradients_beside_all_else_are_the_same_bits(
    any_backend, rng, monkeypatch, variant, dropout
):
    """The order in which a backend that overlaps may do things, on one that does not."""
    config = tiny_config(**VARIANTS[variant], dropout=dropout)
    model = make_model(config, any_backend, random_weights(config, rng))
    batch = random_batch(config, rng)
    _, plain = losses_and_gradients(model, *batch, seed=3, stream=2)
    monkeypatch.setattr(type(any_backend), "overlaps", True, raising=False)
    late = []  # what is given to `beside` is done when it is joined: as late as may be
    original = any_backend.linear_backward_weight

    def delayed(*arguments):
        late.append(arguments)

    @contextlib.contextmanager
    def beside():
        token = len(late)
        monkeypatch.setattr(any_backend, "linear_backward_weight", delayed, raising=False)
        yield token
        monkeypatch.setattr(any_backend, "linear_backward_weight", original, raising=False)

    def join(token):
        original(*late[token])

    monkeypatch.setattr(any_backend, "beside", beside, raising=False)
    monkeypatch.setattr(any_backend, "join", join, raising=False)
    _, overlapped = losses_and_gradients(model, *batch, seed=3, stream=2)
    for name, gradient in plain.items():
        assert np.array_equal(gradient, overlapped[name]), name
    assert len(late) == 4 * config.num_layers + 1
    B, T = batch[0].shape
    said = training_bytes(config, B, T, overlaps=True)
    assert model.arena.high_water == said["activations"]
