"""Training: it learns, repeats itself to the bit, resumes to the bit, says what went wrong."""

import math

import numpy as np
import pytest

from hipgpt_model import (
    CheckpointError,
    GPTConfig,
    Parameters,
    TokenData,
    TrainConfig,
    Trainer,
    learning_rate,
    save_training,
    save_weights,
)
from hipgpt_model.train import LOST_UPDATES

from .models import losses_and_gradients, make_model, random_batch, random_weights, tiny_config


def tiny_text(N=600, V=37):
    """Ids with something to learn: each is often the one before plus one."""
    rng = np.random.default_rng(3)
    steps = rng.choice([1, 1, 1, 5], N)
    return (np.cumsum(steps) % V).astype(np.uint16)


def make_trainer(backend, *, model=None, text=None, T=12, parameters=None, **options):
    report_every = options.pop("report_every", 1)
    training = TrainConfig(
        **{"batch_size": 4, "steps": 10, "warmup_steps": 3, "seed": 5, **options}
    )
    return Trainer(
        model or tiny_config(),
        training,
        TokenData(tiny_text() if text is None else text, T),
        backend,
        parameters,
        report_every=report_every,
    )


def weights_of(trainer):
    parameters = trainer.model.parameters
    return [
        trainer.backend.to_numpy(buffer)
        for buffer in (parameters.weights, parameters.m, parameters.v)
    ]


PLAIN = [
    3.6281266, 3.5734675, 3.5132757, 3.5058801, 3.3686494,
    3.2861994, 3.1948316, 3.2068884, 3.1120486, 3.0360166,
]  # fmt: skip
EVERYTHING = [
    3.6110196, 3.6104420, 3.6076994, 3.6002556, 3.5795296,
    3.5702466, 3.5409254, 3.5144973, 3.4611534, 3.4175966,
]  # fmt: skip
"""Losses of ten steps. Every backend must meet them; NumPy and compiled code agree to 1e-8."""


@pytest.mark.parametrize(
    ("options", "training", "stored"),
    [
        ({}, {}, PLAIN),
        (
            {"activation": "swiglu", "tied": True, "dropout": 0.1, "final_norm": False},
            {"grad_accum": 3, "clip": 0.1, "schedule": "linear"},
            EVERYTHING,
        ),
    ],
    ids=["plain", "everything"],
)
def test_ten_steps_give_ten_stored_losses(backend, options, training, stored):
    trainer = make_trainer(backend, model=tiny_config(**options), learning_rate=0.01, **training)
    losses = [report.loss for report in trainer.run()]
    assert losses == pytest.approx(stored, rel=1e-6)


def test_a_tiny_batch_is_memorised(backend):
    """One training window a step, always the same: the loss goes to nearly 0."""
    text = np.random.default_rng(0).integers(0, 37, 26).astype(np.uint16)
    trainer = make_trainer(
        backend, text=text, batch_size=1, steps=200, learning_rate=0.01, weight_decay=0.0
    )
    reports = list(trainer.run())
    assert reports[0].loss > 3
    assert reports[-1].loss < 0.01
    assert reports[-1].accuracy == 1


def test_it_generalises_where_there_is_something_to_learn(backend):
    """Held-out loss approaches the text's entropy, 0.56 nats, from the 3.6 of a guess."""
    trainer = make_trainer(
        backend, text=tiny_text(20_000), batch_size=16, steps=150, learning_rate=0.01
    )
    before = trainer.evaluate()
    list(trainer.run())
    after = trainer.evaluate()
    assert before.loss == pytest.approx(math.log(37), abs=0.05)
    assert 0.5 < after.loss < 0.7
    assert after.accuracy > 0.7
    assert after.perplexity == pytest.approx(math.exp(after.loss))


def test_the_same_seed_gives_the_same_bits_twice(backend):
    model = tiny_config(dropout=0.1)
    runs = [make_trainer(backend, model=model, grad_accum=2) for _ in range(2)]
    reports = [[report.loss for report in trainer.run()] for trainer in runs]
    assert reports[0] == reports[1]
    for one, two in zip(*map(weights_of, runs), strict=True):
        assert np.array_equal(one, two)
    other = make_trainer(backend, model=model, grad_accum=2, seed=6)
    assert [report.loss for report in other.run()] != reports[0]


