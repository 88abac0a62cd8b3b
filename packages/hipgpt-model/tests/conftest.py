"""Fixtures of every test here: the backends that this machine has, and random numbers.

The odd thing: a test that takes `backend` runs once for each backend; so the models here are tiny.
With HIPGPT_EMULATE=gfx942 the GPU is emulated (hipgpt-kernels/tests/emulator): choose few tests.
"""

import importlib
import os
import re
import sys
import types
import zlib
from functools import cache
from pathlib import Path

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
    return _load_or_skip(request.param)


@pytest.fixture
def hip():
    """The GPU alone, for tests that carry the marker `gpu`."""
    return _load_or_skip("hip")


def _load_or_skip(name):
    if name not in _loaded:
        if name == "hip" and os.environ.get("HIPGPT_EMULATE"):
            _emulator().start()
        try:
            _loaded[name] = load_backend(**BACKENDS[name])
        except BackendError as error:
            pytest.skip(str(error))
    return _loaded[name]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """In the emulator a test that launches too much is skipped; see `Emulator.running`."""
    if "gpu" not in item.keywords or not os.environ.get("HIPGPT_EMULATE"):
        return (yield)
    with _emulator().start().running(item.nodeid):
        return (yield)


@cache
def _emulator():
    """The kernels package's emulator of AMD's GPUs; HIPGPT_EMULATE names one."""
    folder = Path(__file__).parents[2] / "hipgpt-kernels" / "tests" / "emulator"
    if not folder.is_dir():
        pytest.skip("the tests of hipgpt-kernels, which have the emulator, are not beside these")
    package = types.ModuleType("hipgpt_emulator")
    package.__path__ = [str(folder)]
    sys.modules[package.__name__] = package
    return importlib.import_module("hipgpt_emulator.harness")


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
