"""Are ids drawn as often as they should be? Pearson's test, with a border that luck does not cross.

The odd thing: ids expected fewer than five times are counted as one, because for them the statistic
does not follow the χ² distribution (the usual rule; Cochran 1954).
"""

import numpy as np

DEVIATIONS = 5
"""Of a normal number: what luck exceeds once in three million."""


def border(freedom):
    """The value that a χ² number exceeds as often as a normal one exceeds DEVIATIONS.

    Wilson and Hilferty 1931: (χ²/f)^⅓ is nearly normal with mean 1 − 2/(9f) and variance 2/(9f).
    """
    variance = 2 / (9 * freedom)
    return freedom * (1 - variance + DEVIATIONS * np.sqrt(variance)) ** 3


def assert_follows(ids, probabilities):
    """`ids` (n,) look like n draws from `probabilities` (V,), and none is an impossible id."""
    observed = np.bincount(ids, minlength=len(probabilities))
    assert not observed[probabilities == 0].any(), "an id was drawn that cannot be"
    expected = probabilities * len(ids)
    often = expected >= 5
    observed = np.append(observed[often], observed[~often].sum())
    expected = np.append(expected[often], expected[~often].sum())
    observed, expected = observed[expected > 0], expected[expected > 0]
    statistic = ((observed - expected) ** 2 / expected).sum()
    if len(expected) > 1:
        assert statistic <= border(len(expected) - 1)
