"""What is not a number must show: a training that diverges is told by its loss and its norm.

The odd thing: vector code hides NaN easily, because a maximum by comparison drops it and a clamp
makes it finite. Whoever clips and skips steps by the norm must be able to trust these.
"""

import numpy as np
import pytest

from .arrays import normal, on_device


def nan_rows(backend, array):
    """Which rows (first dimension) hold a NaN."""
    array = backend.to_numpy(array)
    return np.isnan(array.reshape(len(array), -1)).any(axis=1).tolist()


@pytest.mark.parametrize("activation", [None, "gelu", "gelu_erf", "relu", "swiglu"])
@pytest.mark.parametrize("rows", [3, 20])
def test_linear_forward(backend, rng, activation, rows):
    x, weight = normal(rng, rows, 37), normal(rng, 40, 37)
    x[1, 5] = np.nan
    out = backend.linear_forward(*on_device(backend, x, weight), activation=activation)
    assert nan_rows(backend, out) == [row == 1 for row in range(rows)]


@pytest.mark.parametrize("activation", ["gelu", "gelu_erf", "relu", "swiglu"])
def test_activation_forward(backend, rng, activation):
    x = normal(rng, 4, 40)
    x[1, 3] = x[2, 39] = np.nan
    out = backend.activation_forward(*on_device(backend, x), activation)
    assert nan_rows(backend, out) == [False, True, True, False]


@pytest.mark.parametrize("activation", ["gelu", "gelu_erf", "relu", "swiglu"])
def test_activation_backward_of_a_nan_gradient(backend, rng, activation):
    x = np.abs(normal(rng, 4, 40))
    dout = normal(rng, 4, 20 if activation == "swiglu" else 40)
    dout[2, 7] = np.nan
    dx = backend.activation_backward(*on_device(backend, dout, x), activation)
    assert nan_rows(backend, dx) == [False, False, True, False]


def test_layernorm_forward(backend, rng):
    x, weight, bias = normal(rng, 4, 37), normal(rng, 37), normal(rng, 37)
    x[2, 36] = np.nan
    out = backend.to_numpy(backend.layernorm_forward(*on_device(backend, x, weight, bias)))
    assert np.isnan(out[2]).all()
    assert not np.isnan(out[[0, 1, 3]]).any()


@pytest.mark.parametrize("which", ["q", "k", "v"])
@pytest.mark.parametrize("T", [5, 70])
def test_attention_forward(backend, rng, which, T):
    """A NaN in q[t] shows at t alone, in k[s] or v[s] at every t that sees s.

    In v it may show before s too: the zeros that mask the future are multiplied with it.
    """
    arrays = {name: normal(rng, 1, T, 1, 8) for name in ("q", "k", "v")}
    arrays[which][0, 3, 0, 2] = np.nan
    out = backend.attention_forward(*on_device(backend, *arrays.values()))
    shown = nan_rows(backend, out[0])
    if which == "v":
        assert all(shown[3:])
    else:
        assert shown == [t == 3 if which == "q" else t >= 3 for t in range(T)]


@pytest.mark.parametrize("at", [0, 5, 99])
def test_cross_entropy(backend, rng, at):
    """A row with one NaN logit, the target's or not, has a NaN loss and a NaN gradient."""
    logits, targets = normal(rng, 4, 100), np.int32([5, 5, 5, -1])
    logits[1, at] = np.nan
    device_logits, device_targets = on_device(backend, logits, targets)
    losses = backend.cross_entropy_forward_backward(device_logits, device_targets, 1.0)
    assert nan_rows(backend, losses) == [False, True, False, False]
    assert nan_rows(backend, device_logits) == [False, True, False, False]


def test_adamw_without_a_norm(backend, rng):
    """Nobody asked for the norm, so nothing is skipped: that weight shows it and no other."""
    weights, gradients = normal(rng, 50), normal(rng, 50)
    gradients[7] = np.nan
    m, v = backend.zeros((50,)), backend.zeros((50,))
    device = on_device(backend, weights, gradients)
    backend.adamw_step(
        *device,
        m,
        v,
        learning_rate=0.1,
        beta1=0.9,
        beta2=0.95,
        epsilon=1e-8,
        weight_decay=0.0,
        step=1,
    )
    assert nan_rows(backend, device[0]) == [i == 7 for i in range(50)]


def test_sample_refuses_nan(backend):
    """No id can be drawn from it; a caller is told so instead of given one."""
    (logits,) = on_device(backend, np.float32([[0, np.nan, 1]]))
    with pytest.raises(FloatingPointError, match="sample"):
        backend.sample(logits)
        backend.synchronize()  # a GPU reports when it is waited for
