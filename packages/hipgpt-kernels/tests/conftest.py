"""Fixtures of every test here: the backends that this machine has, and random numbers.

The odd thing: a test that takes `backend` runs once for each backend, and arrays go through
`from_numpy` and `to_numpy`, so that the suite that holds on the CPU is the one a GPU must pass.
"""

import zlib

import numpy as np
import pytest


@pytest.fixture(scope="session", params=["cpu", pytest.param("hip", marks=pytest.mark.gpu)])
def backend(request):
    """Each backend; "hip" is skipped, with the reason it gives, where it cannot be had."""
    import hipgpt_kernels

    if request.param == "cpu":
        return hipgpt_kernels.load_backend("cpu")
    try:
        return hipgpt_kernels.load_backend("hip")
    except hipgpt_kernels.BackendError as error:
        pytest.skip(str(error))


@pytest.fixture
def rng(request):
    """A random generator seeded with the test's name: equal in every run, its own in each test."""
    return np.random.default_rng(zlib.crc32(request.node.name.encode()))
