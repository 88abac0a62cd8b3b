"""The table, the flat buffers and the initial values."""

import itertools
import math

import numpy as np
import pytest

from hipgpt_kernels.philox import philox4x32
from hipgpt_model import GPTConfig, Parameters, parameter_table
from hipgpt_model.flat_layout import ALIGNMENT
from hipgpt_model.parameters import normal_numbers

from .models import random_weights, tiny_config


def test_the_table_of_a_default_block():
    names = {spec.name: (spec.shape, spec.decay) for spec in parameter_table(GPTConfig(50))}
    assert names["blocks.1.attention.qkv.weight"] == ((384, 128), True)
    assert names["blocks.1.feed_forward.down.weight"] == ((128, 256), True)
    assert names["blocks.0.norm1.weight"] == ((128,), False)
    assert names["output.bias"] == ((50,), False)
    assert len(names) == 2 + 2 * 12 + 2 + 2


def test_options_change_the_table():
    names = {spec.name: spec.shape for spec in parameter_table(tiny_config(activation="swiglu"))}
    assert names["blocks.0.feed_forward.up.weight"] == (80, 24)
    assert names["blocks.0.feed_forward.down.weight"] == (24, 40)
    tied = {spec.name for spec in parameter_table(tiny_config(tied=True))}
    assert "output.weight" not in tied
    assert "output.bias" in tied
    assert "final_norm.weight" not in {
        s.name for s in parameter_table(tiny_config(final_norm=False))
    }


def test_decayed_tensors_come_first_and_all_are_aligned(any_backend):
    parameters = Parameters(tiny_config(), any_backend, training=True)
    parameters.initialize(0)
    assert parameters.decayed.stop == parameters.undecayed.start
    assert parameters.undecayed.stop == len(parameters.weights)
    base = parameters.weights.ctypes.data
    for spec in parameters.table:
        offset, rest = divmod(parameters[spec.name].ctypes.data - base, 4)
        assert rest == 0
        assert offset % ALIGNMENT == 0
        part = parameters.decayed if spec.decay else parameters.undecayed
        assert part.start <= offset < part.stop
        assert spec.decay == (len(spec.shape) == 2)


def test_views_share_memory_and_padding_stays_zero(any_backend):
    parameters = Parameters(tiny_config(), any_backend, training=True)
    for name in parameters.names():
        parameters[name][...] = 1
        parameters.gradient(name)[...] = 1
    count = parameters.config.num_parameters()
    assert parameters.weights.sum() == count == parameters.gradients.sum()
    assert len(parameters.weights) > count  # there is padding to speak of


def test_first_values_have_their_distributions(any_backend):
    config = GPTConfig(2000, embed_dim=64, num_layers=8, ff_dim=128)
    parameters = Parameters(config, any_backend, training=False)
    parameters.initialize(5)
    for spec in parameters.table:
        values = parameters[spec.name]
        if spec.initial == "normal":
            small = spec.name.endswith(("attention.output.weight", "down.weight"))
            std = 0.02 / math.sqrt(16) if small else 0.02
            assert spec.std == std
            error = std / math.sqrt(spec.size)  # of the mean; of the deviation it is 1/√2 of that
            assert abs(values.mean()) < 5 * error
            assert abs(values.std() - std) < 5 * error
        else:
            assert (values == (spec.initial == "ones")).all()


def test_normal_numbers_are_normal():
    """Moments, tails and neighbours of a million numbers, within five standard errors."""
    numbers = normal_numbers(1, 2, 0, 1_000_000).astype(np.float64)
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((numbers**power).mean() - moment) < 5 * math.sqrt(variance / 1e6)
    assert abs((np.abs(numbers) > 1.959964).mean() - 0.05) < 5 * math.sqrt(0.05 * 0.95 / 1e6)
    assert abs((numbers[1:] * numbers[:-1]).mean()) < 5e-3


