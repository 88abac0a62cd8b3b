"""Perplexity over a text: every token once, whatever the windows."""

import math

import numpy as np
import pytest

from hipgpt_model import perplexity

from . import naive_gpt
from .models import make_model, random_weights, tiny_config


@pytest.fixture
def model(backend, rng):
    config = tiny_config()
    return make_model(config, backend, random_weights(config, rng), training=False)


def naive(model, tokens, stride):
    """Each target predicted from its window, alone, in float64."""
    weights = model.parameters.to_dict()
    S, total, count, predicted, start = model.config.max_seq_len, 0.0, 0, 0, 0
    while predicted < len(tokens) - 1:
        text = tokens[start : start + S + 1].astype(int)
        losses = naive_gpt.losses(model.config, weights, text[None, :-1], text[None, 1:])
        new = losses[predicted - start :]
        total, count, predicted = total + new.sum(), count + len(new), start + len(losses)
        start += stride
    return total / count, count


@pytest.mark.parametrize("stride", [None, 12, 5, 1])
@pytest.mark.parametrize("N", [2, 12, 13, 14, 60])
def test_it_is_the_mean_over_every_token(model, rng, stride, N):
    tokens = rng.integers(0, 37, N).astype(np.uint16)
    report = perplexity(model, tokens, stride)
    loss, count = naive(model, tokens, stride or 12)
    assert report.tokens == count == N - 1
    assert report.loss == pytest.approx(loss, rel=1e-5)
    assert report.perplexity == pytest.approx(math.exp(loss), rel=1e-4)
    assert 0 <= report.accuracy <= 1


def test_many_batches_of_windows(any_backend, rng):
    """More tokens than go into one batch."""
    config = tiny_config(num_layers=1)
    model = make_model(config, any_backend, random_weights(config, rng), training=False)
    tokens = rng.integers(0, 37, 12 * 400 + 5).astype(np.uint32)
    assert perplexity(model, tokens).tokens == len(tokens) - 1


def test_bad_input_is_refused(model):
    with pytest.raises(ValueError, match="got 1 tokens"):
        perplexity(model, np.zeros(1, np.uint16))
    with pytest.raises(ValueError, match="0 … 36"):
        perplexity(model, np.array([1, 37], np.uint16))
    for stride in (0, 13):
        with pytest.raises(ValueError, match="stride must be 1 … 12"):
            perplexity(model, np.zeros(5, np.uint16), stride)
