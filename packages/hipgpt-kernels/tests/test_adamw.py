"""AdamW and the norm that clips it, over flat arrays and over slices of them."""

import numpy as np
import pytest

from . import reference
from .arrays import normal, on_device
from .exactness import assert_exact, assert_same_bits

HYPERPARAMETERS = {
    "learning_rate": 1e-2,
    "beta1": 0.9,
    "beta2": 0.95,
    "epsilon": 1e-8,
    "weight_decay": 0.1,
}
SIZES = [1, 5, 1000, 1024, 100_003]


def state(rng, n):
    """weights, gradients, m, v as they stand in the middle of a training."""
    return normal(rng, n), normal(rng, n), 0.1 * normal(rng, n), np.square(normal(rng, n))


def assert_step_exact(ours, arrays, **options):
    """Weights, m and v each by its own size; m by its terms, for β₁m and (1−β₁)g may cancel."""
    gradients = arrays[1]
    terms = (1 - options["beta1"]) * float(np.abs(gradients).max())
    if options.get("max_norm"):
        terms *= min(1.0, options["max_norm"] / (options["norm"] + 1e-6))
    for number, magnitude in enumerate((0.0, terms, 0.0)):
        assert_exact(
            ours[number],
            lambda *a, i=number: reference.adamw_step(*a, **options)[i],
            *arrays,
            magnitude=magnitude,
        )


def run(backend, arrays, norm=None, **options):
    """weights, m, v after one step of the backend."""
    device = on_device(backend, *arrays)
    if norm is not None:
        (norm,) = on_device(backend, np.asarray(norm, np.float32))
    backend.adamw_step(*device, norm=norm, **options)
    weights, gradients, m, v = map(backend.to_numpy, device)
    assert_same_bits(gradients, arrays[1])
    return weights, m, v


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("step", [1, 2, 1000])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_one_step(backend, rng, n, step, weight_decay):
    arrays = state(rng, n)
    options = HYPERPARAMETERS | {"step": step, "weight_decay": weight_decay}
    assert_step_exact(run(backend, arrays, **options), arrays, **options)


@pytest.mark.parametrize("beta1", [0.0, 0.9])
@pytest.mark.parametrize("beta2", [0.0, 0.95, 0.999, 0.9999])
@pytest.mark.parametrize("step", [1, 10])
def test_betas(backend, rng, beta1, beta2, step):
    """1 − β₂ for β₂ = 0.9999 has four digits less in float32 than in the formula, if rounded first.

    From zero moments, so that nothing but (1 − β)·g stands in them.
    """
    weights, gradients, *_ = state(rng, 1000)
    arrays = weights, gradients, np.zeros_like(weights), np.zeros_like(weights)
    options = HYPERPARAMETERS | {"step": step, "beta1": beta1, "beta2": beta2}
    assert_step_exact(run(backend, arrays, **options), arrays, **options)


@pytest.mark.parametrize("norm", [0.0, 0.5, 1.0, 1.0001, 40.0, 1e20])
@pytest.mark.parametrize("max_norm", [0.0, 1.0])
def test_clipping(backend, rng, norm, max_norm):
    arrays = state(rng, 1000)
    options = HYPERPARAMETERS | {"step": 3, "max_norm": max_norm}
    ours = run(backend, arrays, norm=norm, **options)
    assert_step_exact(ours, arrays, **options, norm=float(np.float32(norm)))


@pytest.mark.parametrize("size", [1e-18, 1e15, 1e25])
def test_clipping_of_extreme_gradients(backend, rng, size):
    """The clipped gradient is moderate, so its square is; that of the raw one need not fit."""
    n = 1000
    weights, gradients, m, v = state(rng, n)
    gradients *= np.float32(size)
    norm = float(np.float32(np.linalg.norm(gradients.astype(np.float64))))
    options = HYPERPARAMETERS | {"step": 3, "max_norm": min(1.0, norm)}
    arrays = weights, gradients, m, v
    ours = run(backend, arrays, norm=norm, **options)
    assert_step_exact(ours, arrays, **options, norm=norm)


@pytest.mark.parametrize("norm", [np.nan, np.inf])
@pytest.mark.parametrize("max_norm", [0.0, 1.0])
def test_a_norm_that_is_not_finite_changes_nothing(backend, rng, norm, max_norm):
    arrays = state(rng, 1000)
    arrays[1][7] = norm
    options = HYPERPARAMETERS | {"step": 3, "max_norm": max_norm}
    for after, before in zip(
        run(backend, arrays, norm=norm, **options), (arrays[0], *arrays[2:]), strict=True
    ):
        assert_same_bits(after, before)


