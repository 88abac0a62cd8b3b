"""The two small sums of the contract: add, and mean."""

import numpy as np
import pytest

from .arrays import normal, on_device, result_both_ways
from .exactness import assert_same_bits


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2, 64, 129)])
def test_add(backend, rng, shape):
    """One rounding: the bits of NumPy's sum."""
    x, y = np.asarray(normal(rng, *shape)), np.asarray(normal(rng, *shape))
    device = on_device(backend, x, y)
    out = result_both_ways(backend, lambda **o: backend.add(*device, **o), shape)
    assert_same_bits(out, np.asarray(x + y))


@pytest.mark.parametrize("alias", [0, 1])
def test_add_may_alias(backend, rng, alias):
    x, y = normal(rng, 37, 19), normal(rng, 37, 19)
    device = on_device(backend, x, y)
    backend.add(*device, out=device[alias])
    assert_same_bits(backend.to_numpy(device[alias]), x + y)


@pytest.mark.parametrize("shape", [(1,), (3, 5), (100_003,)])
def test_mean_is_summed_in_float64(backend, rng, shape):
    """Numbers around 1000, whose float32 sum would lose their last digits."""
    x = 1000 + normal(rng, *shape)
    mean = backend.mean(*on_device(backend, x))
    assert type(mean) is float
    assert mean == pytest.approx(x.astype(np.float64).mean(), rel=1e-13)
