"""Fixtures of every test here: the backends that this machine has, and random numbers.

The odd thing: a test that takes `backend` runs once for each backend, and arrays go through
`from_numpy` and `to_numpy`, so that the suite that holds on the CPU is the one a GPU must pass.
Tests of ops that the CPU has in compiled code run on its narrower vectors too: those are what
other people's processors execute. With HIPGPT_EMULATE=gfx942 (or another of emulator/harness.py)
the GPU is emulated; there a test whose launches are too large is skipped, saying so.
"""

import os
import re
import zlib
from functools import cache

import numpy as np
import pytest

HIP = pytest.param("hip", marks=pytest.mark.gpu)

DEFAULT = ["cpu", HIP]
"""What the CPU gives by itself, and a GPU."""

CHECKED = ["numpy", "native", HIP]
"""Arguments are checked in Python, before any vector."""

COMPILED = ["numpy", "native", "native-8", "native-4", HIP]
"""NumPy alone; the compiled code with the widest vectors of this processor, and with at most 8
and 4 floats to a vector, as AVX2 and SSE2 or NEON have them."""

COMPILED_STEMS = {
    "embedding",
    "linear",
    "activation",
    "layernorm",
    "attention",
    "dropout",
    "cross_entropy",
    "adamw",
    "propagation",
}
"""Stems of the test files whose ops are in compiled code."""


def pytest_generate_tests(metafunc):
    if "backend" in metafunc.fixturenames:
        stem = metafunc.module.__name__.rpartition("test_")[2]
        names = COMPILED if stem in COMPILED_STEMS else CHECKED if stem == "checks" else DEFAULT
        metafunc.parametrize("backend", names, indirect=True)


@cache
def load(name):
    """One backend of each name, so that it has one pool of threads; or the reason for none."""
    import hipgpt_kernels

    native = {"cpu": None, "numpy": False}.get(name, True)
    try:
        if name == "hip":
            _emulator()
            return hipgpt_kernels.load_backend("hip")
        return hipgpt_kernels.load_backend("cpu", native=native)
    except hipgpt_kernels.BackendError as error:
        return str(error)


def load_or_skip(name):
    backend = load(name)
    if isinstance(backend, str):
        pytest.skip(backend)
    return backend


def _emulator():
    """The emulator, where the environment asks for one: hip-python drives it like a GPU."""
    if not os.environ.get("HIPGPT_EMULATE"):
        return None
    from .emulator import harness

    return harness.start()


@pytest.fixture
def hip():
    """The GPU backend, for tests of what only it has; skipped where it cannot be had."""
    return load_or_skip("hip")


def pytest_collection_modifyitems(items):
    for item in items:
        if "hip" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.gpu)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """In the emulator a test that launches too much is skipped; see `Emulator.running`."""
    emulator = _emulator() if "gpu" in item.keywords else None
    if emulator is None:
        return (yield)
    with emulator.running(item.nodeid):
        return (yield)


@pytest.fixture
def backend(request, monkeypatch):
    """Each backend; skipped, with the reason it gives, where it cannot be had.

    The compiled code looks its library up at every call, so a narrower one is in force for a test.
    """
    name = request.param
    _, _, width = name.partition("-")
    if not width:
        yield load_or_skip(name)
        return
    from hipgpt_kernels.native.library import load_library

    monkeypatch.setenv("HIPGPT_CPU_WIDTH", width)
    load_library.cache_clear()
    try:
        loaded = load_or_skip(name)
        if load_library().hipgpt_own_width() != int(width):
            pytest.skip(f"this processor has no vectors of {width} floats")
        yield loaded
    finally:
        load_library.cache_clear()


@pytest.fixture
def rng(request):
    """Random numbers seeded with the test's name: its own in each test, equal on every backend."""
    name = re.sub(r"\b(cpu|numpy|native-\d|native|hip)\b-?", "", request.node.name)
    return np.random.default_rng(zlib.crc32(name.encode()))
