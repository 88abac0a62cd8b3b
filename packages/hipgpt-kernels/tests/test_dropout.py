"""Dropout is a pure function of (seed, stream, index), and therefore its own backward."""

import math

import numpy as np
import pytest

from hipgpt_kernels.philox import philox4x32

from . import reference_random
from .arrays import normal, on_device, result_both_ways
from .exactness import assert_exact, assert_same_bits

SIZES = [(1,), (3,), (4,), (5,), (2, 7), (3, 5, 11), (1, 1000)]


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize(
    ("seed", "stream"), [(0, 0), (7, 1), (2**64 - 1, 2**64 - 1), (1 << 40, 1 << 33)]
)
@pytest.mark.parametrize("with_residual", [True, False])
def test_forward(backend, rng, shape, seed, stream, with_residual):
    x = normal(rng, *shape)
    residual = normal(rng, *shape) if with_residual else None
    device_x, device_residual = on_device(backend, x, residual)
    out = result_both_ways(
        backend,
        lambda **o: backend.dropout_forward(
            device_x, 0.3, seed, stream, residual=device_residual, **o
        ),
        shape,
    )
    size = float(np.abs(x).max()) if with_residual else 0.0  # it may cancel with the residual
    formula = reference_random.dropout_forward
    assert_exact(out, formula, x, 0.3, seed, stream, residual, magnitude=size)


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.25, 0.5, 0.999, 1 - 2**-20])
def test_kept_are_exactly_those_of_philox(backend, probability):
    """On an array larger than any block: zero or 1/(1−p), by the word of each element."""
    n = 70_003
    (ones,) = on_device(backend, np.ones(n, np.float32))
    out = backend.to_numpy(backend.dropout_forward(ones, probability, 11, 5))
    words = philox4x32(np.arange(-(-n // 4), dtype=np.uint64), 11, 5).reshape(-1)[:n]
    keep = words.astype(np.int64) >= round(probability * 2**32)
    assert_same_bits(out != 0, keep)
    np.testing.assert_allclose(out[keep], 1 / (1 - probability), rtol=2e-7)


def test_a_word_at_the_border_is_kept(backend):
    """`word >= round(p · 2³²)`: a p that is an element's own word over 2³² keeps that element."""
    words = reference_random.random_words(8, seed=3, stream=4)
    (ones,) = on_device(backend, np.ones(8, np.float32))
    for i, word in enumerate(words):
        for threshold, kept in ((word, True), (word + 1, False)):
            out = backend.to_numpy(backend.dropout_forward(ones, threshold / 2**32, 3, 4))
            assert (out[i] != 0) == kept


def test_the_right_fraction_is_dropped(backend):
    """Within four standard deviations of the binomial; and the mean of a sum is kept."""
    n, p = 200_000, 0.2
    (ones,) = on_device(backend, np.ones(n, np.float32))
    out = backend.to_numpy(backend.dropout_forward(ones, p, 1, 2))
    dropped = int((out == 0).sum())
    assert abs(dropped - n * p) < 4 * math.sqrt(n * p * (1 - p))
    assert out.mean(dtype=np.float64) == pytest.approx(1, abs=4 * math.sqrt(p / (1 - p) / n))


def test_probability_zero_changes_no_bit(backend, rng):
    x = normal(rng, 5, 7)
    (device,) = on_device(backend, x)
    assert_same_bits(backend.to_numpy(backend.dropout_forward(device, 0.0, 3, 4)), x)


def test_it_is_its_own_backward(backend, rng):
    """d(Σ dout · out)/dx = dropout of dout: the map is diagonal, with the same diagonal."""
    x, dout = normal(rng, 37, 19), normal(rng, 37, 19)
    ones, device_x, device_dout = on_device(backend, np.ones_like(x), x, dout)
    diagonal, out, dx = (
        backend.to_numpy(backend.dropout_forward(array, 0.4, 9, 8))
        for array in (ones, device_x, device_dout)
    )
    assert_exact(out, lambda diagonal, x: diagonal * x, diagonal, x)
    assert_exact(dx, lambda diagonal, dout: diagonal * dout, diagonal, dout)


def test_it_does_not_depend_on_how_the_array_is_cut(backend, rng):
    """Another shape, or only the first part of the array: the same bits."""
    x = normal(rng, 30, 40, 50)
    whole, flat, part = on_device(backend, x, x.reshape(-1), x.reshape(-1)[:17_001])
    expected = backend.to_numpy(backend.dropout_forward(whole, 0.3, 1, 2)).reshape(-1)
    assert_same_bits(backend.to_numpy(backend.dropout_forward(flat, 0.3, 1, 2)), expected)
    assert_same_bits(backend.to_numpy(backend.dropout_forward(part, 0.3, 1, 2)), expected[:17_001])


def test_another_seed_or_stream_is_another_mask(backend):
    """Masks of different keys agree where chance has it: about half the time for p = 1/2."""
    (ones,) = on_device(backend, np.ones(4096, np.float32))
    keys = [(0, 0), (1, 0), (0, 1), (1 << 32, 0), (0, 1 << 32)]
    masks = [backend.to_numpy(backend.dropout_forward(ones, 0.5, *key)) for key in keys]
    for i, first in enumerate(masks):
        for second in masks[:i]:
            assert abs((first == second).mean() - 0.5) < 4 * 0.5 / math.sqrt(4096)


@pytest.mark.parametrize("alias", ["x", "residual"])
def test_out_may_alias(backend, rng, alias):
    x, residual = normal(rng, 301, 67), normal(rng, 301, 67)
    arrays = dict(zip(("x", "residual"), on_device(backend, x, residual), strict=True))

    def run(**out):
        return backend.dropout_forward(arrays["x"], 0.3, 1, 2, residual=arrays["residual"], **out)

    apart = backend.to_numpy(run())
    run(out=arrays[alias])
    assert_same_bits(backend.to_numpy(arrays[alias]), apart)
