"""Activations by themselves: the curve, its slope, its two tails, and which arrays may be one."""

import numpy as np
import pytest

from . import reference
from .arrays import normal, on_device, result_both_ways
from .exactness import assert_exact, assert_same_bits

ACTIVATIONS = ["gelu", "gelu_erf", "relu", "swiglu"]
SHAPES = [(1, 2), (3, 10), (2, 5, 66), (64, 256), (1, 50_258), (300, 514)]
"""The last is larger than any block that a pass is cut into; N is even, for swiglu."""


def out_shape(x, activation):
    return (*x.shape[:-1], x.shape[-1] // 2) if activation == "swiglu" else x.shape


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_forward_and_backward(backend, rng, activation, shape):
    x = normal(rng, *shape)
    dout = normal(rng, *out_shape(x, activation))
    device_dout, device_x = on_device(backend, dout, x)
    out = result_both_ways(
        backend, lambda **o: backend.activation_forward(device_x, activation, **o), dout.shape
    )
    dx = result_both_ways(
        backend,
        lambda **o: backend.activation_backward(device_dout, device_x, activation, **o),
        shape,
    )
    assert_exact(out, reference.activation_forward, x, activation)
    assert_exact(dx, reference.activation_backward, dout, x, activation)
    assert_same_bits(backend.to_numpy(device_x), x)
    assert_same_bits(backend.to_numpy(device_dout), dout)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_whole_curve(backend, activation):
    """Every part of [−12, 12], where the slope of gelu turns on what tanh leaves of 1."""
    curve = np.linspace(-12, 12, 20_000, dtype=np.float32)
    x = np.concatenate([curve, np.ones_like(curve)]) if activation == "swiglu" else curve
    dout = np.ones_like(curve)
    device_dout, device_x = on_device(backend, dout, x)
    out = backend.activation_forward(device_x, activation)
    dx = backend.activation_backward(device_dout, device_x, activation)
    assert_exact(backend.to_numpy(out), reference.activation_forward, x, activation)
    assert_exact(backend.to_numpy(dx), reference.activation_backward, dout, x, activation)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_tails(backend, activation):
    """At ±10⁴ and at 0, where eˣ overflows and x³ is large: exact, finite, without a warning."""
    values = np.float32([-1e4, -100, -20, -10, -1e-6, -0.0, 0.0, 1e-6, 10, 20, 100, 1e4])
    x = np.concatenate([values, values])  # both halves of swiglu
    dout = np.ones(out_shape(x, activation), np.float32)
    device_dout, device_x = on_device(backend, dout, x)
    out = backend.activation_forward(device_x, activation)
    dx = backend.activation_backward(device_dout, device_x, activation)
    assert_exact(backend.to_numpy(out), reference.activation_forward, x, activation)
    assert_exact(backend.to_numpy(dx), reference.activation_backward, dout, x, activation)


@pytest.mark.parametrize("low", [-2.0, -5.0, -10.0, -40.0])
def test_swiglu_of_negative_gates(backend, rng, low):
    """Sigmoid falls like eˣ there, and must keep its digits: 1 + tanh(x/2) would cancel them."""
    gate = np.float32(low) + rng.random((5, 33), np.float32)
    x = np.concatenate([gate, normal(rng, 5, 33)], axis=1)
    dout = normal(rng, 5, 33)
    device_dout, device_x = on_device(backend, dout, x)
    out = backend.activation_forward(device_x, "swiglu")
    dx = backend.activation_backward(device_dout, device_x, "swiglu")
    assert_exact(backend.to_numpy(out), reference.activation_forward, x, "swiglu")
    assert_exact(backend.to_numpy(dx), reference.activation_backward, dout, x, "swiglu")


@pytest.mark.parametrize("activation", ["gelu", "gelu_erf", "relu"])
def test_forward_may_alias_x(backend, rng, activation):
    x = normal(rng, 37, 131)
    (array,) = on_device(backend, x)
    apart = backend.to_numpy(backend.activation_forward(array, activation))
    backend.activation_forward(array, activation, out=array)
    assert_same_bits(backend.to_numpy(array), apart)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("alias", ["x", "dout"])
def test_backward_may_alias(backend, rng, activation, alias):
    """`out` may be x, or dout where the shapes agree (not for swiglu, whose dout is half)."""
    x = normal(rng, 37, 130)
    dout = normal(rng, *out_shape(x, activation))
    arrays = dict(zip(("dout", "x"), on_device(backend, dout, x), strict=True))
    apart = backend.to_numpy(backend.activation_backward(**arrays, activation=activation))
    if alias == "dout" and activation == "swiglu":
        with pytest.raises(ValueError, match="out"):
            backend.activation_backward(**arrays, activation=activation, out=arrays["dout"])
        return
    backend.activation_backward(**arrays, activation=activation, out=arrays[alias])
    assert_same_bits(backend.to_numpy(arrays[alias]), apart)


def test_relu_has_no_slope_at_zero(backend):
    dout, x = on_device(backend, np.ones(4, np.float32), np.float32([-1, -0.0, 0.0, 1]))
    dx = backend.activation_backward(dout, x, "relu")
    assert backend.to_numpy(dx).tolist() == [0, 0, 0, 1]
