"""The rows of a text: what the next text finds ready, and that nothing shows in what is drawn."""

import gc
import weakref

import numpy as np
import pytest

from hipgpt_model import SamplingConfig
from hipgpt_model.batch import BatchGenerator
from hipgpt_model.generate import generate
from hipgpt_model.rows import MOST_PROGRAMS, Rows

from .models import make_model, random_weights, tiny_config


@pytest.fixture
def model(backend, rng):
    config = tiny_config(max_seq_len=40)
    return make_model(config, backend, random_weights(config, rng), training=False)


def ids(model, prompt, tokens=6):
    return list(generate(model, prompt, SamplingConfig(num_tokens=tokens, temperature=0)))


def test_equal_texts_again_and_again(model):
    """Read as the ops are called, then captured, then from the graph."""
    prompts = [[1, 2, 3], [5] * 17, [4], list(range(36))]
    first = [ids(model, prompt) for prompt in prompts]
    for _ in range(3):
        assert [ids(model, prompt) for prompt in prompts] == first


def test_the_next_text_takes_the_rows_of_the_last(model):
    ids(model, [1, 2])
    kept = model.kept_rows
    assert (kept is not None) == model.backend.can_capture
    ids(model, [3])
    assert model.kept_rows is kept


def test_texts_that_are_drawn_in_turn_do_not_share_rows(model):
    alone = [ids(model, [1, 2], 8), ids(model, [7, 8, 9], 8)]
    both = [
        generate(model, prompt, SamplingConfig(num_tokens=8, temperature=0))
        for prompt in ([1, 2], [7, 8, 9])
    ]
    drawn = [[next(text) for text in both] for _ in range(8)]
    assert np.transpose(drawn).tolist() == alone


def test_a_text_that_is_given_up_leaves_clean_rows(model):
    whole = ids(model, [1, 2], 9)
    text = generate(model, [9, 9, 9], SamplingConfig(num_tokens=30, top_k=0))
    next(text)
    text.close()
    assert ids(model, [1, 2], 9) == whole


def test_changed_weights_are_seen(model, rng):
    ids(model, [1, 2])
    config = model.config
    weights = random_weights(config, rng)
    model.parameters.load(weights)
    fresh = make_model(config, model.backend, weights, training=False)
    assert ids(model, [1, 2]) == ids(fresh, [1, 2])


def test_the_memory_goes_with_the_model(model):
    rows = Rows(model, 1)
    rows.read(0, [[1, 2, 3]], model.arena)
    gone = weakref.ref(rows)
    gc.disable()
    try:
        del rows
        assert gone() is None
    finally:
        gc.enable()


def test_no_more_graphs_than_wanted_are_kept(model):
    batch = BatchGenerator(model, slots=12)
    sampling = SamplingConfig(num_tokens=1, temperature=0)
    for slot in range(12):
        batch.add([1 + slot], sampling)
        batch.settle()
    while batch.texts:
        batch.step()
    for number in range(12):
        batch._rows.read(number, [[1]], model.arena)
    assert len(batch._rows._readers) <= MOST_PROGRAMS
