"""Generation: greedy is argmax, seeds repeat, stops stop, and the context may run over."""

import numpy as np
import pytest

from hipgpt_model import SamplingConfig
from hipgpt_model.generate import generate

from .models import make_model, random_weights, tiny_config


@pytest.fixture
def model(backend, rng):
    config = tiny_config()
    return make_model(config, backend, random_weights(config, rng), training=False)


def ids(model, prompt, **sampling):
    return list(generate(model, prompt, SamplingConfig(**sampling)))


def last_logits(model, tokens):
    inputs = model.backend.from_numpy(np.array([tokens], np.int32))
    return model.backend.to_numpy(model.logits(inputs))[0, -1]


def test_greedy_is_the_argmax_of_the_logits_without_a_cache(model):
    """Also past the end of the context: position 12 is full, so the last 6 are read anew."""
    prompt = [3, 1, 4]
    context = list(prompt)
    expected = []
    for _ in range(40):
        if len(context) > 12:
            context = context[-6:]
        expected.append(int(last_logits(model, context).argmax()))
        context.append(expected[-1])
    assert ids(model, prompt, num_tokens=40, temperature=0) == expected


def test_top_k_of_one_is_greedy(model):
    greedy = ids(model, [5], num_tokens=20, temperature=0)
    assert ids(model, [5], num_tokens=20, top_k=1, seed=9) == greedy


@pytest.mark.parametrize("length", [11, 12, 13, 30])
def test_a_long_prompt_counts_with_its_last_tokens(model, length):
    prompt = [int(token) for token in np.random.default_rng(1).integers(0, 37, length)]
    first = ids(model, prompt, num_tokens=1, temperature=0)
    assert first == [int(last_logits(model, prompt[-12:]).argmax())]


def test_a_context_of_one_token(backend, rng):
    config = tiny_config(max_seq_len=1)
    model = make_model(config, backend, random_weights(config, rng), training=False)
    token = 7
    for drawn in ids(model, [7], num_tokens=5, temperature=0):
        token = int(last_logits(model, [token]).argmax())
        assert drawn == token


def test_equal_seeds_draw_equal_tokens(model):
    options = {"num_tokens": 30, "top_k": 0, "temperature": 1.5}
    assert ids(model, [1], seed=1, **options) == ids(model, [1], seed=1, **options)
    assert ids(model, [1], seed=1, **options) != ids(model, [1], seed=2, **options)


def test_draws_follow_the_softmax(model):
    """The first token of 600 seeds: χ² over the ids that are likely enough."""
    logits = last_logits(model, [2]).astype(np.float64)
    p = np.exp(logits - logits.max())
    p /= p.sum()
    counts = np.zeros(len(p))
    for seed in range(600):
        counts[ids(model, [2], num_tokens=1, top_k=0, seed=seed)] += 1
    likely = p > 0.01
    chi_squared = ((counts - 600 * p)[likely] ** 2 / (600 * p[likely])).sum()
    degrees = likely.sum()
    assert chi_squared < degrees + 5 * np.sqrt(2 * degrees)


def test_a_stop_id_ends_the_text_and_is_not_given_out(model):
    whole = ids(model, [1], num_tokens=30, temperature=0)
    stop = whole[4]
    assert (
        ids(model, [1], num_tokens=30, temperature=0, stop_ids=frozenset([stop]))
        == (whole[: whole.index(stop)])
    )


def test_the_repetition_penalty_knows_prompt_and_output(model):
    """Greedy, by hand: logits of every id that occurred are divided, or multiplied below 0."""
    tokens = [1, 2, 3]
    for _ in range(9):
        logits = last_logits(model, tokens)
        seen = sorted(set(tokens))
        logits[seen] = np.where(logits[seen] > 0, logits[seen] / 1.7, logits[seen] * 1.7)
        tokens.append(int(logits.argmax()))
    drawn = ids(model, [1, 2, 3], num_tokens=9, temperature=0, repetition_penalty=1.7)
    assert drawn == tokens[3:]
    assert drawn != ids(model, [1, 2, 3], num_tokens=9, temperature=0)


def test_number_of_tokens(model):
    assert len(ids(model, [1], num_tokens=17)) == 17
    assert ids(model, [1], num_tokens=0) == []


def test_tokens_come_one_by_one(model):
    stream = generate(model, [1], SamplingConfig(num_tokens=10**9))
    assert 0 <= next(stream) < 37


def test_bad_prompts_are_refused_at_the_call(model):
    with pytest.raises(ValueError, match="the prompt is empty"):
        generate(model, [], SamplingConfig())
    for bad in (-1, 37):
        with pytest.raises(ValueError, match=f"id {bad} at position 1"):
            generate(model, [0, bad], SamplingConfig())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_tokens", -1),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("top_k", -1),
        ("top_p", 0),
        ("top_p", 1.1),
        ("min_p", -0.1),
        ("min_p", 2),
        ("repetition_penalty", 0),
        ("seed", -1),
        ("seed", 2**64),
    ],
)
def test_sampling_refuses(field, value):
    with pytest.raises(ValueError, match=f"^{field} must be"):
        SamplingConfig(**{field: value})
