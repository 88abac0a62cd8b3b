"""Perplexity over a text: every token once, whatever the windows."""

import math

import numpy as np
import pytest

from hipgpt_model import perplexity, score

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


def test_progress_ends_with_everything_done(model):
    seen = []
    perplexity(model, np.zeros(12 * 700, np.uint16), progress=lambda *now: seen.append(now))
    assert seen[-1] == (700, 700)
    assert len(seen) > 1


def test_bits_per_byte_count_bytes_and_not_tokens(model):
    report = perplexity(model, np.arange(30).astype(np.uint16))
    assert report.bits_per_byte(100) == pytest.approx(report.loss * 29 / math.log(2) / 100)


@pytest.mark.parametrize("sizes", [[(1, 1)], [(3, 2), (1, 9), (12, 1), (30, 4), (2, 12), (5, 5)]])
def test_a_continuation_scores_as_it_does_alone(model, rng, sizes):
    """In any company, and with as much of its context as fits."""
    weights, S = model.parameters.to_dict(), 12
    requests = [
        (rng.integers(0, 37, a).tolist(), rng.integers(0, 37, b).tolist()) for a, b in sizes
    ]
    for (context, continuation), found in zip(requests, score(model, requests), strict=True):
        text = np.array((context + continuation)[-(S + 1) :])
        losses = naive_gpt.losses(model.config, weights, text[None, :-1], text[None, 1:])
        expected = -losses[-len(continuation) :].sum()
        assert found.log_likelihood == pytest.approx(expected, rel=1e-5)


def test_greedy_is_every_token_the_likeliest(model):
    context = [3, 1, 4]
    text = list(context)
    for _ in range(5):
        logits = model.backend.to_numpy(model.logits(model.backend.from_numpy(np.int32([text]))))
        text.append(int(logits[0, -1].argmax()))
    greedy = text[3:]
    other = [*greedy[:-1], (greedy[-1] + 1) % 37]
    results = score(model, [(context, greedy), (context, other), (context, greedy[:2])])
    assert [result.greedy for result in results] == [True, False, True]


def test_many_requests_come_back_in_order(any_backend, rng):
    """More than go into one batch."""
    config = tiny_config(num_layers=1)
    model = make_model(config, any_backend, random_weights(config, rng), training=False)
    requests = [(rng.integers(0, 37, 1 + i % 7).tolist(), [i % 37]) for i in range(1200)]
    seen = []
    together = score(model, requests, lambda *now: seen.append(now))
    assert len(seen) > 1
    assert seen[-1] == (1200, 1200)
    for number in (0, 1, 7, 600, 1199):
        (alone,) = score(model, [requests[number]])
        assert together[number].log_likelihood == pytest.approx(alone.log_likelihood, rel=1e-5)


def test_bad_requests_are_refused(model):
    assert score(model, []) == []
    for request, message in (
        (([], [1]), "the context of request 0 is empty"),
        (([1], []), "the continuation of request 0 is empty"),
        (([1], [1] * 13), "13 tokens, more than the model sees at once, 12"),
    ):
        with pytest.raises(ValueError, match=message):
            score(model, [request])
