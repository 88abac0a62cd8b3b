"""Arrays for tests: random ones, poisoned ones, results with and without `out`.

The odd thing: an output starts as NaN, or as a number no op gives, so that an element which an op
forgets to write cannot pass for a result.
"""

import numpy as np

from .exactness import assert_same_bits

POISON_INTEGER = 77
"""For integer arrays, which have no NaN."""


def normal(rng, *shape):
    """Standard normal float32."""
    return rng.standard_normal(shape, dtype=np.float32)


def poisoned(backend, shape, dtype=np.float32):
    """A device array of NaN (77 for integers), to be overwritten in full."""
    poison = np.nan if np.issubdtype(dtype, np.floating) else POISON_INTEGER
    return backend.from_numpy(np.full(shape, poison, dtype))


def on_device(backend, *arrays):
    """Each NumPy array as an array of the backend; None stays None."""
    return [None if array is None else backend.from_numpy(array) for array in arrays]


def result_both_ways(backend, op, shape, dtype=np.float32):
    """op() and op(out=...) give the same bits, the second in `out` itself; as a NumPy array."""
    out = poisoned(backend, shape, dtype)
    returned = op(out=out)
    given = backend.to_numpy(out)
    assert_same_bits(backend.to_numpy(returned), given)
    assert_same_bits(backend.to_numpy(op()), given)
    return given