@pytest.mark.parametrize("stop", [1, 4, 7])
def test_a_resumed_run_is_the_uninterrupted_one(backend, tmp_path, stop):
    """To the bit: in the middle of an epoch, with dropout, accumulation and evaluations between."""
    options = {"model": tiny_config(dropout=0.2), "grad_accum": 3, "batch_size": 5}
    whole = make_trainer(backend, **options)
    losses = [report.loss for report in whole.run()]
    assert 0 < whole.data_position % whole.data.train_windows

    first = make_trainer(backend, **options)
    head = [report.loss for report in first.run(stop)]
    first.evaluate()
    save_training(tmp_path / "run", first, "abc")
    resumed = Trainer.from_checkpoint(
        tmp_path / "run", TokenData(tiny_text(), 12), backend, tokenizer="abc"
    )
    assert resumed.step == stop
    assert head + [report.loss for report in resumed.run()] == losses
    for one, two in zip(weights_of(whole), weights_of(resumed), strict=True):
        assert np.array_equal(one, two)


def test_gradients_of_several_passes_are_those_of_one(backend):
    """grad_accum batches of B are one batch of grad_accum · B, but for rounding."""
    one = make_trainer(backend, batch_size=8)
    many = make_trainer(backend, batch_size=2, grad_accum=4)
    for large, small in zip(one.run(3), many.run(3), strict=True):
        assert small.loss == pytest.approx(large.loss, rel=1e-5)
        assert small.norm == pytest.approx(large.norm, rel=1e-4)
        assert small.tokens == large.tokens == large.step * 8 * 12


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("final_norm", [True, False])
def test_checkpointed_activations_change_no_bit(backend, dropout, final_norm):
    model = tiny_config(dropout=dropout, final_norm=final_norm)
    kept, anew = (
        make_trainer(backend, model=model, steps=4, checkpoint_activations=value)
        for value in (False, True)
    )
    assert [report.loss for report in kept.run()] == [report.loss for report in anew.run()]
    for one, two in zip(weights_of(kept), weights_of(anew), strict=True):
        assert np.array_equal(one, two)
    assert anew.model.arena.high_water < kept.model.arena.high_water


def test_the_cpu_says_that_it_computes_in_float32(any_backend):
    with pytest.raises(ValueError, match="the CPU computes in float32 and not in bf16"):
        make_trainer(any_backend, dtype="bf16")


def test_reports_say_what_was_done(backend):
    trainer = make_trainer(backend, steps=7, report_every=3)
    reports = list(trainer.run())
    assert [report.step for report in reports] == [1, 2, 3, 4, 5, 6, 7]
    assert [report.loss is not None for report in reports] == [False, False, True] * 2 + [True]
    for report in reports:
        assert report.steps == 7
        assert report.learning_rate == learning_rate(report.step - 1, trainer.config)
        assert (report.norm is None) == (report.accuracy is None) == (report.loss is None)
        assert report.tokens_per_s > 0
        assert not report.skipped
    assert reports[-1].elapsed_s > reports[0].elapsed_s > 0
    assert not list(trainer.run())


def test_reporting_changes_no_bits(backend):
    often, seldom = (make_trainer(backend, report_every=every) for every in (1, 100))
    list(often.run())
    list(seldom.run())
    for one, two in zip(weights_of(often), weights_of(seldom), strict=True):
        assert np.array_equal(one, two)


def test_the_loss_reported_is_the_batch_loss(backend):
    trainer = make_trainer(backend)
    data = trainer.data
    starts = data.train_batch(0, 4, 5)
    rows = np.stack([data.tokens[start : start + 13] for start in starts]).astype(np.int32)
    weights = trainer.model.parameters.to_dict()
    model = make_model(trainer.model.config, backend, weights)
    losses, _ = losses_and_gradients(
        model, np.ascontiguousarray(rows[:, :-1]), np.ascontiguousarray(rows[:, 1:])
    )
    assert trainer.step_report().loss == pytest.approx(losses.mean(), rel=1e-6)


def test_evaluations_repeat_and_leave_training_alone(backend):
    trainer = make_trainer(backend)
    list(trainer.run(2))
    before = weights_of(trainer)
    first, second = trainer.evaluate(), trainer.evaluate()
    assert first == second
    assert first.tokens == trainer.data.validation_windows * 12
    for one, two in zip(before, weights_of(trainer), strict=True):
        assert np.array_equal(one, two)


def test_evaluation_is_due():
    class Stub:
        evaluation_due = Trainer.evaluation_due

        def __init__(self, step, every):
            self.step = step
            self.config = TrainConfig(steps=10, eval_every=every)

    assert [Stub(step, 4).evaluation_due for step in (1, 4, 5, 8, 10)] == [
        False, True, False, True, True,
    ]  # fmt: skip
    assert [Stub(step, 0).evaluation_due for step in (1, 4, 10)] == [False, False, True]


