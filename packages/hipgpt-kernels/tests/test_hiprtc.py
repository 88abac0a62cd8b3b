"""The way through hiprtc, to its end: our call, hip-python's binding, a compiler behind it.

The odd thing: the libhiprtc.so is the tests' own over a plain clang (emulator/hiprtc_on_clang.cpp),
so the calls are shown to be right; that ROCm's compiler takes the sources as well is not. Each test
is a process of its own, because a library stays loaded; what this checkout has built ahead is out
of its sight, or nothing would be compiled.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hipgpt_kernels.hip import build

from .emulator import harness

TESTS = Path(__file__).resolve().parent

BEGIN = """
import ctypes, pathlib, sys, types
ctypes.CDLL(sys.argv[1])
from hipgpt_kernels.hip import build, code, driver
def none(architecture):
    raise build.CompilerError(f"{architecture} needs clang")
build.compiler_for = none
build.CODE = pathlib.Path(sys.argv[1]).parent / "_code"
device = types.SimpleNamespace(
    architecture="gfx942", target="gfx942:sramecc+:xnack-", name="some GPU", nvidia=False, index=0
)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The tests' libhiprtc.so."""
    pytest.importorskip("rocm.bindings.hiprtc", reason="hip-python is not installed")
    clang, compiler = build.find_clang(), build.find_host_compiler()
    if clang is None or "gfx942" not in build.clang_targets(clang):
        pytest.skip("there is no clang that knows gfx942")
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    path = tmp_path_factory.mktemp("hiprtc") / "libhiprtc.so"
    source = TESTS / "emulator" / "hiprtc_on_clang.cpp"
    flags = ["-std=c++17", "-shared", "-fPIC", "-fvisibility=hidden", "-Wl,-soname,libhiprtc.so"]
    subprocess.run([compiler, *flags, "-o", str(path), str(source)], check=True)
    return path, clang


def run(library, lines, tmp_path, **environment):
    path, clang = library
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + lines, str(path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=TESTS.parent,
        env=os.environ | {"HIPGPT_CLANG": clang, "HIPGPT_CACHE_DIR": str(tmp_path)} | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_kernel_with_its_headers_is_compiled_and_kept(library, tmp_path):
    lines = """
driver.calls.hip = lambda: None
objects = code.CodeObjects(device)
image = objects.image("basic")
assert code.CodeObjects(device).place("basic") == "cached"
print(image[:4] == b"\\x7fELF", b"fill_32" in image)
"""
    assert run(library, lines, tmp_path).split() == ["True", "True"]


def test_a_compile_error_is_the_compilers_own(library, tmp_path):
    lines = """
driver.calls.hip = lambda: None
build.sources = lambda stem: {"bad.hip": "int x = ;"}
try:
    code.CodeObjects(device).image("bad")
except code.CodeError as error:
    print(error)
"""
    said = run(library, lines, tmp_path)
    assert "bad.hip does not compile with hiprtc" in said
    assert "expected expression" in said


@pytest.mark.slow
def test_what_it_compiled_runs(library, tmp_path):
    """On the emulator."""
    if not shutil.which("g++"):
        pytest.skip("the emulator's runtime needs g++")
    try:
        harness.tinygrad()
    except harness.EmulatorError as error:
        pytest.skip(str(error))
    lines = """
import importlib
import numpy as np
sys.path.insert(0, "")
importlib.import_module("tests.emulator.harness").start()
from hipgpt_kernels import load_backend
hip = load_backend("hip")
x = np.arange(100, dtype=np.float32)
print(bool((hip.to_numpy(hip.add(hip.from_numpy(x), hip.from_numpy(x))) == 2 * x).all()))
"""
    assert run(library, lines, tmp_path, HIPGPT_EMULATE="gfx942").split() == ["True"]
