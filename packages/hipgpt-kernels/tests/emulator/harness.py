"""Runs the GPU backend without a GPU: HIPGPT_EMULATE=gfx942 executes AMD's machine code, slowly.

`start` loads our own libamdhip64.so before hip-python looks for one; a launch through it executes
the real code object, instruction by instruction, in the emulator of a tinygrad checkout
(HIPGPT_TINYGRAD). The odd thing: one process emulates one architecture, and the layout of every
launch's arguments is held against what the compiler wrote about the kernel.
"""

import contextlib
import ctypes
import functools
import json
import os
import shutil
import struct
import subprocess
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import pytest

from .code_object import read_kernels
from .instructions import Instructions
from .repairs import repair
from .waves import TooLongError, Waves

HERE = Path(__file__).resolve().parent
INTERFACE = HERE.parents[1] / "src" / "hipgpt_kernels" / "csrc" / "nvidia"

ARCHITECTURES = {
    # gfx name: (the emulator's name, lanes of a wave, bytes of LDS of a block)
    "gfx1100": ("rdna3", 32, 64 << 10),
    "gfx1201": ("rdna4", 32, 64 << 10),
    "gfx942": ("cdna", 64, 64 << 10),
    "gfx950": ("cdna", 64, 160 << 10),
}

# Which user registers come before the address of the arguments, by bit of the code properties:
# private segment buffer, dispatch pointer, queue pointer (LLVM's AMDGPU usage guide).
BEFORE_ARGUMENTS = ((1 << 0, 4), (1 << 1, 2), (1 << 2, 2))
ARGUMENTS_POINTER = 1 << 3

CACHE_WORDS = {"rdna3": {0xE0AC0000: 2}, "rdna4": {0xEE0AC07C: 3, 0xEE0B007C: 3}}
"""First words of the instructions that empty or write back a cache (buffer_gl0_inv, global_inv,
global_wb), which the emulator cannot decode, each with its length in words."""
NOP = 0xBF800000

Load = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)
Function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_char_p)
Launch = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_int64,
    *(ctypes.c_uint,) * 5,
    ctypes.c_void_p,
    ctypes.c_size_t,
)

LAUNCH_FAILURE, NOT_SUPPORTED = 719, 801

MOST_INSTRUCTIONS = int(os.environ.get("HIPGPT_EMULATE_INSTRUCTIONS", "5000000"))
"""Of all waves of one launch: some seconds. Tests with longer ones are skipped, saying so."""
MOST_OF_TEST = 10 * MOST_INSTRUCTIONS
"""Of all launches of one test, likewise."""


class EmulatorError(RuntimeError):
    """The emulator cannot be had; the message says why."""


def tinygrad():
    """The folder of the checkout."""
    text = os.environ.get("HIPGPT_TINYGRAD", "")
    if not text or not Path(text, "test", "mockgpu", "amd", "emu.py").exists():
        raise EmulatorError(
            f"HIPGPT_TINYGRAD is {text!r}, expected a checkout of tinygrad's source tree"
        )
    return text


def load_emulator(architecture):
    """The emulator's module, repaired, with what is known of its instructions."""
    clang = next(
        (
            name
            for name in ("clang", *(f"clang-{n}" for n in range(24, 13, -1)))
            if shutil.which(name)
        ),
        None,
    )
    if clang is None:
        raise EmulatorError("the emulator needs clang to compile what it executes")
    os.environ.setdefault("CC", clang)
    sys.path.insert(0, tinygrad())
    from test.mockgpu.amd import emu, pcode

    repair(emu, pcode)
    emu._get_runner = Instructions(emu, tinygrad(), architecture, HERE / "repairs.py")
    return emu


