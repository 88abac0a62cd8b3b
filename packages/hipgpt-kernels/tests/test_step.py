"""What surrounds a step's arithmetic: rows in turn, skipped updates, the loss scale, means."""

import math

import numpy as np
import pytest

from hipgpt_kernels.backend import Control

from .exactness import assert_same_bits

START = np.array([1, 0, 0, 0, 0, 0, 0, 0], np.float32)


class Step:
    """`step_control` with its arrays on the device."""

    def __init__(self, backend, *, scale=1.0, **options):
        self.backend = backend
        self.options = options
        start = START.copy()
        start[Control.LOSS_SCALE] = scale
        self.control = backend.from_numpy(start)
        self.factor = backend.zeros((), np.float64)

    def __call__(self, norm):
        """The factor after a step whose gradient has this norm."""
        device = self.backend.from_numpy(np.array(norm, np.float32))
        self.backend.step_control(self.control, device, self.factor, **self.options)
        return float(self.backend.to_numpy(self.factor))

    def __getitem__(self, what):
        return float(self.backend.to_numpy(self.control)[what])


# --- rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "W"), [(1, 1), (5, 3), (3, 1000)])
def test_rows_come_in_their_order(backend, rng, rows, W):
    table = rng.integers(-(2**62), 2**62, (rows, W))
    device, cursor = backend.from_numpy(table), backend.zeros((), np.int64)
    out = backend.empty((W,), np.int64)
    for row in range(rows):
        backend.take_row(device, cursor, out)
        assert_same_bits(backend.to_numpy(out), table[row])
        assert backend.to_numpy(cursor) == row + 1


def test_a_row_that_does_not_exist(backend):
    """Refused where it can be seen; a GPU stays within the table."""
    table = backend.from_numpy(np.arange(6).reshape(3, 2))
    out = backend.zeros((2,), np.int64)
    cursor = backend.from_numpy(np.array(3))
    if backend.name == "cpu":
        with pytest.raises(ValueError, match="cursor is 3"):
            backend.take_row(table, cursor, out)
    else:
        backend.take_row(table, cursor, out)
        assert backend.to_numpy(out).tolist() == [4, 5]


# --- the update -----------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", [0.0, 0.5, 1.0, 40.0, 1e20])
@pytest.mark.parametrize("scale", [1.0, 1024.0])
@pytest.mark.parametrize("max_norm", [0.0, 1.0])
def test_the_factor_clips_and_takes_the_scale_back(backend, norm, scale, max_norm):
    step = Step(backend, scale=scale, max_norm=max_norm)
    true = float(np.float32(norm * scale)) / scale
    clip = min(1.0, max_norm / (true + 1e-6)) if max_norm else 1.0
    assert step(norm * scale) == pytest.approx(clip / scale, rel=1e-12)
    assert step[Control.NORM] == pytest.approx(true, rel=1e-6)
    assert step[Control.GOOD_STEPS] == 1


@pytest.mark.parametrize("norm", [math.inf, math.nan])
def test_a_norm_that_is_not_finite_skips_the_update(backend, norm):
    step = Step(backend, max_norm=1.0)
    step(1.0)
    for lost in (1, 2, 3):
        assert math.isnan(step(norm))
        assert step[Control.OVERFLOWS] == step[Control.LOST_IN_A_ROW] == lost
        assert not math.isfinite(step[Control.NORM])
        assert step[Control.GOOD_STEPS] == 0
        assert step[Control.LOSS_SCALE] == 1
    assert step[Control.NORM_MEAN] == 1
    assert step(2.0) == pytest.approx(0.5, rel=1e-5)
    assert step[Control.LOST_IN_A_ROW] == 0
    assert step[Control.OVERFLOWS] == 3


def test_the_loss_scale_falls_at_overflows_and_rises_after_good_steps(backend):
    step = Step(backend, scale=8.0, growth=3)
    assert math.isnan(step(math.inf))
    assert step[Control.LOSS_SCALE] == 4
    assert step[Control.LOST_IN_A_ROW] == 0  # only the scale was too large
    scales = []
    for _ in range(7):
        assert step(1.0) == 1 / (scales[-1] if scales else 4)
        scales.append(step[Control.LOSS_SCALE])
    assert scales == [4, 4, 8, 8, 8, 16, 16]
    for _ in range(6):
        step(math.nan)
    assert step[Control.LOSS_SCALE] == 1
    assert step[Control.LOST_IN_A_ROW] == 2  # nothing could be lowered any more
    step.backend.fill(step.control[:1], 2.0**24)
    for _ in range(3):
        step(1.0)
    assert step[Control.LOSS_SCALE] == 2**24


def test_outliers_are_skipped_once_there_is_a_mean(backend):
    step = Step(backend, outlier=3.0)
    assert step(100.0) == 1
    for _ in range(18):
        step(1.0)
    assert step(50.0) == 1  # the mean has 19 steps
    mean = step[Control.NORM_MEAN]
    assert mean == pytest.approx((100 + 18 + 50) / 20, rel=1e-6)
    assert step(3 * mean * 0.999) == 1
    mean = step[Control.NORM_MEAN]
    assert math.isnan(step(3 * mean * 1.01))
    assert step[Control.OUTLIERS] == 1
    assert step[Control.OVERFLOWS] == step[Control.LOST_IN_A_ROW] == 0
    assert step[Control.NORM_MEAN] == pytest.approx(mean + 2 * mean / 22, rel=1e-5)


def test_a_change_for_good_is_followed_in_the_end(backend):
    step = Step(backend, outlier=2.0)
    for _ in range(100):
        step(1.0)
    skipped = 0
    while math.isnan(step(10.0)):
        skipped += 1
    assert 100 < skipped < 300


# --- means ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "n"), [(1, 1), (2, 1000), (3, 5000)])
def test_means_of_rows(backend, rng, rows, n):
    x = rng.standard_normal((rows, n)).astype(np.float32) + np.float32(3)
    means = backend.to_numpy(backend.row_means(backend.from_numpy(x)))
    assert means.dtype == np.float64
    assert means == pytest.approx(x.astype(np.float64).mean(axis=1), rel=1e-13)
