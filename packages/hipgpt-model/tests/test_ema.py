"""The running average: its formula, that it is what is evaluated, saved and generated with."""

import numpy as np
import pytest

from hipgpt_model import (
    CheckpointError,
    TokenData,
    TrainConfig,
    Trainer,
    load_model,
    load_parameters,
    save_training,
)
from hipgpt_model.checkpoint import load_checkpoint
from hipgpt_model.checkpoint_convert import convert_checkpoint

from .models import tiny_config


def make_trainer(backend, ema=0.9, **options):
    ids = np.cumsum(np.random.default_rng(3).choice([1, 1, 5], 600)).astype(np.uint16) % 37
    config = TrainConfig(
        **{"batch_size": 4, "steps": 20, "warmup_steps": 2, "learning_rate": 0.01, **options},
        ema=ema,
    )
    return Trainer(tiny_config(), config, TokenData(ids, 12), backend)


def weights_of(trainer):
    return trainer.backend.to_numpy(trainer.model.parameters.weights)


def test_it_follows_the_formula(backend):
    trainer = make_trainer(backend, ema=0.5)
    expected = weights_of(trainer).astype(np.float64)
    average = trainer.average.values
    for step in range(1, 6):
        trainer.step_report()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weights_of(trainer)
    np.testing.assert_allclose(backend.to_numpy(average), expected, rtol=1e-5, atol=1e-7)


def test_training_itself_is_not_touched(backend):
    one, other = make_trainer(backend, ema=0.9), make_trainer(backend, ema=0.0)
    assert other.average is None
    for trainer in (one, other):
        list(trainer.run(5))
        trainer.evaluate()
        list(trainer.run(5))
    assert np.array_equal(weights_of(one), weights_of(other))


def test_evaluation_uses_it_and_leaves_both_as_they_were(backend):
    trainer = make_trainer(backend)
    list(trainer.run(10))
    weights, average = weights_of(trainer), backend.to_numpy(trainer.average.values)
    with trainer.averaged():
        assert np.array_equal(weights_of(trainer), average)
        inside = trainer._evaluate()
    assert trainer.evaluate() == inside
    assert trainer._evaluate() != inside
    assert np.array_equal(weights_of(trainer), weights)
    assert np.array_equal(backend.to_numpy(trainer.average.values), average)


def test_an_error_inside_puts_the_weights_back(any_backend):
    trainer = make_trainer(any_backend)
    list(trainer.run(3))
    weights = weights_of(trainer)
    with pytest.raises(KeyboardInterrupt), trainer.averaged():
        raise KeyboardInterrupt
    assert np.array_equal(weights_of(trainer), weights)


@pytest.mark.parametrize("stop", [1, 7])
def test_a_resumed_run_has_the_same_average(backend, tmp_path, stop):
    whole, first = make_trainer(backend), make_trainer(backend)
    list(whole.run())
    list(first.run(stop))
    save_training(tmp_path / "run", first)
    resumed = Trainer.from_checkpoint(tmp_path / "run", first.data, backend)
    list(resumed.run())
    assert np.array_equal(weights_of(resumed), weights_of(whole))
    averages = [backend.to_numpy(trainer.average.values) for trainer in (resumed, whole)]
    assert np.array_equal(*averages)


def test_a_checkpoint_gives_either(any_backend, tmp_path):
    trainer = make_trainer(any_backend)
    list(trainer.run(10))
    path = tmp_path / "run"
    save_training(path, trainer)
    average = trainer.average.values

    def loaded(**options):
        return load_model(path, any_backend, **options).parameters.weights

    assert np.array_equal(loaded(), average)  # what evaluation saw
    assert np.array_equal(loaded(weights="ema"), average)
    assert np.array_equal(loaded(weights="model"), weights_of(trainer))
    _, parameters = load_parameters(path, any_backend, training=True)
    assert np.array_equal(parameters.weights, weights_of(trainer))
    _, parameters = load_parameters(path, any_backend, training=True, weights="ema")
    assert np.array_equal(parameters.weights, average)
    assert not parameters.m.any()


def test_conversion_takes_the_choice(any_backend, tmp_path):
    trainer = make_trainer(any_backend)
    list(trainer.run(10))
    save_training(tmp_path / "run", trainer)
    tensors = load_checkpoint(tmp_path / "run")[1]
    for weights, prefix in (("model", ""), ("ema", "ema/"), (None, "ema/")):
        made = convert_checkpoint(tmp_path / "run", tmp_path / "made", weights=weights)
        header, found = load_checkpoint(tmp_path / "made")
        assert header == made
        assert (header.kind, header.weights) == ("weights", "ema" if prefix else "model")
        assert all(np.array_equal(found[name], tensors[prefix + name]) for name in found)
    with pytest.raises(CheckpointError, match="the running average of the weights alone, not the"):
        load_model(tmp_path / "made", any_backend, weights="model")
    save_training(tmp_path / "run", make_trainer(any_backend, ema=0.0))
    with pytest.raises(CheckpointError, match="kept no running average"):
        load_model(tmp_path / "run", any_backend, weights="ema")
