"""A model with a bias of the output, and the wider one without: the same logits."""

import doctest

import numpy as np
import pytest

from hipgpt_model import parameter_table
from hipgpt_model.interop import widen as module
from hipgpt_model.interop.widen import widen, widened

from .models import make_model, random_weights, tiny_config


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tied": True},
        {"embed_dim": 32, "num_heads": 4},
        {"num_heads": 1, "num_layers": 1},
        {"activation": "swiglu", "norm_epsilon": 0.1},
        {"embed_dim": 20, "num_heads": 5, "tied": True, "activation": "relu"},
    ],
)
def test_the_wider_model_computes_the_same(any_backend, rng, options):
    config = tiny_config(**options)
    weights = random_weights(config, rng)
    wide_config = widened(config)
    assert not wide_config.output_bias
    assert wide_config.final_norm
    wide = dict(widen(config, weights.items()))
    assert list(wide) == [spec.name for spec in parameter_table(wide_config)]
    tokens = rng.integers(0, 37, (3, 12)).astype(np.int32)
    expected = make_model(config, any_backend, weights, training=False).logits(tokens)
    logits = make_model(wide_config, any_backend, wide, training=False).logits(tokens)
    assert np.abs(logits - expected).max() < 2e-5 * np.abs(expected).max()


def test_widths():
    assert widened(tiny_config(embed_dim=128, num_heads=4)).embed_dim == 160
    assert widened(tiny_config(embed_dim=768, num_heads=12)).embed_dim == 864
    assert widened(tiny_config(embed_dim=20, num_heads=5)).embed_dim == 25


def test_what_needs_no_widening_or_cannot_have_it_is_refused():
    for options in ({"output_bias": False}, {"final_norm": False}):
        with pytest.raises(ValueError, match="only a model with a bias of the output and a final"):
            widened(tiny_config(**options))


def test_the_examples_in_docstrings_are_true():
    assert doctest.testmod(module).failed == 0
