"""The rows of a plan are what each pass would have worked out for itself."""

import numpy as np
import pytest

from hipgpt_model import TokenData, TrainConfig, learning_rate
from hipgpt_model.ema import decay_at
from hipgpt_model.plan import PASSES, Plan
from hipgpt_model.random_streams import dropout_stream

IDS = np.random.default_rng(0).integers(0, 60_000, 700).astype(np.uint16)


def rows_of(plan, *, steps, start=(0, 0, 0)):
    """What each pass finds, from one of them on."""
    backend, config = plan.backend, plan.config
    step, micro_step, position = start
    inputs = backend.empty((config.batch_size, plan.data.T), np.int32)
    targets = backend.empty((config.batch_size, plan.data.T), np.int32)
    rows = []
    while step < steps:
        plan.prepare(step, micro_step, position)
        plan.take()
        backend.gather_batch(plan.tokens, plan.starts, inputs, targets)
        numbers = [plan.step, plan.learning_rate, plan.average_weight, *plan.streams]
        rows.append(
            (
                *(backend.to_numpy(number).item() for number in numbers),
                backend.to_numpy(inputs).tolist(),
                backend.to_numpy(targets).tolist(),
            )
        )
        position += config.batch_size
        micro_step += 1
        if micro_step == config.grad_accum:
            step, micro_step = step + 1, 0
    return rows


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("accum", [1, 3])
def test_every_pass_finds_its_numbers(backend, resident, accum):
    steps = (2 * PASSES + 5) // accum
    config = TrainConfig(batch_size=3, steps=steps, grad_accum=accum, warmup_steps=4, ema=0.9)
    data = TokenData(IDS, 8)
    tokens = backend.from_numpy(IDS) if resident else None
    rows = rows_of(Plan(config, data, backend, tokens, uses=2), steps=steps)
    assert len(rows) == steps * accum
    for number, (step, rate, weight, one, two, inputs, targets) in enumerate(rows):
        position = 3 * number
        assert step == number // accum + 1
        assert rate == learning_rate(number // accum, config)
        assert weight == 1 - decay_at(0.9, step)
        assert [one, two] == [dropout_stream(position, 2, use) for use in range(2)]
        starts = data.train_batch(position, 3, config.seed)
        windows = np.stack([IDS[start : start + 9] for start in starts])
        assert inputs == windows[:, :-1].tolist()
        assert targets == windows[:, 1:].tolist()


def test_it_may_begin_anywhere_and_be_turned_elsewhere(any_backend):
    config = TrainConfig(batch_size=2, steps=9, grad_accum=2)
    data = TokenData(IDS, 8)

    def plan():
        return Plan(config, data, any_backend, any_backend.from_numpy(IDS), uses=0)

    whole = rows_of(plan(), steps=9)
    other = plan()
    assert rows_of(other, steps=9, start=(3, 1, 14)) == whole[7:]
    assert rows_of(other, steps=2) == whole[:4]
    assert rows_of(other, steps=9, start=(2, 0, 8)) == whole[4:]


def test_large_windows_are_sent_few_at_a_time(any_backend):
    ids = np.zeros(2_000_000, np.uint32)
    config = TrainConfig(batch_size=2, steps=9)
    plan = Plan(config, TokenData(ids, 500_000), any_backend, None, uses=0)
    assert plan.tokens.nbytes == 4 * (2 * 500_001 * 4)  # passes of two windows of uint32
    assert [row[0] for row in rows_of(plan, steps=5)] == [1, 2, 3, 4, 5]
