"""The examples run as they are printed, and say what they should."""

import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def run(name, capsys):
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return capsys.readouterr().out


def test_numpy(capsys):
    said = run("with_numpy.py", capsys)
    assert "attention        out (2, 64, 4, 32), dq (2, 64, 4, 32)" in said
    assert "dweight (1000, 128)" in said


def small(said):
    """Every difference is rounding."""
    pairs = re.findall(r"differs by (\S+)(?: of (\S+))?", said)
    assert pairs
    return all(float(error) < 1e-4 * max(float(size or 1), 1e-3) for error, size in pairs)


def test_pytorch(capsys):
    """On PyTorch's GPU where it has one, else on its CPU."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    said = run("with_pytorch.py", capsys)
    assert small(said)
    ours, theirs = re.search(r"loss +(\S+) and (\S+)", said).groups()
    assert ours == theirs


def test_cupy(hip, capsys):
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if "emulated" in hip.description or not cupy.cuda.runtime.getDeviceCount():
        pytest.skip("CuPy sees no GPU")
    assert small(run("with_cupy.py", capsys))
