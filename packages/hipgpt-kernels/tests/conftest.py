"""Fixtures of every test here: the backends that this machine has, and random numbers.

The odd thing: a test that takes `backend` runs once for each backend, and arrays go through
`from_numpy` and `to_numpy`, so that the suite that holds on the CPU is the one a GPU must pass.
Tests of ops that the CPU has in compiled code run on its narrower vectors too: those are what
other people's processors execute.
"""

import re
import zlib

import numpy as np
import pytest

BACKENDS = ["numpy", "native", pytest.param("hip", marks=pytest.mark.gpu)]
"""The CPU with NumPy alone, the CPU with its compiled code, a GPU."""

NARROW = ["native-8", "native-4"]
"""The compiled code with vectors of at most 8 and 4 floats: AVX2, and SSE2 or NEON."""

COMPILED = {"linear", "activation", "layernorm", "attention", "cross_entropy", "adamw", "checks"}
"""Stems of the test files whose ops are in compiled code."""

_loaded = {}  # backend by name: one each, so that there is one pool of threads each


def pytest_generate_tests(metafunc):
    if "backend" in metafunc.fixturenames:
        stem = metafunc.module.__name__.rpartition("test_")[2]
        names = BACKENDS + (NARROW if stem in COMPILED else [])
        metafunc.parametrize("backend", names, indirect=True)


def _load(name):
    import hipgpt_kernels

    try:
        if name == "hip":
            return hipgpt_kernels.load_backend("hip")
        return hipgpt_kernels.load_backend("cpu", native=name != "numpy")
    except hipgpt_kernels.BackendError as error:
        pytest.skip(str(error))


@pytest.fixture
def backend(request, monkeypatch):
    """Each backend; skipped, with the reason it gives, where it cannot be had."""
    name = request.param
    if name in NARROW:
        from hipgpt_kernels.native.library import load_library

        width = name.removeprefix("native-")
        monkeypatch.setenv("HIPGPT_CPU_WIDTH", width)
        load_library.cache_clear()
        request.addfinalizer(load_library.cache_clear)
    if name not in _loaded:
        _loaded[name] = _load(name)
    if name in NARROW and load_library().hipgpt_own_width() != int(width):
        pytest.skip(f"this processor has no vectors of {width} floats")
    return _loaded[name]


@pytest.fixture
def rng(request):
    """Random numbers seeded with the test's name: its own in each test, equal on every backend."""
    name = re.sub(r"\b(numpy|native-\d|native|hip)\b-?", "", request.node.name)
    return np.random.default_rng(zlib.crc32(name.encode()))
