"""Causal attention: forward, backward, and the cache that makes it one token at a time.

The odd thing: q, k, v and their gradients are mostly views of one packed (B, T, 3, H, D) array, as
one linear layer makes them, so a view must be as good as an array of its own.
"""

import math

import numpy as np
import pytest

from . import reference
from .arrays import normal, on_device, poisoned, result_both_ways
from .exactness import assert_exact, assert_same_bits

SHAPES = [
    (1, 1, 1, 1),
    (2, 3, 2, 5),
    (3, 33, 4, 1),
    (1, 1, 12, 64),
    (4, 64, 2, 32),
    (1, 257, 2, 16),
    (2, 130, 3, 128),
    (1, 300, 1, 64),
    (40, 17, 3, 8),
]
"""B, T, H, D: one element, odd, D = 1, T = 1, aligned, T that no block divides, D = 128, …"""


def forward(backend, q, k, v):
    """out and lse of the backend, on the device, from poison."""
    B, T, H, D = q.shape
    out, lse = poisoned(backend, (B, T, H, D)), poisoned(backend, (B, H, T))
    backend.attention_forward(*on_device(backend, q, k, v), out=out, lse=lse)
    return out, lse


def backward(backend, dout, q, k, v):
    """dq, dk, dv of the backend as NumPy arrays, from poison."""
    out, lse = forward(backend, q, k, v)
    gradients = [poisoned(backend, q.shape) for _ in range(3)]
    backend.attention_backward(*on_device(backend, dout, q, k, v), out, lse, *gradients)
    return tuple(backend.to_numpy(gradient) for gradient in gradients)


def score_terms(dout, q, k, v):
    """Size of the two terms of dz = p · (dp − Σ p · dp), times what dq and dk multiply them with.

    Where the softmax takes one key they are equal, and dq and dk are their rounding alone.
    """
    largest = max(np.abs(q).max(), np.abs(k).max()) / math.sqrt(q.shape[3])
    return float(np.abs(np.einsum("bthd,bshd->bhts", dout, v)).max() * largest)


def make(rng, *shape, count=3):
    return tuple(normal(rng, *shape) for _ in range(count))


@pytest.mark.parametrize(("B", "T", "H", "D"), SHAPES)
def test_forward(backend, rng, B, T, H, D):
    q, k, v = make(rng, B, T, H, D)
    device = on_device(backend, q, k, v)
    out = result_both_ways(
        backend, lambda **o: backend.attention_forward(*device, **o), (B, T, H, D)
    )
    kept, lse = map(backend.to_numpy, forward(backend, q, k, v))
    assert_same_bits(kept, out)
    assert_exact(out, reference.attention_forward, q, k, v)
    assert_exact(lse, reference.attention_lse, q, k)
    for after, before in zip(device, (q, k, v), strict=True):
        assert_same_bits(backend.to_numpy(after), before)


def assert_gradients_exact(gradients, dout, q, k, v, magnitude=1.0):
    """Hold dq, dk, dv to the rule, where q, k, v may move results by `magnitude` times an ulp.

    dz = p · (dp − Σ p · dp) is a difference, so dq and dk are judged by its terms: where the
    softmax takes one key they are equal, and dq and dk are what rounding leaves of them.
    """
    inputs = dout, q, k, v
    terms = magnitude * score_terms(*inputs)
    assert_exact(
        gradients[:2], lambda *a: reference.attention_backward(*a)[:2], *inputs, magnitude=terms
    )
    size = magnitude * float(np.abs(dout).max()) if magnitude > 1 else 0.0
    assert_exact(
        gradients[2], lambda *a: reference.attention_backward(*a)[2], *inputs, magnitude=size
    )


@pytest.mark.parametrize(("B", "T", "H", "D"), SHAPES)
def test_backward_writes(backend, rng, B, T, H, D):
    dout, q, k, v = make(rng, B, T, H, D, count=4)
    assert_gradients_exact(backward(backend, dout, q, k, v), dout, q, k, v)


@pytest.mark.parametrize("size", [0.0, 30.0, 300.0])
def test_extreme_scores(backend, rng, size):
    """All scores equal; and scores of about 10³ and 10⁵, where the softmax takes one key.

    An ulp of such a score is a change of p by that much: the floor counts it.
    """
    dout, q, k, v = make(rng, 2, 37, 2, 16, count=4)
    q, k = np.float32(size) * q, np.float32(size) * k
    score = max(1.0, float(np.abs(np.einsum("bthd,bshd->bhts", q, k)).max()) / 4)  # √D = 4
    out, lse = map(backend.to_numpy, forward(backend, q, k, v))
    assert_exact(
        out, reference.attention_forward, q, k, v, magnitude=score * float(np.abs(v).max())
    )
    assert_exact(lse, reference.attention_lse, q, k)
    assert_gradients_exact(backward(backend, dout, q, k, v), dout, q, k, v, magnitude=score)