def test_normal_numbers_do_not_depend_on_how_they_are_cut():
    whole = normal_numbers(7, 3, 0, 1003)
    pieces = [normal_numbers(7, 3, start, min(100, 1003 - start)) for start in range(0, 1003, 100)]
    assert np.array_equal(np.concatenate(pieces), whole)


def test_first_values_depend_on_seed_and_name_only(any_backend):
    """More layers or another vocabulary change no other tensor but for its scale."""
    small = Parameters(tiny_config(num_layers=1), any_backend, training=False)
    large = Parameters(tiny_config(num_layers=3, tied=True), any_backend, training=False)
    small.initialize(3)
    large.initialize(3)
    for name in ("token_embedding", "blocks.0.attention.qkv.weight", "position_embedding"):
        assert np.array_equal(small[name], large[name])
    qkv = [large[f"blocks.{i}.attention.qkv.weight"] for i in range(3)]
    assert not np.array_equal(qkv[0], qkv[1])
    large.initialize(4)
    assert not np.array_equal(small["token_embedding"], large["token_embedding"])


def test_first_values_are_box_and_muller_of_philox():
    """By hand, from the words; and stored, so that a seed means the same model for ever."""
    word = philox4x32(np.zeros(1, np.uint64), 1337, 1 << 56)[0].tolist()
    expected = []
    for one, two in ((word[0], word[1]), (word[2], word[3])):
        radius = math.sqrt(-2 * math.log((one + 1) / 2**32))
        angle = 2 * math.pi * two / 2**32
        expected += [radius * math.cos(angle), radius * math.sin(angle)]
    assert normal_numbers(1337, 1 << 56, 0, 4) == pytest.approx(expected, rel=1e-6)
    assert expected == pytest.approx([0.44479805, -1.3803728, -1.2863163, -0.6860402], rel=1e-6)


def test_round_trip_by_name(any_backend, rng):
    config = tiny_config()
    weights = random_weights(config, rng)
    parameters = Parameters(config, any_backend, training=False)
    parameters.load(weights)
    returned = parameters.to_dict()
    assert list(returned) == list(weights)
    assert all(np.array_equal(returned[name], weights[name]) for name in weights)


def test_load_refuses_before_it_changes_anything(any_backend, rng):
    config = tiny_config()
    parameters = Parameters(config, any_backend, training=False)
    weights = random_weights(config, rng)
    last = list(weights)[-1]
    for wrong, message in (
        ({n: w for n, w in weights.items() if n != last}, f"{last} is missing"),
        ({**weights, "extra": weights[last]}, "no tensor extra"),
        ({**weights, last: weights[last][1:]}, f"{last} has shape"),
        ({**weights, last: weights[last].astype(np.float64)}, f"{last} is float64"),
    ):
        with pytest.raises(ValueError, match=message):
            parameters.load(wrong)
    assert not parameters.weights.any()


def test_inference_parameters_have_no_gradients(any_backend):
    parameters = Parameters(tiny_config(), any_backend, training=False)
    with pytest.raises(ValueError, match="training=True"):
        parameters.gradient("token_embedding")


def test_rows_of_ids_have_room_for_a_multiple(any_backend, monkeypatch):
    """As a GPU wants it; nothing else about the parameters changes."""
    plain = Parameters(tiny_config(), any_backend, training=True)
    monkeypatch.setattr(type(any_backend), "column_multiple", 64)
    parameters = Parameters(tiny_config(), any_backend, training=True)
    for one in (plain, parameters):
        one.initialize(3)
    assert plain.size < parameters.size
    for name, values in plain.items():
        assert np.array_equal(parameters[name], values)
    for name, shape in (("token_embedding", (64, 24)), ("output.bias", (64,))):
        padded = parameters.padded(parameters.weights, name)
        assert padded.shape == shape
        assert np.array_equal(padded[:37], plain[name])
        assert not padded[37:].any()
    spans = sorted(parameters.span(name) for name in parameters.names())
    assert all(one[1] == two[0] for one, two in itertools.pairwise(spans))
    assert spans[-1][1] == parameters.size