def test_first_step_from_zero_moments(backend, rng):
    """Each weight moves by the learning rate against the sign, however small its gradient."""
    weights, gradients = normal(rng, 200), normal(rng, 200) * np.float32(1e-3)
    zero = np.zeros(200, np.float32)
    options = HYPERPARAMETERS | {"step": 1, "weight_decay": 0.0, "epsilon": 1e-12}
    new, _, _ = run(backend, (weights, gradients, zero, zero), **options)
    np.testing.assert_allclose(new, weights - 1e-2 * np.sign(gradients), rtol=0, atol=1e-6)


def test_no_gradient_no_movement_but_decay(backend, rng):
    weights, zero = normal(rng, 50), np.zeros(50, np.float32)
    options = HYPERPARAMETERS | {"step": 1}
    arrays = weights, zero, zero, zero
    new, m, v = run(backend, arrays, **options)
    assert_exact(new, lambda weights: weights - 1e-2 * 0.1 * weights, weights)
    assert not m.any()
    assert not v.any()


def test_ten_steps_with_clipping(backend, rng):
    """The norm from `gradient_norm` itself, kept on the device."""
    n = 3001
    weights = normal(rng, n)
    every_gradient = normal(rng, 10, n) * np.float32(0.1)
    device, m, v = backend.from_numpy(weights), backend.zeros((n,)), backend.zeros((n,))
    for step in range(1, 11):
        (gradients,) = on_device(backend, every_gradient[step - 1])
        norm = backend.gradient_norm(gradients)
        backend.adamw_step(
            device, gradients, m, v, **HYPERPARAMETERS, step=step, norm=norm, max_norm=1.0
        )

    def steps(weights, every_gradient):
        m, v = np.zeros_like(weights), np.zeros_like(weights)
        for step, gradients in enumerate(every_gradient, start=1):
            norm = float(reference.gradient_norm(gradients))
            weights, m, v = reference.adamw_step(
                weights, gradients, m, v, **HYPERPARAMETERS, step=step, norm=norm, max_norm=1.0
            )
        return weights, m, v

    ours = tuple(map(backend.to_numpy, (device, m, v)))
    assert_exact(ours, steps, weights, every_gradient)


def test_slices_of_flat_buffers(backend, rng):
    """Two groups with their own decay live in one buffer; each step leaves the other alone."""
    n, cut = 1000, 337
    arrays = state(rng, n)
    device = on_device(backend, *arrays)
    options = HYPERPARAMETERS | {"step": 2, "weight_decay": 0.0}
    backend.adamw_step(*(array[cut:] for array in device), **options)
    weights, _, m, v = map(backend.to_numpy, device)
    for after, before in zip((weights, m, v), (arrays[0], *arrays[2:]), strict=True):
        assert_same_bits(after[:cut], before[:cut])
    ours = weights[cut:], m[cut:], v[cut:]
    assert_step_exact(ours, [array[cut:] for array in arrays], **options)


@pytest.mark.parametrize("decayed", [0, 336, 337, 1000, None])
def test_the_first_elements_alone_decay(backend, rng, decayed):
    """What two calls do: bit for bit, where their slices too are read 16 bytes at a time."""
    n = 1000
    arrays = state(rng, n)
    options = HYPERPARAMETERS | {"step": 2}
    whole = on_device(backend, *arrays)
    backend.adamw_step(*whole, **options, decayed=decayed)
    parts = on_device(backend, *arrays)
    cut = n if decayed is None else decayed
    backend.adamw_step(*(array[:cut] for array in parts), **options)
    backend.adamw_step(*(array[cut:] for array in parts), **options | {"weight_decay": 0.0})
    for one, other in zip(whole, parts, strict=True):
        if cut % 4 == 0:
            assert_same_bits(backend.to_numpy(one), backend.to_numpy(other))
        else:
            assert backend.to_numpy(one) == pytest.approx(backend.to_numpy(other), rel=1e-6)