def build_library(folder):
    """Compile the libamdhip64.so of this folder; return its path."""
    path = Path(folder, "libamdhip64.so")
    compiler = next((name for name in ("g++", "clang++") if shutil.which(name)), None)
    if compiler is None:
        raise EmulatorError("the emulator needs g++ or clang++")
    command = [compiler, "-std=c++17", "-O2", "-shared", "-fPIC", "-Wall", "-Wextra"]
    command += ["-Wl,-soname,libamdhip64.so", "-I", str(INTERFACE), "-o", str(path)]
    sources = [str(HERE / name) for name in ("hip_on_host.cpp", "waves.cpp")]
    subprocess.run([*command, *sources], check=True)
    return path


def user_registers(kernel, arguments):
    """The first scalar registers of a wave: the address of the arguments stands where LLVM says."""
    assert kernel.properties & ARGUMENTS_POINTER, f"{kernel.name} takes no arguments"
    assert kernel.preload == 0, (
        f"{kernel.name} wants its arguments preloaded, which is not emulated"
    )
    before = sum(count for bit, count in BEFORE_ARGUMENTS if kernel.properties & bit)
    return [0] * before + [arguments & 0xFFFFFFFF, arguments >> 32]


def without_cache_words(kernels, emulated):
    """Replace the instructions for caches by s_nop: the emulator has no cache.

    A literal that happens to have the same bits would be replaced too; the words after it must be
    what stands in the instruction, which makes that all but impossible.
    """
    begin = min(kernel.entry for kernel in kernels.values()) if kernels else 0
    size = max((kernel.entry + kernel.size - begin for kernel in kernels.values()), default=0)
    code = np.frombuffer((ctypes.c_uint32 * (size // 4)).from_address(begin), np.uint32)
    for first, length in CACHE_WORDS.get(emulated, {}).items():
        for place in np.flatnonzero(code == first):
            if code[place + length - 1] in (0, 0x80000000):
                code[place : place + length] = NOP
    return kernels


def check_launch(kernel, threads, shared, limit, packed, knows):
    """Hold a launch against what the compiler wrote about the kernel.

    The arguments have no names in a launch, so what can be compared is their extent and their
    pointers: the packed bytes must end where the last argument ends, nothing hidden may be
    expected, and where the compiler says pointer there must be null or somebody's memory.
    test_arguments.py compares the rest, the types that each kernel is declared with.

    Args:
        kernel: the kernel's code.
        threads: of a block.
        shared: bytes of LDS that the launch adds.
        limit: bytes of LDS that a block may have.
        packed: the arguments, bytes.
        knows: does an address lie in an allocation?
    """
    hidden = [kind for _, _, kind in kernel.arguments if kind.startswith("hidden_")]
    assert not hidden, f"{kernel.name} expects {hidden}, which no launch here passes"
    end = max((offset + size for offset, size, _ in kernel.arguments), default=0)
    assert len(packed) == end, (
        f"{kernel.name}: {len(packed)} bytes of arguments came, expected {end}"
    )
    for number, (offset, _, kind) in enumerate(kernel.arguments):
        if kind == "global_buffer":
            (address,) = struct.unpack_from("<Q", packed, offset)
            assert address == 0 or knows(address), (
                f"{kernel.name}: argument {number} is {address:#x}, expected an address on the GPU"
            )
    assert threads <= kernel.threads, (
        f"{kernel.name}: {threads} threads a block, its code was compiled for {kernel.threads}"
    )
    total = kernel.group + shared
    assert total <= limit, f"{kernel.name}: {total} bytes of LDS, a block has {limit}"


class Emulator:
    """The callbacks of the library; kept alive for as long as the process."""

    def __init__(self, name):
        self.name = name
        self.emulated, self.wave, self.shared_limit = ARCHITECTURES[name]
        self.modules = []
        self.functions = []
        self.launched = {}
        """Launches by kernel: what a run has covered."""
        self.too_large = ""
        """Set by a launch that was refused for its size; whoever runs the test looks and resets."""
        self.left = MOST_OF_TEST
        self.knows = self.waves = None  # of the library: `start` sets them
        self.callbacks = (Load(self.load), Function(self.function), Launch(self.launch))

    @contextlib.contextmanager
    def running(self, test):
        """Skip a test that launches too much, whatever it did with the error; record the others.

        A line of the file HIPGPT_EMULATED tells what a test launched and how it ended.
        """
        self.launched, self.too_large, self.left = {}, "", MOST_OF_TEST
        outcome, start = "failed", time.perf_counter()
        try:
            try:
                yield
            except Exception:
                if self.too_large:
                    pytest.skip(self.too_large)
                raise
            assert not self.too_large, "a launch was refused and nobody noticed"
            outcome = "passed"
        except pytest.skip.Exception:
            outcome = "skipped"
            raise
        finally:
            if path := os.environ.get("HIPGPT_EMULATED"):
                line = {"test": test, "outcome": outcome, "kernels": self.launched}
                line["seconds"] = round(time.perf_counter() - start, 3)
                with Path(path).open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")

    def load(self, image):
        """A new module: its number."""
        try:
            (sections,) = struct.unpack("<Q", ctypes.string_at(image + 40, 8))
            entry, count = struct.unpack("<HH", ctypes.string_at(image + 58, 4))
            data = ctypes.string_at(image, sections + entry * count)
            self.modules.append(without_cache_words(read_kernels(data), self.emulated))
        except Exception:  # noqa: BLE001  # C is the caller
            traceback.print_exc()
            return 0
        return len(self.modules)

    def function(self, module, name):
        """A kernel of a module: its number, 0 where there is none."""
        kernel = self.modules[module - 1].get(name.decode())
        if kernel is None:
            return 0
        self.functions.append(kernel)
        return len(self.functions)

    def launch(self, function, gx, gy, gz, threads, shared, arguments, packed):
        """Execute a kernel; a fault is printed and becomes hipErrorLaunchFailure."""
        kernel = self.functions[function - 1]
        try:
            data = ctypes.string_at(arguments, packed)
            check_launch(kernel, threads, shared, self.shared_limit, data, self.knows)
            segment = ctypes.create_string_buffer(max(kernel.argument_bytes, packed, 8) + 64)
            address = (ctypes.addressof(segment) + 63) // 64 * 64  # as a real one is aligned
            ctypes.memmove(address, arguments, packed)
            self.left -= self.waves.launch(
                *(kernel, (gx, gy, gz), threads, kernel.group + shared, address),
                *(user_registers(kernel, address), min(MOST_INSTRUCTIONS, self.left)),
            )
        except TooLongError:
            self.too_large = (
                f"{kernel.name} executes more instructions than it may in the emulator (a launch "
                f"HIPGPT_EMULATE_INSTRUCTIONS={MOST_INSTRUCTIONS}, a test ten times as many)"
            )
            return NOT_SUPPORTED
        except BaseException:  # noqa: BLE001  # C is the caller
            traceback.print_exc()
            return LAUNCH_FAILURE
        self.launched[kernel.name] = self.launched.get(kernel.name, 0) + 1
        return 0


@functools.cache
def start():
    """Load the library for HIPGPT_EMULATE's architecture; hip-python finds it from then on.

    Returns the Emulator.
    """
    import tempfile

    name = os.environ["HIPGPT_EMULATE"]
    if name not in ARCHITECTURES:
        raise EmulatorError(
            f"HIPGPT_EMULATE is {name!r}, expected one of {', '.join(ARCHITECTURES)}"
        )
    emulator = Emulator(name)
    emu = load_emulator(emulator.emulated)
    with tempfile.TemporaryDirectory() as folder:
        library = ctypes.CDLL(str(build_library(folder)))
    library.emulator_start.argtypes = [
        Load,
        Function,
        Launch,
        ctypes.c_char_p,
        *(ctypes.c_int,) * 2,
    ]
    library.emulator_start.restype = None
    library.emulator_knows.argtypes = [ctypes.c_void_p]
    emulator.knows = library.emulator_knows
    emulator.waves = Waves(emu, library, emulator.emulated)
    library.emulator_start(*emulator.callbacks, name.encode(), emulator.wave, emulator.shared_limit)
    return emulator
