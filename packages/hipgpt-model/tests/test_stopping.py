"""BestLoss: what counts as better, when patience ends, and that a checkpoint can carry it."""

import math

import pytest

from hipgpt_model.stopping import BestLoss


def test_it_notes_the_lowest_and_counts_from_there():
    best = BestLoss()
    assert [best.add(step, loss) for step, loss in enumerate([3.0, 2.0, 2.0, math.nan, 1.5])] == [
        True, True, False, False, True,
    ]  # fmt: skip
    assert (best.loss, best.step, best.since) == (1.5, 4, 0)


def test_patience():
    best = BestLoss()
    ends = []
    for step, loss in enumerate([3.0, 2.0, 2.5, 2.4, 2.3]):
        best.add(step, loss)
        ends.append(best.exhausted(2))
    assert ends == [False, False, False, True, True]
    assert not best.exhausted(0)


@pytest.mark.parametrize("losses", [[], [2.0, 3.0], [math.nan], [math.inf]])
def test_a_checkpoint_can_carry_it(losses):
    best = BestLoss()
    for step, loss in enumerate(losses):
        best.add(step, loss)
    assert BestLoss.from_metrics({"loss": 1.0, **best.to_metrics()}) == best
