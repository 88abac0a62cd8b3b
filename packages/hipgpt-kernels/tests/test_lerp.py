"""Linear interpolation: the formula, its ends, and running averages in place."""

import numpy as np
import pytest

from .arrays import normal, on_device, result_both_ways
from .exactness import assert_exact, assert_same_bits


@pytest.mark.parametrize("shape", [(), (1,), (5,), (3, 7), (70_001,)])
@pytest.mark.parametrize("weight", [0.5, 0.001, 1.5])
def test_the_formula(backend, rng, shape, weight):
    start, end = np.asarray(normal(rng, *shape)), np.asarray(normal(rng, *shape))
    one, other = on_device(backend, start, end)
    out = result_both_ways(backend, lambda **o: backend.lerp(one, other, weight, **o), shape)
    assert_exact(out, lambda a, b: a + a.dtype.type(np.float32(weight)) * (b - a), start, end)


def test_weight_zero_changes_no_bit(backend, rng):
    start, end = normal(rng, 999), normal(rng, 999)
    one, other = on_device(backend, start, end)
    assert_same_bits(backend.to_numpy(backend.lerp(one, other, 0.0)), start)


@pytest.mark.parametrize("alias", [0, 1])
def test_out_may_alias_either(backend, rng, alias):
    arrays = on_device(backend, normal(rng, 40_003), normal(rng, 40_003))
    apart = backend.to_numpy(backend.lerp(*arrays, 0.25))
    backend.lerp(*arrays, 0.25, out=arrays[alias])
    assert_same_bits(backend.to_numpy(arrays[alias]), apart)


def test_a_part_of_an_array_that_no_vector_fits(backend, rng):
    start, end = normal(rng, 103), normal(rng, 103)
    one, other = on_device(backend, start, end)
    expected = backend.to_numpy(backend.lerp(one, other, 0.3))
    assert_same_bits(backend.to_numpy(backend.lerp(one[1:], other[1:], 0.3)), expected[1:])


def test_an_average_approaches_what_it_averages(backend):
    average, goal = on_device(backend, np.zeros(100, np.float32), np.ones(100, np.float32))
    for _ in range(50):
        backend.lerp(average, goal, 0.1, out=average)
    np.testing.assert_allclose(backend.to_numpy(average), 1 - 0.9**50, rtol=1e-5)


def test_the_weight_may_be_on_the_device(backend, rng):
    arrays = on_device(backend, normal(rng, 1001), normal(rng, 1001))
    weight = backend.from_numpy(np.array(0.3))
    expected = backend.to_numpy(backend.lerp(*arrays, 0.3))
    assert_same_bits(backend.to_numpy(backend.lerp(*arrays, weight)), expected)
