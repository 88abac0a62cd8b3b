"""The GPU tests as AMD machine code: one process for each architecture, since libraries do not mix.

Needs HIPGPT_TINYGRAD, a checkout of tinygrad, whose emulator executes the code objects. The odd
thing: the other tests of this package run there too; what is named here is what shows that the
machinery works. For the rest: HIPGPT_EMULATE=gfx942 pytest packages/hipgpt-kernels/tests -m gpu.
"""

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from . import code_object, harness, instructions

TESTS = Path(__file__).resolve().parents[1]
SHOWN = ("test_device.py", "test_basic.py", "test_stream.py", "test_memory.py", "test_sums.py")


@pytest.mark.slow
@pytest.mark.parametrize("architecture", harness.ARCHITECTURES)
def test_the_gpu_tests_hold_on(architecture, tmp_path):
    try:
        harness.tinygrad()
    except harness.EmulatorError as error:
        pytest.skip(str(error))
    if "HIPGPT_EMULATE" in os.environ:
        pytest.skip("this process is itself emulating")
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    result = subprocess.run(
        [*command, *(str(TESTS / name) for name in SHOWN)],
        cwd=TESTS.parents[2],
        env=os.environ | {"HIPGPT_EMULATE": architecture},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    assert " passed" in result.stdout


def test_messagepack_is_read_as_it_is_written():
    """Against the bytes of the specification's own examples."""
    data = bytes.fromhex("83a261739392c3c2a178cd0100a16ed1ff9ca173d90161")
    assert code_object.unpack(data) == (
        {"as": [[True, False], "x", 256], "n": -100, "s": "a"},
        len(data),
    )


@pytest.mark.parametrize("data", [None, b"", b"cut", b"\x80\x04."])
def test_damaged_instructions_are_made_again(tmp_path, data):
    store = object.__new__(instructions.Instructions)
    store.path = tmp_path / "store"
    if data is not None:
        store.path.write_bytes(data)
    assert store.read() == []
    store.stored, store.unsaved = [("form", 1, 2, 4, (0,), b"code")], 1
    store.save()
    assert store.read() == store.stored


def kernel(**changes):
    values = {
        "name": "add",
        "entry": 0,
        "size": 0,
        "rsrc2": 0,
        "private": 0,
        "group": 1024,
        "threads": 256,
        "properties": harness.ARGUMENTS_POINTER,
        "preload": 0,
        "arguments": [(0, 8, "global_buffer"), (8, 4, "by_value")],
        "argument_bytes": 12,
        "layout": None,
    }
    return code_object.KernelCode(**values | changes)


KNOWN = 0x1000
RIGHT = struct.pack("<Qi", KNOWN, 7)


@pytest.mark.parametrize(
    ("changes", "threads", "shared", "packed", "words"),
    [
        ({}, 256, 0, RIGHT + bytes(4), "16 bytes of arguments came, expected 12"),
        ({}, 256, 0, struct.pack("<Qi", 7, 7), "argument 0 is 0x7, expected an address"),
        ({}, 512, 0, RIGHT, "512 threads a block, its code was compiled for 256"),
        ({}, 256, 65536, RIGHT, "66560 bytes of LDS, a block has 65536"),
        ({"arguments": [(0, 4, "hidden_block_count_x")]}, 256, 0, RIGHT, "expects .*hidden_block"),
    ],
)
def test_a_launch_that_does_not_fit_its_kernel_is_refused(changes, threads, shared, packed, words):
    harness.check_launch(kernel(), 256, 0, 65536, RIGHT, KNOWN.__eq__)
    with pytest.raises(AssertionError, match=words):
        harness.check_launch(kernel(**changes), threads, shared, 65536, packed, KNOWN.__eq__)


def test_the_address_of_the_arguments_stands_where_the_kernel_looks():
    assert harness.user_registers(kernel(), 0x1_0000_0002) == [2, 1]
    scratch = kernel(properties=harness.ARGUMENTS_POINTER | 1)
    assert harness.user_registers(scratch, 7) == [0, 0, 0, 0, 7, 0]
