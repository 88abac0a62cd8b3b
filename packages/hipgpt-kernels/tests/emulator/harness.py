"""Runs the GPU backend without a GPU: HIPGPT_EMULATE=gfx942 executes AMD's machine code, slowly.

`start` loads our own libamdhip64.so before hip-python looks for one; a launch through it executes
the real code object, instruction by instruction, in the emulator of a tinygrad checkout
(HIPGPT_TINYGRAD). The odd thing: one process emulates one architecture, and the layout of every
launch's arguments is held against what the compiler wrote about the kernel.
"""

import ctypes
import functools
import inspect
import mmap
import os
import shutil
import struct
import subprocess
import sys
import traceback
from pathlib import Path

from .code_object import read_kernels

HERE = Path(__file__).resolve().parent
INTERFACE = HERE.parents[1] / "src" / "hipgpt_kernels" / "csrc" / "nvidia"

ARCHITECTURES = {
    # gfx name: (the emulator's name, lanes of a wave, bytes of LDS of a block)
    "gfx1100": ("rdna3", 32, 64 << 10),
    "gfx1201": ("rdna4", 32, 64 << 10),
    "gfx942": ("cdna", 64, 64 << 10),
    "gfx950": ("cdna", 64, 160 << 10),
}

LDS_SHIFT, LDS_UNIT = 15, 512
"""Where COMPUTE_PGM_RSRC2 holds the size of the LDS, and in what unit the emulator reads it."""
LDS_MASK = 0x1FF << LDS_SHIFT

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

MOST_THREADS = int(os.environ.get("HIPGPT_EMULATE_THREADS", str(1 << 15)))
"""Of one launch: some seconds. Tests with larger ones are skipped, saying so."""


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


@functools.cache
def run_asm():
    """The emulator's entry."""
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
    return emu.run_asm


def repair(emu, pcode):
    """What the emulator does otherwise than the hardware, and the kernels feel.

    - Its fused multiply-add rounds twice. In float64 the product of two float32 is exact.
    - Its conversion to bfloat16 carries a NaN over into infinity or −0.
    - An idle lane, too, looks at the LDS under whatever address its register holds: the LDS gets
      the whole of what 32 bits can address, of which only what is touched takes memory.
    - It flushes subnormals where it finds a clang to compile that switch with; code for HIP asks
      for subnormals (`float_mode` of the kernel descriptor).
    - It takes register 128 + n of a 16-bit instruction for the upper half of n on CDNA too, where
      registers are numbered to 255 and have no halves.
    """
    from tinygrad.dtype import dtypes

    plain, round_up = pcode._FUNCS["fma"], pcode._FUNCS["f32_to_bf16"]

    def fma(a, b, c):
        if a.dtype not in (dtypes.float32, dtypes.float16):
            return plain(a, b, c)
        wide = [one.cast(dtypes.float64) for one in (a, b, c)]
        return plain(*wide).cast(a.dtype)

    def f32_to_bf16(value):
        value = value if value.dtype == dtypes.float32 else value.bitcast(dtypes.float32)
        bits = value.bitcast(dtypes.uint32)
        quiet = ((bits >> 16) | 0x40).cast(dtypes.uint16)
        return value.ne(value).where(quiet, round_up(value))

    pcode._FUNCS["fma"] = fma
    pcode._FUNCS["f32_to_bf16"] = f32_to_bf16
    emu._get_ftz_lib = lambda: (None, 0)
    without_halves(emu)
    emu.Buffer = with_wide_lds(emu.Buffer, emu.BufferSpec)


def without_halves(emu):
    """Give CDNA's 16-bit instructions handlers for which no register is an upper half."""
    space = dict(vars(emu))
    names = "_load_vsrc0", "_compile_vop12", "_compile_vopc"
    for name in names:
        source = inspect.getsource(getattr(emu, name))
        for first_half in ("_c(128)", "_c(384)"):
            source = source.replace(first_half, "_c(1 << 20)")
        exec(source, space)
    for kind, handler in emu._INST_HANDLERS.items():
        if kind.__module__ == emu.irc.__name__ and handler.__name__ in names:
            emu._INST_HANDLERS[kind] = space[handler.__name__]