@pytest.mark.parametrize(("B", "T", "H", "D"), [(2, 5, 2, 3), (1, 1, 2, 8), (2, 150, 3, 16)])
def test_views_of_one_packed_array(backend, rng, B, T, H, D):
    """q, k, v read from, and dq, dk, dv written into, views; nothing else of the array changes."""
    dout, q, k, v = make(rng, B, T, H, D, count=4)
    packed, dpacked = on_device(
        backend,
        np.stack([q, k, v], axis=2),  # (B, T, 3, H, D)
        np.full((B, T, 4, H, D), np.nan, np.float32),
    )
    views = [packed[:, :, i] for i in range(3)]
    out, lse = poisoned(backend, (B, T, H, D)), poisoned(backend, (B, H, T))
    backend.attention_forward(*views, out=out, lse=lse)
    assert_exact(backend.to_numpy(out), reference.attention_forward, q, k, v)
    (device_dout,) = on_device(backend, dout)
    dviews = [dpacked[:, :, i] for i in range(3)]
    backend.attention_backward(device_dout, *views, out, lse, *dviews)
    gradients = backend.to_numpy(dpacked)
    assert np.isnan(gradients[:, :, 3]).all()
    assert_gradients_exact(tuple(gradients[:, :, i] for i in range(3)), dout, q, k, v)


def test_views_inside_larger_arrays(backend, rng):
    """Some rows, some tokens, some heads, and the first D of more: only D is contiguous."""
    large = normal(rng, 4, 9, 5, 12)
    (device,) = on_device(backend, large)
    region = np.s_[1:3, 2:8, 1:4, :7]
    view = device[region]
    out = backend.attention_forward(view, view, view)
    part = large[region]
    assert_exact(backend.to_numpy(out), reference.attention_forward, part, part, part)


@pytest.mark.parametrize(("T", "t"), [(5, 2), (257, 0), (257, 127), (257, 128), (300, 298)])
def test_no_output_sees_the_future(backend, rng, T, t):
    """Changing q, k, v at s > t changes no bit of out[: t + 1], whatever stands there."""
    q, k, v = make(rng, 2, T, 2, 8)
    out = backend.to_numpy(backend.attention_forward(*on_device(backend, q, k, v)))
    for array, value in ((q, 50.0), (k, -1e15), (v, 1e30)):
        array[:, t + 1 :] = value
    changed = backend.to_numpy(backend.attention_forward(*on_device(backend, q, k, v)))
    assert_same_bits(changed[:, : t + 1], out[:, : t + 1])


@pytest.mark.parametrize(("T", "t"), [(5, 2), (257, 128)])
def test_no_gradient_sees_what_cannot_use_it(backend, rng, T, t):
    """dk[s] and dv[s] for s > t do not change with dout[: t + 1], nor dq[: t + 1] with s > t."""
    dout, q, k, v = make(rng, 2, T, 2, 8, count=4)
    dq, dk, dv = backward(backend, dout, q, k, v)
    early = dout.copy()
    early[:, : t + 1] = 1e6
    _, dk_changed, dv_changed = backward(backend, early, q, k, v)
    np.testing.assert_array_equal(dk_changed[:, t + 1 :], dk[:, t + 1 :])
    np.testing.assert_array_equal(dv_changed[:, t + 1 :], dv[:, t + 1 :])
    k[:, t + 1 :], v[:, t + 1 :] = 3.0, 1e6
    dq_changed, _, _ = backward(backend, dout, q, k, v)
    np.testing.assert_array_equal(dq_changed[:, : t + 1], dq[:, : t + 1])


def test_rows_of_the_softmax_sum_to_one(backend, rng):
    """Equal values come out as they went in, and give q and k no gradient."""
    q, k, dout = make(rng, 2, 140, 2, 16)
    v = np.full_like(q, 3.0)
    out, _ = forward(backend, q, k, v)
    np.testing.assert_allclose(backend.to_numpy(out), 3.0, rtol=1e-6)
    dq, dk, dv = backward(backend, dout, q, k, v)
    rounding = 1e-5 * score_terms(dout, q, k, v)
    assert max(np.abs(dq).max(), np.abs(dk).max()) <= rounding
    np.testing.assert_allclose(  # each dout is shared out among its keys, and nothing is lost
        dv.sum(axis=1, dtype=np.float64), dout.sum(axis=1, dtype=np.float64), atol=1e-4
    )


