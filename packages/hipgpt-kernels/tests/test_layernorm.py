"""LayerNorm: the row statistics, and a backward that adds to the residual stream."""

import numpy as np
import pytest

from . import reference
from .arrays import normal, on_device, poisoned, result_both_ways
from .exactness import assert_exact, assert_same_bits

SHAPES = [
    (1, 1),
    (1, 2),
    (3, 5),
    (1, 768),
    (2, 7, 128),
    (5, 33),
    (300, 64),
    (2, 3, 2, 9),
    (3, 1025),
]


def statistics(backend, x, weight, bias, epsilon=1e-5):
    """out, mean and rstd of the backend, each into a poisoned array; on the device."""
    rows = x.shape[:-1]
    outputs = {"out": poisoned(backend, x.shape)}
    outputs |= {name: poisoned(backend, rows) for name in ("mean", "rstd")}
    backend.layernorm_forward(*on_device(backend, x, weight, bias), epsilon=epsilon, **outputs)
    return outputs["out"], outputs["mean"], outputs["rstd"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("epsilon", [1e-5, 0.1])
def test_forward(backend, rng, shape, epsilon):
    E = shape[-1]
    x, weight, bias = 2 + 3 * normal(rng, *shape), normal(rng, E), normal(rng, E)
    device = on_device(backend, x, weight, bias)
    out = result_both_ways(
        backend, lambda **o: backend.layernorm_forward(*device, epsilon=epsilon, **o), shape
    )
    kept, mean, rstd = map(backend.to_numpy, statistics(backend, x, weight, bias, epsilon=epsilon))
    assert_same_bits(kept, out)
    assert_exact((out, mean, rstd), reference.layernorm_forward, x, weight, bias, epsilon)


@pytest.mark.parametrize("shape", SHAPES)
def test_backward_adds(backend, rng, shape):
    E = shape[-1]
    x, weight, bias, dout = (
        2 + 3 * normal(rng, *shape),
        normal(rng, E),
        normal(rng, E),
        normal(rng, *shape),
    )
    starts = normal(rng, *shape), normal(rng, E), normal(rng, E)
    _, mean, rstd = statistics(backend, x, weight, bias)
    gradients = on_device(backend, *starts)
    backend.layernorm_backward(*on_device(backend, dout, x, weight), mean, rstd, *gradients)
    dx, dweight, dbias = map(backend.to_numpy, gradients)

    def formula(dout, x, weight, *starts):
        return tuple(
            start + gradient
            for start, gradient in zip(
                starts, reference.layernorm_backward(dout, x, weight), strict=True
            )
        )

    def formula_of(number):
        return lambda *inputs: formula(*inputs)[number]

    inputs = dout, x, weight, *starts
    # The three terms of dx cancel: for E ≤ 2 to nothing at all.
    terms = float(np.abs(dout * weight).max() * backend.to_numpy(rstd).max())
    assert_exact(dx, formula_of(0), *inputs, magnitude=terms)
    assert_exact((dweight, dbias), lambda *inputs: formula(*inputs)[1:], *inputs)


def test_forward_may_alias_x(backend, rng):
    x, weight, bias = normal(rng, 37, 50), normal(rng, 50), normal(rng, 50)
    device = on_device(backend, x, weight, bias)
    apart = backend.to_numpy(backend.layernorm_forward(*device))
    backend.layernorm_forward(*device, out=device[0])
    assert_same_bits(backend.to_numpy(device[0]), apart)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -1e4])
def test_a_constant_row_gives_the_bias(backend, rng, value):
    """Variance 0: rstd = 1/√ε, about 316, multiplies what rounding leaves of x − mean."""
    E = 100
    x, weight, bias = np.full((2, E), value, np.float32), normal(rng, E), normal(rng, E)
    out, mean, rstd = map(backend.to_numpy, statistics(backend, x, weight, bias))
    rounding = abs(value) * float(rstd.max())
    assert_exact(
        (out, mean, rstd), reference.layernorm_forward, x, weight, bias, magnitude=rounding
    )


def test_a_mean_far_from_zero_costs_no_more_than_it_must(backend, rng):
    """Mean 10⁴, deviation 1: Σx²/E − mean² would lose every digit of the variance."""
    E = 257
    x, weight, bias = 1e4 + normal(rng, 5, E), normal(rng, E), normal(rng, E)
    x = x.astype(np.float32)
    out, mean, rstd = map(backend.to_numpy, statistics(backend, x, weight, bias))
    terms = float(1e4 * np.abs(weight).max() * rstd.max())  # x and mean, which cancel
    inputs = x, weight, bias
    assert_exact(out, lambda *a: reference.layernorm_forward(*a)[0], *inputs, magnitude=terms)
    assert_exact((mean, rstd), lambda *a: reference.layernorm_forward(*a)[1:], *inputs)


def test_rows_are_independent(backend, rng):
    """Another row may be anything, however large."""
    x, weight, bias = normal(rng, 5, 33), normal(rng, 33), normal(rng, 33)
    device_weight, device_bias = on_device(backend, weight, bias)
    out = backend.layernorm_forward(*on_device(backend, x), device_weight, device_bias)
    changed = x.copy()
    changed[2] = 1e6
    other = backend.layernorm_forward(*on_device(backend, changed), device_weight, device_bias)
    rows = [0, 1, 3, 4]
    assert_same_bits(backend.to_numpy(out)[rows], backend.to_numpy(other)[rows])


def test_output_has_mean_zero_and_variance_one(backend, rng):
    E = 768
    x = 5 + 7 * normal(rng, 9, E)
    ones, zeros = np.ones(E, np.float32), np.zeros(E, np.float32)
    out = backend.to_numpy(backend.layernorm_forward(*on_device(backend, x, ones, zeros)))
    np.testing.assert_allclose(out.mean(axis=-1, dtype=np.float64), 0, atol=1e-6)
    np.testing.assert_allclose(out.var(axis=-1, dtype=np.float64), 1, rtol=1e-5)


def test_dx_is_orthogonal_to_ones_and_to_the_output(backend, rng):
    """No change of a row's mean or scale changes the output, so dx has no part along them."""
    E = 512
    x, dout = normal(rng, 9, E), normal(rng, 9, E)
    ones, zeros = np.ones(E, np.float32), np.zeros(E, np.float32)
    out, mean, rstd = statistics(backend, x, ones, zeros, epsilon=1e-12)
    dx, dweight, dbias = backend.zeros((9, E)), backend.zeros((E,)), backend.zeros((E,))
    backend.layernorm_backward(*on_device(backend, dout, x, ones), mean, rstd, dx, dweight, dbias)
    dx = backend.to_numpy(dx).astype(np.float64)
    np.testing.assert_allclose(dx.sum(axis=-1), 0, atol=1e-4)
    np.testing.assert_allclose((dx * backend.to_numpy(out)).sum(axis=-1), 0, atol=1e-4)


def test_the_same_bits_twice(backend, rng):
    x, weight, bias, dout = (
        normal(rng, 300, 96),
        normal(rng, 96),
        normal(rng, 96),
        normal(rng, 300, 96),
    )
    runs = []
    for _ in range(2):
        out, mean, rstd = statistics(backend, x, weight, bias)
        gradients = [backend.zeros(x.shape), backend.zeros((96,)), backend.zeros((96,))]
        backend.layernorm_backward(*on_device(backend, dout, x, weight), mean, rstd, *gradients)
        runs.append([backend.to_numpy(a) for a in (out, mean, rstd, *gradients)])
    for first, second in zip(*runs, strict=True):
        assert_same_bits(first, second)
