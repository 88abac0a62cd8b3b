"""learning_rate: the warm-up, the four schedules, the ends."""

from itertools import pairwise

import pytest

from hipgpt_model import TrainConfig, learning_rate


def rates(**options):
    config = TrainConfig(**{"learning_rate": 1.0, "steps": 100, "warmup_steps": 10, **options})
    return [learning_rate(step, config) for step in range(config.steps)]


def test_the_warm_up_is_linear_and_ends_at_the_peak():
    assert rates()[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])


@pytest.mark.parametrize("schedule", ["cosine", "linear", "wsd"])
def test_the_last_step_has_the_minimum(schedule):
    assert rates(schedule=schedule)[-1] == pytest.approx(0.1)
    assert rates(schedule=schedule, min_learning_rate=0.25)[-1] == pytest.approx(0.25)
    assert rates(schedule=schedule, min_learning_rate=0)[-1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant", "wsd"])
def test_it_never_rises_after_the_warm_up(schedule):
    after = rates(schedule=schedule)[9:]
    assert all(later <= earlier for earlier, later in pairwise(after))


def test_half_way_between():
    config = TrainConfig(learning_rate=1, min_learning_rate=0, steps=101, warmup_steps=0)
    assert learning_rate(50, config) == pytest.approx(0.5)  # cosine and line cross there


def test_constant_stays():
    assert set(rates(schedule="constant")[10:]) == {1.0}


def test_wsd_is_level_until_its_last_steps():
    """Steep at first: after a quarter of the decay, half of the way is done."""
    after = rates(schedule="wsd", decay_steps=40, min_learning_rate=0)
    assert set(after[10:60]) == {1.0}
    assert after[69] == pytest.approx(0.5)
    assert rates(schedule="wsd")[79] == 1.0 > rates(schedule="wsd")[80]


def test_a_longer_wsd_run_only_stays_level_for_longer():
    """So a run can be resumed with more steps from before its decay, and nothing was lost."""
    short = rates(schedule="wsd", decay_steps=20)
    long = rates(schedule="wsd", decay_steps=20, steps=150)
    assert short[:80] == long[:80]
    assert short[80:] == long[130:]


def test_a_decay_longer_than_the_run_begins_at_the_peak():
    after = rates(schedule="wsd", decay_steps=1000, min_learning_rate=0)
    assert after[9] == 1.0 > after[10] > 0.8


def test_edges():
    assert rates(steps=1, warmup_steps=0) == [1.0]
    assert rates(steps=1, warmup_steps=0, schedule="wsd") == pytest.approx([0.1])
    assert rates(steps=5)[-1] == pytest.approx(0.5)  # a run shorter than its warm-up
    config = TrainConfig(steps=10, warmup_steps=0)
    assert learning_rate(1000, config) == learning_rate(9, config)