def test_heads_and_batch_rows_are_independent(backend, rng):
    """Any one (row, head) alone gives what it gives among others."""
    q, k, v = make(rng, 3, 21, 4, 8)
    (out,) = (backend.to_numpy(backend.attention_forward(*on_device(backend, q, k, v))),)
    one = np.s_[1:2, :, 2:3]
    alone = backend.attention_forward(*on_device(backend, q[one], k[one], v[one]))
    assert_exact(backend.to_numpy(alone), reference.attention_forward, q[one], k[one], v[one])
    changed = v.copy()
    changed[0] = 1e6
    changed[:, :, 0] = -1e6
    other = backend.to_numpy(backend.attention_forward(*on_device(backend, q, k, changed)))
    assert_same_bits(other[1:, :, 1:], out[1:, :, 1:])


def test_the_same_bits_twice(backend, rng):
    dout, q, k, v = make(rng, 3, 150, 2, 16, count=4)
    first, second = (backward(backend, dout, q, k, v) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert_same_bits(a, b)


# --- the cache ------------------------------------------------------------------------------------


def through_the_cache(backend, q, k, v, S, pieces):
    """out (B, T, H, D) and the two caches, the tokens given in pieces; caches start as NaN."""
    B, _, H, D = q.shape
    k_cache, v_cache = poisoned(backend, (B, H, S, D)), poisoned(backend, (B, H, S, D))
    outs, position = [], 0
    for piece in pieces:
        at = np.s_[:, position : position + piece]
        device = on_device(backend, q[at], k[at], v[at])
        out = backend.attention_cached(*device, k_cache, v_cache, position)
        outs.append(backend.to_numpy(out))
        position += piece
    return np.concatenate(outs, axis=1), backend.to_numpy(k_cache), backend.to_numpy(v_cache)


@pytest.mark.parametrize(
    ("B", "H", "D", "S", "pieces"),
    [
        (1, 1, 1, 1, [1]),
        (2, 3, 4, 9, [1, 1, 1, 1, 1]),
        (2, 3, 4, 7, [7]),
        (3, 2, 16, 40, [11, 1, 5, 1]),
        (1, 2, 64, 300, [257, 1, 1, 41]),
        (5, 1, 128, 300, [140, 160]),
    ],
)
def test_cached_is_forward_row_by_row(backend, rng, B, H, D, S, pieces):
    """In whatever pieces; and the cache's rows are k and v, and those after them untouched."""
    T = sum(pieces)
    q, k, v = make(rng, B, T, H, D)
    out, k_cache, v_cache = through_the_cache(backend, q, k, v, S, pieces)
    assert_exact(out, reference.attention_forward, q, k, v)
    for cache, rows in ((k_cache, k), (v_cache, v)):
        assert_same_bits(np.ascontiguousarray(cache[:, :, :T].swapaxes(1, 2)), rows)
        assert np.isnan(cache[:, :, T:]).all()


def test_cached_in_pieces_is_cached_at_once(backend, rng):
    q, k, v = make(rng, 2, 50, 2, 16)
    at_once, *caches = through_the_cache(backend, q, k, v, 64, [50])
    in_pieces, *caches_in_pieces = through_the_cache(backend, q, k, v, 64, [1, 30, 19])
    assert_exact(in_pieces, reference.attention_forward, q, k, v)
    np.testing.assert_allclose(in_pieces, at_once, rtol=0, atol=1e-6 * np.abs(at_once).max())
    for a, b in zip(caches, caches_in_pieces, strict=True):
        assert_same_bits(a, b)


def test_cached_uses_what_the_cache_holds(backend, rng):
    """Keys and values that no call of this test put there, and views of packed q, k, v."""
    B, T, H, D, S, position = 2, 3, 2, 5, 11, 6
    packed = normal(rng, B, T, 3, H, D)
    k_cache, v_cache = normal(rng, B, H, S, D), normal(rng, B, H, S, D)
    device, device_k, device_v = on_device(backend, packed, k_cache, v_cache)
    out = poisoned(backend, (B, T, H, D))
    backend.attention_cached(
        device[:, :, 0], device[:, :, 1], device[:, :, 2], device_k, device_v, position, out=out
    )
    q, k, v = (packed[:, :, i] for i in range(3))

    def formula(q, k, v, k_cache, v_cache):
        return reference.attention_cached(q, k, v, k_cache, v_cache, position)

    ours = tuple(map(backend.to_numpy, (out, device_k, device_v)))
    assert_exact(ours, formula, q, k, v, k_cache, v_cache)


def test_cached_fills_the_last_row(backend, rng):
    """position + T = S fits; a token more is refused (test_checks.py)."""
    q, k, v = make(rng, 1, 4, 1, 3)
    out, k_cache, _ = through_the_cache(backend, q, k, v, 4, [3, 1])
    assert_exact(out, reference.attention_forward, q, k, v)
    assert not np.isnan(k_cache).any()
