"""learning_rate: the warm-up, the three schedules, the ends."""

from itertools import pairwise

import pytest

from hipgpt_model import TrainConfig, learning_rate


def rates(**options):
    config = TrainConfig(**{"learning_rate": 1.0, "steps": 100, "warmup_steps": 10, **options})
    return [learning_rate(step, config) for step in range(config.steps)]


def test_the_warm_up_is_linear_and_ends_at_the_peak():
    assert rates()[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_the_last_step_has_the_minimum(schedule):
    assert rates(schedule=schedule)[-1] == pytest.approx(0.1)
    assert rates(schedule=schedule, min_learning_rate=0.25)[-1] == pytest.approx(0.25)
    assert rates(schedule=schedule, min_learning_rate=0)[-1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_it_never_rises_after_the_warm_up(schedule):
    after = rates(schedule=schedule)[9:]
    assert all(later <= earlier for earlier, later in pairwise(after))


def test_half_way_between():
    config = TrainConfig(learning_rate=1, min_learning_rate=0, steps=101, warmup_steps=0)
    assert learning_rate(50, config) == pytest.approx(0.5)  # cosine and line cross there


def test_constant_stays():
    assert set(rates(schedule="constant")[10:]) == {1.0}


def test_edges():
    assert rates(steps=1, warmup_steps=0) == [1.0]
    assert rates(steps=5)[-1] == pytest.approx(0.5)  # a run shorter than its warm-up
    config = TrainConfig(steps=10, warmup_steps=0)
    assert learning_rate(1000, config) == learning_rate(9, config)
