"""Gradients by central differences: the one judge that needs no formula.

The odd thing: everything is float64, so that the rounding error of a difference, about 1e-16 over
STEP, and its truncation error, about STEP², are near 1e-10 and TOLERANCE can be strict.
"""

import numpy as np

STEP = 1e-5
"""Half the distance of the two evaluations; inputs are of size one."""

TOLERANCE = 1e-7
"""Of the largest gradient, or of 1: a hundred times what STEP leaves in a long formula."""


def numerical_gradient(function, x):
    """d function / d x by (f(x + h) − f(x − h)) / 2h, one element at a time; shaped like x."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        kept = x[index]
        x[index] = kept + STEP
        above = function()
        x[index] = kept - STEP
        below = function()
        x[index] = kept
        gradient[index] = (above - below) / (2 * STEP)
    return gradient


def assert_gradient(analytic, function, x):
    """`analytic` is d function / d x; `function` takes nothing and reads x."""
    assert analytic.dtype == x.dtype == np.float64
    assert analytic.shape == x.shape
    numerical = numerical_gradient(function, x)
    np.testing.assert_allclose(
        analytic, numerical, rtol=0, atol=TOLERANCE * max(1, np.abs(numerical).max(initial=0))
    )
