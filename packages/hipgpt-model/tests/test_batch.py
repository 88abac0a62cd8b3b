"""Several texts at once: each is what it would be alone, whatever its neighbours do."""

import numpy as np
import pytest

from hipgpt_model import SamplingConfig
from hipgpt_model.batch import BatchGenerator
from hipgpt_model.generate import generate, generate_batch, slots_that_fit

from .models import VARIANTS, make_model, random_weights, tiny_config


@pytest.fixture
def model(backend, rng):
    config = tiny_config()
    return make_model(config, backend, random_weights(config, rng), training=False)


def prompts_of(rng, lengths):
    return [[int(one) for one in rng.integers(0, 37, length)] for length in lengths]


def alone(model, prompt, sampling):
    return list(generate(model, prompt, sampling))


@pytest.mark.parametrize("name", VARIANTS)
def test_rows_are_what_they_are_alone(backend, rng, name):
    """Prompts of 1 … 20 tokens for a context of 12, more of them than slots; greedy and drawn."""
    config = tiny_config(**VARIANTS[name])
    model = make_model(config, backend, random_weights(config, rng), training=False)
    prompts = prompts_of(rng, [1, 7, 3, 12, 20])
    samplings = [
        SamplingConfig(num_tokens=9, temperature=0),
        SamplingConfig(num_tokens=25, top_k=0, seed=3),
        SamplingConfig(num_tokens=4, top_k=7, temperature=1.3, seed=4),
        SamplingConfig(num_tokens=13, top_p=0.8, top_k=0, seed=5),
        SamplingConfig(num_tokens=14, repetition_penalty=1.4, min_p=0.02, seed=6),
    ]
    texts = dict(generate_batch(model, prompts, samplings, slots=3))
    assert sorted(texts) == [0, 1, 2, 3, 4]
    for number, text in texts.items():
        assert text.ids == alone(model, prompts[number], samplings[number]), number
        assert text.ended == "length"


def test_one_sampling_for_all_gives_each_its_seed(model):
    sampling = SamplingConfig(num_tokens=20, top_k=0, temperature=2.0, seed=2**64 - 2)
    texts = dict(generate_batch(model, [[1]] * 4, sampling))
    for number, seed in enumerate([2**64 - 2, 2**64 - 1, 0, 1]):
        own = SamplingConfig(num_tokens=20, top_k=0, temperature=2.0, seed=seed)
        assert texts[number].ids == alone(model, [1], own)
    assert len({tuple(text.ids) for text in texts.values()}) == 4


def test_a_stop_id_ends_its_row_alone(model, rng):
    prompts = prompts_of(rng, [2, 5])
    greedy = SamplingConfig(num_tokens=30, temperature=0)
    whole = [alone(model, prompt, greedy) for prompt in prompts]
    stop = whole[0][3]
    stopped = SamplingConfig(num_tokens=30, temperature=0, stop_ids=frozenset([stop]))
    texts = dict(generate_batch(model, prompts, [stopped, greedy]))
    assert texts[0].ids == whole[0][: whole[0].index(stop)]
    assert texts[0].ended == "stop"
    assert texts[1].ids == whole[1]


def test_texts_come_and_go(model, rng):
    """A text is added, another removed and its slot used again, while others go on."""
    a, b, c = prompts_of(rng, [3, 4, 2])
    long = SamplingConfig(num_tokens=40, top_k=0, seed=1)
    batch = BatchGenerator(model, slots=2)
    assert (batch.add(a, long), batch.free, batch.texts) == (0, 1, 1)
    got = {"a": [], "b": [], "c": []}
    names = {0: "a"}

    def step(count):
        for _ in range(count):
            for drawn in batch.step():
                got[names[drawn.slot]].append(drawn.token)

    step(5)
    names[batch.add(b, long)] = "b"
    with pytest.raises(ValueError, match="all 2 slots are taken"):
        batch.add(c, long)
    step(12)
    batch.remove(1)
    names[batch.add(c, long)] = "c"
    while batch.texts:
        step(1)
    assert got["a"] == alone(model, a, long)
    assert got["c"] == alone(model, c, long)
    assert got["b"] == alone(model, b, long)[: len(got["b"])]
    assert len(got["b"]) >= 4
    assert batch.step() == []


def test_logits_are_what_the_next_token_is_drawn_from(model):
    batch = BatchGenerator(model, slots=2)
    sampling = SamplingConfig(num_tokens=6, temperature=0)
    batch.add([5], SamplingConfig(num_tokens=9, temperature=0))
    slot = batch.add([1, 2, 3], sampling)
    ids = [1, 2, 3]
    for _ in range(5):
        inputs = model.backend.from_numpy(np.array([ids], np.int32))
        expected = model.backend.to_numpy(model.logits(inputs))[0, -1]
        np.testing.assert_allclose(batch.logits(slot), expected, rtol=2e-4, atol=2e-4)
        ids += [drawn.token for drawn in batch.step(ahead=1) if drawn.slot == slot]
    assert ids[3:] == alone(model, [1, 2, 3], sampling)[:5]


def test_not_finite_logits_are_refused(model):
    weights = model.parameters.to_dict()
    weights["output.bias"][:] = np.nan
    model.parameters.load(weights)
    batch = BatchGenerator(model, slots=2)
    batch.add([1], SamplingConfig(num_tokens=3))
    with pytest.raises(FloatingPointError, match="not finite"):
        batch.step()
    assert batch.texts == 0


def test_bad_arguments_are_refused_at_the_call(model):
    with pytest.raises(ValueError, match="slots must be at least 1; got 0"):
        BatchGenerator(model, slots=0)
    with pytest.raises(ValueError, match="2 prompts and 1 samplings"):
        generate_batch(model, [[1], [2]], [SamplingConfig()])
    with pytest.raises(ValueError, match="the prompt is empty"):
        generate_batch(model, [[1], []], SamplingConfig())
    with pytest.raises(ValueError, match="num_tokens must be at least 1"):
        BatchGenerator(model, slots=1).add([1], SamplingConfig(num_tokens=0))


def test_no_tokens_and_no_prompts(model):
    assert list(generate_batch(model, [], SamplingConfig())) == []
    texts = dict(generate_batch(model, [[1], [2]], SamplingConfig(num_tokens=0)))
    assert [texts[number].ids for number in (0, 1)] == [[], []]


def test_slots_that_fit(model):
    assert 1 <= slots_that_fit(model) <= 64
