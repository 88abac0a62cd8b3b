"""Training on a GPU: as on the CPU, captured as it is written, in each precision.

They run in the emulator too (see conftest.py); the models are as small as they can be for that.
"""

import numpy as np
import pytest

from hipgpt_model import GPTConfig, Parameters, TokenData, TrainConfig, Trainer, save_training

pytestmark = pytest.mark.gpu

STEPS = 3


def make_trainer(backend, *, graph=True, dropout=0.0, **options):
    ids = (np.cumsum(np.random.default_rng(3).choice([1, 1, 1, 5], 600)) % 37).astype(np.uint16)
    model = GPTConfig(37, 12, 24, 1, 3, 40, dropout=dropout)
    options = {"batch_size": 2, "steps": STEPS, "warmup_steps": 2, "learning_rate": 0.01, **options}
    return Trainer(model, TrainConfig(**options), TokenData(ids, 12), backend, graph=graph)


def figures(trainer):
    return [(report.loss, report.accuracy, report.norm) for report in trainer.run()]


def weights(trainer):
    """Weights and moments without what pads them, which is the backend's own affair."""
    parameters = trainer.model.parameters
    return [
        np.concatenate(
            [
                trainer.backend.to_numpy(parameters.view(buffer, name)).ravel()
                for name in parameters.names()
            ]
        )
        for buffer in (parameters.weights, parameters.m, parameters.v)
    ]


@pytest.mark.parametrize(
    "options",
    [{}, {"grad_accum": 2, "dropout": 0.2, "ema": 0.9}],
    ids=["plain", "everything"],
)
def test_float32_steps_are_the_cpu_s_to_rounding(hip, any_backend, options):
    ours, theirs = (make_trainer(backend, **options) for backend in (hip, any_backend))
    assert np.array(figures(ours)) == pytest.approx(np.array(figures(theirs)), rel=2e-6)
    for one, other in zip(weights(ours), weights(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4 * np.abs(other).max())


@pytest.mark.parametrize("dtype", ["float32", "bf16", "fp16"])
@pytest.mark.parametrize("accum", [1, 2])
def test_the_graph_changes_no_bit(hip, dtype, accum):
    options = {"dtype": dtype, "grad_accum": accum, "dropout": 0.1, "steps": 4}
    captured, plain = (make_trainer(hip, graph=graph, **options) for graph in (True, False))
    assert figures(captured) == figures(plain)
    for one, other in zip(weights(captured), weights(plain), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(("dtype", "tolerance"), [("bf16", 1e-3), ("fp16", 1e-4)])
def test_low_precision_stays_near_float32(hip, any_backend, dtype, tolerance):
    """Losses differ by what 8 and 11 bits of mantissa leave, over 288 tokens and one layer."""
    ours = np.array(figures(make_trainer(hip, dtype=dtype)))
    theirs = np.array(figures(make_trainer(any_backend)))
    assert ours[:, 0] == pytest.approx(theirs[:, 0], rel=tolerance)
    assert ours[:, 2] == pytest.approx(theirs[:, 2], rel=20 * tolerance)


def test_the_low_copy_follows_the_masters(hip):
    trainer = make_trainer(hip, dtype="bf16")
    parameters = trainer.model.parameters
    for _ in range(2):
        rounded = hip.to_numpy(hip.convert(parameters.weights, parameters.compute_dtype))
        assert np.array_equal(hip.to_numpy(parameters.low), rounded)
        list(trainer.run())


def test_an_fp16_run_finds_its_loss_scale(hip):
    """Far too large a scale overflows; it halves at each step until the gradient is finite."""
    trainer = make_trainer(hip, dtype="fp16", steps=12)
    hip.fill(trainer.optimizer.control[:1], 2.0**24)
    reports = list(trainer.run())
    assert reports[0].skipped
    assert not reports[-1].skipped
    assert hip.to_numpy(trainer.optimizer.control)[0] < 2.0**24
    assert reports[-1].loss < reports[0].loss


@pytest.mark.parametrize("dtype", ["float32", "fp16"])
def test_a_resumed_run_is_the_uninterrupted_one(hip, tmp_path, dtype):
    options = {"dtype": dtype, "grad_accum": 2, "dropout": 0.1, "steps": 4}
    whole, first = make_trainer(hip, **options), make_trainer(hip, **options)
    expected = figures(whole)
    assert [(r.loss, r.accuracy, r.norm) for r in first.run(2)] == expected[:2]
    save_training(tmp_path / "run", first)
    resumed = Trainer.from_checkpoint(tmp_path / "run", first.data, hip)
    assert figures(resumed) == expected[2:]
    for one, other in zip(weights(whole), weights(resumed), strict=True):
        assert np.array_equal(one, other)


def test_a_corpus_on_the_host_gives_the_same_bits(hip, monkeypatch):
    resident = make_trainer(hip)
    monkeypatch.setattr("hipgpt_model.data_feed.PART_OF_FREE_MEMORY", 0.0)
    sent = make_trainer(hip)
    assert sent._passes.feed.tokens is None
    assert figures(resident) == figures(sent)


def test_inference_in_low_precision_keeps_the_low_copy_alone(hip):
    config = GPTConfig(37, 12, 24, 1, 3, 40)
    parameters = Parameters(config, hip, training=False, dtype="bf16")
    parameters.initialize(1)
    with pytest.raises(ValueError, match="no float32 weights"):
        _ = parameters.weights
    full = Parameters(config, hip, training=False)
    full.initialize(1)
    for name, values in full.items():
        rounded = hip.to_numpy(hip.convert(hip.from_numpy(values), parameters.compute_dtype))
        assert np.array_equal(hip.to_numpy(parameters[name]), rounded)
