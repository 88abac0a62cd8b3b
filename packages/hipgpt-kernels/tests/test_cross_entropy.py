"""Cross-entropy: the loss, which logit won, and the gradient that takes the logits' place."""

import numpy as np
import pytest

from . import reference
from .arrays import normal, on_device, poisoned
from .exactness import assert_exact, assert_same_bits

SHAPES = [(1, 2), (3, 5), (1, 50_257), (4, 128), (7, 1001), (300, 33)]
"""M, V: one row of two, odd, the widest vocabulary, aligned, indivisible, many rows."""


def case(rng, M, V):
    """Logits and targets, some of them −1 where there is more than one row."""
    logits, targets = 3 * normal(rng, M, V), rng.integers(0, V, M, np.int32)
    targets[1::3] = -1
    return logits, targets


def run_both(backend, logits, targets, scale=0.25):
    """losses, correct and gradient of the fused op, after holding the forward op to the same."""
    M = len(targets)
    results = []
    for fused in (False, True):
        device_logits, device_targets = on_device(backend, logits, targets)
        losses, correct = poisoned(backend, (M,)), poisoned(backend, (M,))
        outputs = {"losses": losses, "correct": correct}
        if fused:
            returned = backend.cross_entropy_forward_backward(
                device_logits, device_targets, scale, **outputs
            )
        else:
            returned = backend.cross_entropy_forward(device_logits, device_targets, **outputs)
        losses = backend.to_numpy(losses)
        assert_same_bits(backend.to_numpy(returned), losses)
        assert_same_bits(backend.to_numpy(device_targets), targets)
        results.append((losses, backend.to_numpy(correct), backend.to_numpy(device_logits)))
    (losses, correct, untouched), (fused_losses, fused_correct, gradient) = results
    assert_same_bits(losses, fused_losses)
    assert_same_bits(correct, fused_correct)
    assert_same_bits(untouched, logits)
    return losses, correct, gradient


@pytest.mark.parametrize(("M", "V"), SHAPES)
@pytest.mark.parametrize("scale", [1.0, 1 / 1024])
def test_loss_and_gradient(backend, rng, M, V, scale):
    logits, targets = case(rng, M, V)
    losses, correct, gradient = run_both(backend, logits, targets, scale)
    # A loss near 0 is the log of a sum near 1, which is rounded as 1 is.
    assert_exact(losses, reference.cross_entropy_forward, logits, targets, magnitude=1.0)
    assert_exact(gradient, reference.cross_entropy_backward, logits, targets, scale)
    assert_same_bits(correct, reference.cross_entropy_correct(logits, targets))


@pytest.mark.parametrize("V", [5, 100, 1000, 20_000])
@pytest.mark.parametrize("more", [1, 64])
def test_columns_that_are_no_ids(backend, rng, V, more):
    """As if they were not there; their gradient is 0, in rows that do not count too."""
    logits, targets = case(rng, 6, V)
    losses, correct, gradient = run_both(backend, logits, targets)
    wide = np.concatenate([logits, np.full((6, more), 1e9, np.float32)], axis=1)
    device, device_targets = on_device(backend, wide, targets)
    hits = backend.empty((6,))
    plain = backend.cross_entropy_forward(device, device_targets, correct=hits, columns=V)
    np.testing.assert_allclose(backend.to_numpy(plain), losses, rtol=1e-6, atol=1e-6)
    assert_same_bits(backend.to_numpy(hits), correct)
    assert_same_bits(backend.to_numpy(device), wide)
    fused = backend.cross_entropy_forward_backward(device, device_targets, 0.25, columns=V)
    assert_same_bits(backend.to_numpy(fused), backend.to_numpy(plain))
    ours = backend.to_numpy(device)
    np.testing.assert_allclose(ours[:, :V], gradient, rtol=1e-5, atol=1e-7)
    assert not ours[:, V:].any()


