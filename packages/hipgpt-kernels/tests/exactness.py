"""When is a float32 result right? The one rule, and what it needs.

    max|ours − ref64| ≤ 2 · max|plain float32 NumPy − ref64| + floor

The odd thing: there is no tolerance to choose. The formula of `reference.py` runs twice on the same
float32 inputs, in float64 (the truth) and in float32 (the honest alternative), and an op may be at
most twice as far from the truth as the alternative is. The form is flash-attention's.
"""

import numpy as np

FLOOR_ULPS = 8
"""The floor, in float32 ulps of the largest result. On a few elements plain float32 is often
exactly right by luck, and twice nothing leaves no room for what any order of the same operations
must do: one rounding each for the half dozen operations of a formula, two for an exponential."""


def _cast(inputs, dtype):
    """Floating arrays in dtype; ids, flags and numbers as they are."""
    return [
        x.astype(dtype) if isinstance(x, np.ndarray) and np.issubdtype(x.dtype, np.floating) else x
        for x in inputs
    ]


def _outputs(result):
    return result if isinstance(result, tuple) else (result,)


def assert_exact(ours, formula, *inputs, magnitude=0.0):
    """Hold `ours` to the rule.

    Args:
        ours: float32 NumPy array, or a tuple of them.
        formula: function of the inputs that gives the same arrays, in the dtype of its inputs.
        inputs: float32 arrays, and anything else that the formula takes.
        magnitude: size of the terms, where they cancel and the result says little about them; the
            floor is relative to it or to the largest result, whichever is larger.
    """
    truth = _outputs(formula(*_cast(inputs, np.float64)))
    plain = _outputs(formula(*_cast(inputs, np.float32)))
    ours = _outputs(ours)
    assert len(ours) == len(truth) == len(plain)
    for number, (a, b, c) in enumerate(zip(ours, truth, plain, strict=True)):
        _assert_one(np.asarray(a), np.asarray(b), np.asarray(c), magnitude, number)


def _assert_one(ours, truth, plain, magnitude, number):
    assert ours.dtype == np.float32, f"output {number} is {ours.dtype}"
    assert plain.dtype == np.float32, f"the formula's output {number} left float32: {plain.dtype}"
    assert truth.dtype == np.float64, f"the formula's output {number} left float64: {truth.dtype}"
    assert ours.shape == truth.shape, f"output {number} is {ours.shape}, expected {truth.shape}"
    if ours.size == 0:
        return
    assert np.isfinite(ours).all(), f"output {number} is not finite"
    error = np.abs(ours - truth)
    theirs = np.abs(plain - truth).max()
    scale = max(np.abs(truth).max(), magnitude)
    allowed = 2 * theirs + FLOOR_ULPS * np.finfo(np.float32).eps * scale
    worst = np.unravel_index(error.argmax(), error.shape)
    assert error[worst] <= allowed, (
        f"output {number}: {ours[worst]} at {tuple(map(int, worst))}, expected {truth[worst]}: "
        f"error {error[worst]:.3g}, plain float32 {theirs:.3g}, allowed {allowed:.3g}"
    )


def assert_same_bits(a, b):
    """Equal shapes, dtypes and bits: −0 is not 0 here, and NaN equals itself."""
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    assert a.tobytes() == b.tobytes(), f"{(a != b).sum()} of {a.size} elements differ"
