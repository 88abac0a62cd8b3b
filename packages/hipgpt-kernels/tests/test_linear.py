"""Linear: one matrix product with what is fused to it, and its two backward products.

The odd thing: `preactivation` is an output of the forward and an input of the next layer's
backward, where `out` may overwrite it.
"""

import numpy as np
import pytest

from . import reference
from .arrays import normal, on_device, poisoned, result_both_ways
from .exactness import assert_exact, assert_same_bits

SHAPES = [
    ((1,), 1, 2),
    ((3,), 5, 4),
    ((1, 1), 16, 50_258),
    ((64,), 128, 256),
    ((6,), 3073, 34),
    ((300,), 17, 6),
    ((2, 7), 33, 66),
    ((2, 3, 5), 8, 2),
]
"""Rows, K, N (N even, for swiglu): tiny, odd, one row to a whole vocabulary, aligned, long sums,
many rows, what nothing divides, three leading dimensions."""

ACTIVATIONS = ["gelu", "gelu_erf", "relu", "swiglu"]


def columns(N, activation):
    """Columns of out where the product has N."""
    return N // 2 if activation == "swiglu" else N


@pytest.mark.parametrize(("rows", "K", "N"), SHAPES)
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("with_residual", [True, False])
def test_forward(backend, rng, rows, K, N, with_bias, with_residual):
    x, weight = normal(rng, *rows, K), normal(rng, N, K)
    bias = normal(rng, N) if with_bias else None
    residual = normal(rng, *rows, N) if with_residual else None
    device = on_device(backend, x, weight, bias)
    (device_residual,) = on_device(backend, residual)
    out = result_both_ways(
        backend,
        lambda **o: backend.linear_forward(*device, residual=device_residual, **o),
        (*rows, N),
    )
    assert_exact(out, reference.linear_forward, x, weight, bias, None, residual)


@pytest.mark.parametrize(("rows", "K", "N"), SHAPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_forward_with_activation(backend, rng, rows, K, N, activation):
    """The same bits with and without `preactivation`, which holds x · weightᵀ + bias."""
    x, weight, bias = normal(rng, *rows, K), normal(rng, N, K), normal(rng, N)
    device = on_device(backend, x, weight, bias)
    preactivation = poisoned(backend, (*rows, N))
    out = result_both_ways(
        backend,
        lambda **o: backend.linear_forward(*device, activation=activation, **o),
        (*rows, columns(N, activation)),
    )
    kept = backend.linear_forward(*device, activation=activation, preactivation=preactivation)
    assert_same_bits(backend.to_numpy(kept), out)
    assert_exact(out, reference.linear_forward, x, weight, bias, activation)
    assert_exact(backend.to_numpy(preactivation), reference.preactivation, x, weight, bias)


@pytest.mark.parametrize(("M", "K", "N"), [(1, 7, 11), (9, 7, 11), (300, 65, 130), (3, 700, 48)])
def test_forward_may_alias_residual(backend, rng, M, K, N):
    x, weight, bias, residual = (
        normal(rng, M, K),
        normal(rng, N, K),
        normal(rng, N),
        normal(rng, M, N),
    )
    device = on_device(backend, x, weight, bias)
    (stream,) = on_device(backend, residual)
    backend.linear_forward(*device, residual=stream, out=stream)
    assert_exact(
        backend.to_numpy(stream), reference.linear_forward, x, weight, bias, None, residual
    )


@pytest.mark.parametrize(("rows", "K", "N"), SHAPES)
def test_backward_input(backend, rng, rows, K, N):
    dout, weight = normal(rng, *rows, N), normal(rng, N, K)
    device = on_device(backend, dout, weight)
    dx = result_both_ways(
        backend, lambda **o: backend.linear_backward_input(*device, **o), (*rows, K)
    )
    assert_exact(dx, reference.linear_backward_input, dout, weight)


@pytest.mark.parametrize(("rows", "K", "N"), SHAPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_backward_input_through_an_activation(backend, rng, rows, K, N, activation):
    """Also with `out` being `preactivation`."""
    width = 2 * K if activation == "swiglu" else K
    dout, weight, z = normal(rng, *rows, N), normal(rng, N, K), normal(rng, *rows, width)
    device = on_device(backend, dout, weight)
    (preactivation,) = on_device(backend, z)
    options = {"activation": activation, "preactivation": preactivation}
    dz = result_both_ways(
        backend, lambda **o: backend.linear_backward_input(*device, **options, **o), z.shape
    )
    assert_exact(dz, reference.linear_backward_input, dout, weight, activation, z)
    assert_same_bits(backend.to_numpy(preactivation), z)
    backend.linear_backward_input(*device, **options, out=preactivation)
    assert_same_bits(backend.to_numpy(preactivation), dz)


@pytest.mark.parametrize(("rows", "K", "N"), [*SHAPES, ((4099,), 3, 5)])
def test_backward_weight_adds(backend, rng, rows, K, N):
    dout, x = normal(rng, *rows, N), normal(rng, *rows, K)
    start_weight, start_bias = normal(rng, N, K), normal(rng, N)
    dweight, dbias = on_device(backend, start_weight, start_bias)
    backend.linear_backward_weight(*on_device(backend, dout, x), dweight, dbias)

    def formula(dout, x, start_weight, start_bias):
        dweight, dbias = reference.linear_backward_weight(dout, x)
        return start_weight + dweight, start_bias + dbias

    ours = backend.to_numpy(dweight), backend.to_numpy(dbias)
    assert_exact(ours, formula, dout, x, start_weight, start_bias)


def test_backward_weight_without_bias(backend, rng):
    dout, x = normal(rng, 9, 4), normal(rng, 9, 6)
    dweight = backend.zeros((4, 6))
    backend.linear_backward_weight(*on_device(backend, dout, x), dweight)
    assert_exact(
        backend.to_numpy(dweight),
        lambda dout, x: reference.linear_backward_weight(dout, x)[0],
        dout,
        x,
    )


def test_inputs_are_only_read(backend, rng):
    x, weight, bias, dout = (
        normal(rng, 9, 7),
        normal(rng, 11, 7),
        normal(rng, 11),
        normal(rng, 9, 11),
    )
    kept = on_device(backend, x, weight, bias, dout)
    backend.linear_forward(*kept[:3], residual=kept[3])
    backend.linear_backward_input(kept[3], kept[1])
    backend.linear_backward_weight(kept[3], kept[0], backend.zeros((11, 7)), backend.zeros((11,)))
    for after, before in zip(kept, (x, weight, bias, dout), strict=True):
        assert_same_bits(backend.to_numpy(after), before)


def test_the_same_bits_twice(backend, rng):
    x, weight, bias, dout = (
        normal(rng, 300, 96),
        normal(rng, 130, 96),
        normal(rng, 130),
        normal(rng, 300, 130),
    )
    runs = []
    for _ in range(2):
        arrays = on_device(backend, x, weight, bias, dout)
        dweight, dbias = backend.zeros((130, 96)), backend.zeros((130,))
        out = backend.linear_forward(*arrays[:3], activation="gelu")
        dx = backend.linear_backward_input(arrays[3], arrays[1])
        backend.linear_backward_weight(arrays[3], arrays[0], dweight, dbias)
        runs.append([backend.to_numpy(array) for array in (out, dx, dweight, dbias)])
    for first, second in zip(*runs, strict=True):
        assert_same_bits(first, second)


def test_zero_rows_of_weight_give_the_bias(backend):
    out = backend.linear_forward(
        *on_device(
            backend, np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32), np.float32([1, -2])
        )
    )
    assert backend.to_numpy(out).tolist() == [[1, -2], [1, -2]]