def test_a_lost_update_is_reported_and_ten_in_a_row_end_training(backend):
    trainer = make_trainer(backend, steps=50, report_every=2)
    list(trainer.run(2))
    before = weights_of(trainer)
    gain = trainer.model.parameters["final_norm.weight"]
    kept = trainer.backend.to_numpy(gain)
    trainer.backend.fill(gain, np.inf)
    with np.errstate(all="ignore"):
        reports = list(trainer.run(2))
        assert [report.skipped for report in reports] == [False, True]
        assert not math.isfinite(reports[-1].norm)
        with pytest.raises(FloatingPointError, match="10 steps in a row, up to step 12"):
            list(trainer.run())
    trainer.backend.copy(gain, kept)
    for one, two in zip(before, weights_of(trainer), strict=True):
        assert np.array_equal(one, two)


def test_a_lost_update_now_and_then_is_no_reason_to_stop(any_backend):
    trainer = make_trainer(any_backend, steps=50)
    gain = trainer.model.parameters["final_norm.weight"]
    kept = gain.copy()
    with np.errstate(all="ignore"):
        for _ in range(2):
            gain[...] = np.inf
            assert all(report.skipped for report in trainer.run(LOST_UPDATES - 1))
            gain[...] = kept
            assert not trainer.step_report().skipped


def test_a_step_that_was_interrupted_cannot_be_saved(any_backend, tmp_path, monkeypatch):
    trainer = make_trainer(any_backend, grad_accum=2)
    list(trainer.run(1))

    def interrupt(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer.optimizer, "step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        trainer.step_report()
    with pytest.raises(RuntimeError, match="interrupt between two reports"):
        save_training(tmp_path / "run", trainer)
    with pytest.raises(RuntimeError, match="half way"):
        trainer.step_report()
    assert not (tmp_path / "run").exists()


def test_resuming_refuses_what_would_not_be_the_same_run(any_backend, tmp_path):
    trainer = make_trainer(any_backend)
    path = tmp_path / "run"
    save_training(path, trainer, "abc")
    other = tiny_text()
    other[7] += 1
    with pytest.raises(CheckpointError, match="trained on other data"):
        Trainer.from_checkpoint(path, TokenData(other, 12), any_backend)
    with pytest.raises(CheckpointError, match="rows of 11"):
        Trainer.from_checkpoint(path, TokenData(tiny_text(), 11), any_backend)
    with pytest.raises(CheckpointError, match="tokenizer abc, but the one in use is xyz"):
        Trainer.from_checkpoint(path, trainer.data, any_backend, tokenizer="xyz")
    save_weights(path, trainer.model)
    with pytest.raises(CheckpointError, match="holds the weights only"):
        Trainer.from_checkpoint(path, trainer.data, any_backend)


def test_a_resumed_run_may_go_on_for_longer(any_backend, tmp_path):
    trainer = make_trainer(any_backend)
    list(trainer.run())
    save_training(tmp_path / "run", trainer)
    longer = TrainConfig(**{**trainer.config.to_dict(), "steps": 12})
    resumed = Trainer.from_checkpoint(
        tmp_path / "run", trainer.data, any_backend, train_config=longer
    )
    assert [report.step for report in resumed.run()] == [11, 12]


def test_training_goes_on_from_given_weights(any_backend, rng):
    config = tiny_config()
    parameters = Parameters(config, any_backend, training=True)
    parameters.load(random_weights(config, rng))
    before = parameters.weights.copy()
    trainer = make_trainer(any_backend, parameters=parameters)
    assert np.array_equal(trainer.model.parameters.weights, before)


def test_what_does_not_fit_together_is_refused(any_backend):
    with pytest.raises(ValueError, match="rows of 20 tokens, but the model's max_seq_len is 12"):
        make_trainer(any_backend, T=20)
    with pytest.raises(ValueError, match="the id 36, but vocab_size is 30"):
        make_trainer(any_backend, model=tiny_config(vocab_size=30))
    with pytest.raises(ValueError, match="report_every"):
        make_trainer(any_backend, report_every=0)
    with pytest.raises(ValueError, match="training=True"):
        make_trainer(any_backend, parameters=Parameters(tiny_config(), any_backend, training=False))
    with pytest.raises(ValueError, match="made for GPTConfig"):
        make_trainer(any_backend, parameters=Parameters(GPTConfig(37), any_backend, training=True))


def test_shorter_rows_than_the_model_allows(backend):
    trainer = make_trainer(backend, T=5)
    assert all(math.isfinite(report.loss) for report in trainer.run(2))
    inputs, _ = random_batch(trainer.model.config, np.random.default_rng(0))
    trainer.model.logits(backend.from_numpy(inputs))
