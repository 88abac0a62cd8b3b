"""A new run with the weights of an old one."""

from dataclasses import replace

import numpy as np
import pytest

from hipgpt_kernels import load_backend
from hipgpt_model import GPTConfig, TokenData, TrainConfig, Trainer, save_training, save_weights
from hipgpt_model.checkpoint_header import CheckpointError
from hipgpt_model.gpt import GPT
from hipgpt_model.parameters import Parameters
from hipgpt_model.warm_start import warm_start

CONFIG = GPTConfig(vocab_size=40, max_seq_len=8, embed_dim=16, num_layers=2, num_heads=2, ff_dim=24)
IDS = np.tile(np.arange(40, dtype=np.uint16), 20)


@pytest.fixture
def backend():
    return load_backend("cpu")


def weights_of(backend, seed=3, config=CONFIG):
    parameters = Parameters(config, backend, training=False)
    parameters.initialize(seed)
    return parameters


def make_trainer(backend, config=CONFIG, parameters=None, **options):
    training = TrainConfig(batch_size=2, warmup_steps=0, **{"steps": 3, **options})
    return Trainer(config, training, TokenData(IDS, config.max_seq_len), backend, parameters)


def test_the_weights_are_the_files_and_the_moments_are_new(backend, tmp_path):
    old = make_trainer(backend)
    list(old.run())
    save_training(tmp_path / "old", old)
    begun = warm_start(tmp_path / "old", CONFIG, backend)
    for name, value in old.model.parameters.to_dict().items():
        np.testing.assert_array_equal(begun.to_dict()[name], value, err_msg=name)
    for moments in (begun.m, begun.v):
        assert not backend.to_numpy(moments).any()


def test_a_run_begun_so_equals_one_begun_with_the_same_parameters(backend, tmp_path):
    """Bit for bit: there is nothing else that the file has brought along."""
    save_weights(tmp_path / "old", GPT(CONFIG, backend, weights_of(backend)), step=77)
    ready = Parameters(CONFIG, backend, training=True)
    ready.load(weights_of(backend).to_dict())
    begun = make_trainer(backend, parameters=warm_start(tmp_path / "old", CONFIG, backend))
    expected = make_trainer(backend, parameters=ready)
    assert begun.step == 0
    assert [r.loss for r in begun.run()] == [r.loss for r in expected.run()]


def test_the_running_average_is_taken_where_there_is_one(backend, tmp_path):
    old = make_trainer(backend, ema=0.9)
    list(old.run())
    save_training(tmp_path / "old", old)
    begun = backend.to_numpy(warm_start(tmp_path / "old", CONFIG, backend).weights)
    np.testing.assert_array_equal(begun, backend.to_numpy(old.average.values))


def test_a_shorter_model_takes_the_first_positions(backend, tmp_path):
    save_weights(tmp_path / "old", GPT(CONFIG, backend, weights_of(backend)))
    short = replace(CONFIG, max_seq_len=5, dropout=0.25)
    begun, old = warm_start(tmp_path / "old", short, backend), weights_of(backend).to_dict()
    for name, value in begun.to_dict().items():
        np.testing.assert_array_equal(value, old[name][: len(value)], err_msg=name)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"max_seq_len": 9}, "max_seq_len must be at most the 8"),
        ({"embed_dim": 32}, "embed_dim must be the weights' own, 16; got 32"),
        ({"tied": True}, "tied must be the weights' own, False; got True"),
    ],
)
def test_another_shape_is_refused(backend, tmp_path, change, sentence):
    save_weights(tmp_path / "old", GPT(CONFIG, backend, weights_of(backend)))
    with pytest.raises(ValueError, match=sentence):
        warm_start(tmp_path / "old", replace(CONFIG, **change), backend)


def test_another_tokenizer_and_a_file_cut_short_are_refused(backend, tmp_path):
    path = tmp_path / "old"
    save_weights(path, GPT(CONFIG, backend, weights_of(backend)), tokenizer_fingerprint="ab" * 32)
    with pytest.raises(CheckpointError, match="use the tokenizer"):
        warm_start(path, CONFIG, backend, tokenizer="cd" * 32)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CheckpointError):
        warm_start(path, CONFIG, backend)