def test_outputs_are_optional(backend, rng):
    logits, targets = case(rng, 5, 7)
    losses, _, gradient = run_both(backend, logits, targets)
    device_logits, device_targets = on_device(backend, logits, targets)
    plain = backend.cross_entropy_forward(device_logits, device_targets)
    assert_same_bits(backend.to_numpy(plain), losses)
    fused = backend.cross_entropy_forward_backward(device_logits, device_targets, 0.25)
    assert_same_bits(backend.to_numpy(fused), losses)
    assert_same_bits(backend.to_numpy(device_logits), gradient)


def test_rows_that_do_not_count(backend, rng):
    """Target −1: loss 0, correct 0, gradient 0, whatever the logits; also when no row counts."""
    logits = normal(rng, 4, 9)
    logits[1] = 1e4
    targets = np.full(4, -1, np.int32)
    for array in run_both(backend, logits, targets):
        assert not array.any()


def test_gradient_rows_sum_to_zero(backend, rng):
    """Because the softmax sums to one."""
    logits, targets = case(rng, 40, 513)
    *_, gradient = run_both(backend, logits, targets, scale=1.0)
    np.testing.assert_allclose(gradient.sum(axis=1, dtype=np.float64), 0, atol=1e-6)


@pytest.mark.parametrize("V", [1000, 50_257])
def test_probabilities_keep_their_digits(backend, rng, V):
    """Beside the target the gradient is scale · p: as exact as the sum of V exponentials.

    A few ids share nearly all of it, as in a trained model: next to them the others vanish one by
    one in a running sum, though not together.
    """
    logits, targets = 4 * normal(rng, 3, V), np.zeros(3, np.int32)
    *_, gradient = run_both(backend, logits, targets, scale=1.0)

    def formula(logits):
        return reference.cross_entropy_backward(logits, targets, 1.0)[:, 1:]

    assert_exact(gradient[:, 1:], formula, logits)


@pytest.mark.parametrize("pattern", ["equal", "one high", "one low", "alternating", "target low"])
@pytest.mark.parametrize("V", [2, 7, 1000])
def test_extreme_logits(backend, pattern, V):
    """±10⁴ and all equal: finite, exact, without a warning."""
    logits = np.zeros((3, V), np.float32)
    targets = np.array([0, V - 1, V // 2], np.int32)
    if pattern == "equal":
        logits[:] = np.float32([[1e4], [-1e4], [0]])
    elif pattern == "one high":
        logits[np.arange(3), targets] = 1e4
    elif pattern == "one low":
        logits[np.arange(3), (targets + 1) % V] = -1e4
    elif pattern == "alternating":
        logits[:, ::2], logits[:, 1::2] = 1e4, -1e4
    else:
        logits[np.arange(3), targets] = -1e4
    losses, correct, gradient = run_both(backend, logits, targets, scale=1.0)
    assert_exact(losses, reference.cross_entropy_forward, logits, targets)
    # Probabilities near 1 cancel against [j = target], so the terms are of size 1.
    assert_exact(gradient, reference.cross_entropy_backward, logits, targets, 1.0, magnitude=1.0)
    assert_same_bits(correct, reference.cross_entropy_correct(logits, targets))


def test_ties_go_to_the_smaller_id(backend):
    logits = np.float32([[1, 3, 3, 0], [1, 3, 3, 0], [2, 2, 2, 2], [2, 2, 2, 2]])
    _, correct, _ = run_both(backend, logits, np.array([1, 2, 0, 3], np.int32))
    assert correct.tolist() == [1, 0, 1, 0]


def test_a_shift_of_a_row_changes_little(backend, rng):
    """Loss and gradient depend on differences of logits; a power of two keeps those exact."""
    logits = np.round(normal(rng, 6, 50) * 64) / 64
    targets = rng.integers(0, 50, 6, np.int32)
    losses, _, gradient = run_both(backend, logits, targets, scale=1.0)
    shifted_losses, _, shifted = run_both(backend, logits + np.float32(64), targets, scale=1.0)
    np.testing.assert_allclose(shifted_losses, losses, rtol=0, atol=1e-5)
    np.testing.assert_allclose(shifted, gradient, rtol=0, atol=1e-6)


def test_the_same_bits_twice(backend, rng):
    logits, targets = case(rng, 64, 1003)
    for first, second in zip(*(run_both(backend, logits, targets) for _ in range(2)), strict=True):
        assert_same_bits(first, second)
