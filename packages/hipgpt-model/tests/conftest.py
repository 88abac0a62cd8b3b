"""Fixtures of every test here: the backends that this machine has, and random numbers.

The odd thing: a test that takes `backend` runs once for each backend; so the models here are tiny.
"""

import re
import zlib

import numpy as np
import pytest

from hipgpt_kernels import BackendError, load_backend

BACKENDS = {
    "numpy": {"name": "cpu", "native": False},
    "native": {"name": "cpu", "native": True},
    "hip": {"name": "hip"},
}

_loaded = {}  # one backend of each name, so that there is one pool of threads each


@pytest.fixture(params=["numpy", "native", pytest.param("hip", marks=pytest.mark.gpu)])
def backend(request):
    """Each backend; skipped, with the reason it gives, where it cannot be had."""
    if request.param not in _loaded:
        try:
            _loaded[request.param] = load_backend(**BACKENDS[request.param])
        except BackendError as error:
            pytest.skip(str(error))
    return _loaded[request.param]


@pytest.fixture
def any_backend():
    """One backend, for what is the same on all of them."""
    if "any" not in _loaded:
        _loaded["any"] = load_backend("cpu")
    return _loaded["any"]


@pytest.fixture
def rng(request):
    """Random numbers seeded with the test's name: its own in each test, equal on every backend."""
    name = re.sub(r"\b(numpy|native|hip)\b-?", "", request.node.name)
    return np.random.default_rng(zlib.crc32(name.encode()))