@pytest.mark.parametrize("factor", [0.0, 0.25, 1.0, 2.0**-24])
def test_a_factor_is_a_smaller_gradient(backend, rng, factor):
    """Powers of two: nothing is rounded on the way."""
    arrays = state(rng, 1000)
    options = HYPERPARAMETERS | {"step": 2}
    device = on_device(backend, *arrays)
    backend.adamw_step(*device, **options, factor=backend.from_numpy(np.array(factor)))
    ours = [backend.to_numpy(device[i]) for i in (0, 2, 3)]
    scaled = [arrays[0], arrays[1] * np.float32(factor), *arrays[2:]]
    for one, other in zip(ours, run(backend, scaled, **options), strict=True):
        assert_same_bits(one, other)


@pytest.mark.parametrize("skipped", [False, True])
@pytest.mark.parametrize("n", [1000, 1003])
def test_gradients_can_be_left_zero_and_a_skipped_step_changes_nothing_else(
    backend, rng, n, skipped
):
    arrays = state(rng, n)
    options = HYPERPARAMETERS | {"step": 2}
    device = on_device(backend, *arrays)
    factor = backend.from_numpy(np.array(np.nan if skipped else 1.0))
    backend.adamw_step(*device, **options, factor=factor, zero_gradients=True)
    weights, gradients, m, v = map(backend.to_numpy, device)
    assert not gradients.any()
    expected = (arrays[0], *arrays[2:]) if skipped else run(backend, arrays, **options)
    for one, other in zip((weights, m, v), expected, strict=True):
        assert_same_bits(one, other)


def test_numbers_may_be_on_the_device(backend, rng):
    arrays = state(rng, 1000)
    options = HYPERPARAMETERS | {"step": 7}
    device = on_device(backend, *arrays)
    changing = {
        "learning_rate": backend.from_numpy(np.array(options["learning_rate"])),
        "step": backend.from_numpy(np.array(7, np.int64)),
    }
    backend.adamw_step(*device, **options | changing)
    ours = [backend.to_numpy(device[i]) for i in (0, 2, 3)]
    for one, other in zip(ours, run(backend, arrays, **options), strict=True):
        assert_same_bits(one, other)


def test_the_same_bits_twice(backend, rng):
    arrays = state(rng, 100_003)
    options = HYPERPARAMETERS | {"step": 5}
    for a, b in zip(*(run(backend, arrays, **options) for _ in range(2)), strict=True):
        assert_same_bits(a, b)


# --- the norm -------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 7, 1024, 100_003, 1_000_001])
def test_gradient_norm(backend, rng, n):
    gradients = normal(rng, n)
    norm = backend.to_numpy(backend.gradient_norm(*on_device(backend, gradients)))
    assert norm.shape == ()
    assert_exact(norm, reference.gradient_norm, gradients)


def test_gradient_norm_of_a_slice(backend, rng):
    gradients = normal(rng, 1000)
    (device,) = on_device(backend, gradients)
    norm = backend.gradient_norm(device[3:777])
    assert_exact(backend.to_numpy(norm), reference.gradient_norm, gradients[3:777])


def test_gradient_norm_of_zeros_is_zero(backend):
    assert backend.to_numpy(backend.gradient_norm(backend.zeros((1000,)))) == 0


@pytest.mark.parametrize("size", [1e-15, 1e15, 1e30])
def test_gradient_norm_of_extreme_gradients(backend, rng, size):
    """Their squares leave the range of float32, the norm does not."""
    gradients = normal(rng, 20_000) * np.float32(size)
    norm = backend.to_numpy(backend.gradient_norm(*on_device(backend, gradients)))
    truth = np.linalg.norm(gradients.astype(np.float64))
    assert float(norm) == pytest.approx(truth, rel=1e-6)


def test_gradient_norm_beyond_float32_is_infinite(backend):
    """Such a step is lost (adamw_step), quietly."""
    (gradients,) = on_device(backend, np.full(100, 3e38, np.float32))
    assert backend.to_numpy(backend.gradient_norm(gradients)) == np.inf


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 50_000, 99_999])
def test_gradient_norm_shows_what_is_not_finite(backend, rng, value, at):
    gradients = normal(rng, 100_000)
    gradients[at] = value
    norm = backend.to_numpy(backend.gradient_norm(*on_device(backend, gradients)))
    assert not np.isfinite(norm)


def test_gradient_norm_gives_the_same_bits_twice(backend, rng):
    (gradients,) = on_device(backend, normal(rng, 500_001))
    first, second = (backend.to_numpy(backend.gradient_norm(gradients)) for _ in range(2))
    assert_same_bits(first, second)