LDS_SPACE = (4 << 30) + (1 << 20)
NO_RESERVE = 0x4000
"""MAP_NORESERVE, which Python's mmap names from 3.13 on."""


def with_wide_lds(buffer, spec):
    """The emulator's Buffer; the one made right after that of all memory (at 0) is the LDS."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE
    space = mmap.mmap(-1, LDS_SPACE, flags=flags)
    address = ctypes.addressof(ctypes.c_char.from_buffer(space))
    state = {"lds next": False, "space": space}  # kept alive with the function

    def make(device, size, dtype, **keywords):
        if state["lds next"]:
            keywords["options"] = spec(external_ptr=address)
            ctypes.memset(address, 0xFF, 4 * size)  # NaN: nothing may count on zeros
        state["lds next"] = getattr(keywords.get("options"), "external_ptr", None) == 0
        return buffer(device, size, dtype, **keywords)

    return make


def build_library(folder):
    """Compile the libamdhip64.so of this folder; return its path."""
    path = Path(folder, "libamdhip64.so")
    compiler = next((name for name in ("g++", "clang++") if shutil.which(name)), None)
    if compiler is None:
        raise EmulatorError("the emulator needs g++ or clang++")
    command = [compiler, "-std=c++17", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra"]
    command += ["-Wl,-soname,libamdhip64.so", "-I", str(INTERFACE), "-o", str(path)]
    subprocess.run([*command, str(HERE / "hip_on_host.cpp")], check=True)
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
    words = CACHE_WORDS.get(emulated, {})
    for kernel in kernels.values():
        code = (ctypes.c_uint32 * (kernel.size // 4)).from_address(kernel.entry)
        for place in range(len(code)):
            length = words.get(code[place], 0)
            if length and code[place + length - 1] in (0, 0x80000000):
                for offset in range(length):
                    code[place + offset] = NOP
    return kernels


def check_launch(kernel, threads, shared, limit, packed):
    """Hold a launch against what the compiler wrote about the kernel.

    The arguments have no names in a launch, so what can be compared is their extent: the packed
    bytes must end where the last argument ends, and nothing hidden may be expected.
    """
    hidden = [kind for _, _, kind in kernel.arguments if kind.startswith("hidden_")]
    assert not hidden, f"{kernel.name} expects {hidden}, which no launch here passes"
    end = max((offset + size for offset, size, _ in kernel.arguments), default=0)
    assert packed == end, f"{kernel.name}: {packed} bytes of arguments came, expected {end}"
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
        self.callbacks = (Load(self.load), Function(self.function), Launch(self.launch))

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
        if gx * gy * gz * threads > MOST_THREADS:
            self.too_large = (
                f"{kernel.name} is launched with {gx * gy * gz * threads} threads, "
                f"too many to emulate in a test (HIPGPT_EMULATE_THREADS={MOST_THREADS})"
            )
            return NOT_SUPPORTED
        try:
            check_launch(kernel, threads, shared, self.shared_limit, packed)
            lds = -(-(kernel.group + shared) // LDS_UNIT)
            rsrc2 = (kernel.rsrc2 & ~LDS_MASK) | (lds << LDS_SHIFT)
            segment = ctypes.create_string_buffer(max(kernel.argument_bytes, packed, 8) + 64)
            address = (ctypes.addressof(segment) + 63) // 64 * 64  # as a real one is aligned
            ctypes.memmove(address, arguments, packed)
            run_asm()(
                kernel.entry,
                kernel.size,
                *(gx, gy, gz),
                *(threads, 1, 1),
                address,
                rsrc2,
                kernel.private,
                self.emulated,
                user_registers(kernel, address),
            )
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
    run_asm()
    with tempfile.TemporaryDirectory() as folder:
        library = ctypes.CDLL(str(build_library(folder)))
    emulator = Emulator(name)
    library.emulator_start.argtypes = [
        Load,
        Function,
        Launch,
        ctypes.c_char_p,
        *(ctypes.c_int,) * 2,
    ]
    library.emulator_start.restype = None
    library.emulator_start(*emulator.callbacks, name.encode(), emulator.wave, emulator.shared_limit)
    return emulator
