"""Executes a launch: block after block, and in a block wave after wave from barrier to barrier.

As the emulator's own `run_asm`, whose parts decode, compile and prepare registers here too. The odd
thing: an idle lane, too, looks at the LDS under whatever address its register holds, so the LDS has
all that 32 bits can address, of which only what is touched takes memory.
"""

import ctypes
import itertools
import mmap

ENDED, AT_BARRIER, NOT_COMPILED, TOO_LONG = range(4)
"""Why emulator_run of waves.cpp returned."""
BUFFERS = 6
LDS_SPACE = (4 << 30) + (1 << 20)
NO_RESERVE = 0x4000
"""MAP_NORESERVE, which Python's mmap names from 3.13 on."""
NAN_BYTE = 0xFF
"""What LDS is full of when a block begins: nothing may count on zeros."""


class TooLongError(RuntimeError):
    """A launch executes more instructions than a test may."""


class Instruction(ctypes.Structure):
    """The same of waves.cpp."""

    _fields_ = (
        ("run", ctypes.c_void_p),
        ("takes", ctypes.c_uint8 * BUFFERS),
        ("waits", ctypes.c_uint8),
    )


class Registers:
    """Stands for the emulator's WaveState: what a block's waves had serves the next block."""

    def __init__(self, make, wave):
        self.make, self.wave = make, wave
        self.states, self.taken = [], 0
        self.fresh = bytes(make(wave, wave)._sgpr_mv)

    def begin_block(self):
        self.taken = 0

    def __call__(self, lanes, wave):
        if self.taken == len(self.states):
            self.states.append(self.make(wave, wave))
        state = self.states[self.taken]
        self.taken += 1
        state.n_lanes = lanes
        ctypes.memmove(state.sgpr_buf._buf.va_addr, self.fresh, len(self.fresh))
        for buffer in (state.vgpr_buf, state.accvgpr_buf):
            ctypes.memset(buffer._buf.va_addr, 0, buffer.nbytes)
        return state


class Waves:
    """Runs launches through the instructions of one architecture."""

    def __init__(self, emu, library, emulated):
        self.emu, self.emulated = emu, emulated
        self.wave = emu._wave_size(emulated)
        self.registers = emu.WaveState = Registers(emu.WaveState, self.wave)
        self.programs = {}  # the table of a code object's instructions by its address
        self.loop = library.emulator_run
        self.loop.argtypes = [
            ctypes.c_void_p,
            *(ctypes.c_uint64,) * 2,
            *(ctypes.c_void_p,) * 3,
        ]
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE
        self.lds = mmap.mmap(-1, LDS_SPACE, flags=flags)
        self.lds_address = ctypes.addressof(ctypes.c_char.from_buffer(self.lds))

    def compile(self, program, base, place):
        """Fill the entry of the instruction at an address."""
        emu = self.emu
        (compiled, runtime), instruction = emu._decode_at(place, self.emulated)
        entry = program[(place - base) // 4]
        numbers = compiled.arg.globals
        entry.takes[: len(numbers)] = numbers
        kinds = emu.ir3.SOPP, emu.ir4.SOPP, emu.irc.SOPP
        entry.waits = (isinstance(instruction, kinds) and instruction.op in emu._BARRIER_OPS) or (
            isinstance(instruction, emu.ir4.SOP1) and instruction.op in emu._BARRIER_SOP1_OPS
        )
        entry.run = ctypes.cast(runtime.fxn, ctypes.c_void_p).value

    def launch(self, kernel, grid, threads, lds, arguments, user, most):
        """Execute a kernel.

        Args:
            kernel: its code, a KernelCode.
            grid: blocks in x, y and z.
            threads: of a block.
            lds: bytes of LDS.
            arguments: their address.
            user: the first scalar registers.
            most: instructions that all waves together may execute.

        Returns:
            How many they executed.

        Raises:
            TooLongError: they are more.
        """
        left = ctypes.c_int64(most)
        for z, y, x in itertools.product(*map(range, reversed(grid))):
            ctypes.memset(self.lds_address, NAN_BYTE, lds)
            self.registers.begin_block()
            states = [
                self.emu._init_wave(
                    *(kernel.entry, first, threads, threads, 1, 1, arguments, kernel.rsrc2),
                    *(kernel.private, self.emulated, x, y, z, user, self.wave),
                )
                for first in range(0, threads, self.wave)
            ]
            waiting = [self.bound(kernel, state) for state in states]
            while waiting:
                waiting = [one for one in waiting if self.run(kernel, *one[:2], left) == AT_BARRIER]
        return most - left.value

    def bound(self, kernel, state):
        """Addresses of a wave's program counter and of the buffers in the emulator's order."""
        scratch = ctypes.create_string_buffer(kernel.private * self.wave + 1)
        registers = state.sgpr_buf._buf.va_addr
        buffers = (ctypes.c_void_p * BUFFERS)(
            *(registers, state.vgpr_buf._buf.va_addr, 0, self.lds_address),
            *(ctypes.addressof(scratch), state.accvgpr_buf._buf.va_addr),
        )
        return registers + 4 * self.emu.PC_LO_IDX, buffers, (scratch, state)  # kept alive

    def run(self, kernel, counter, buffers, left):
        """Run a wave until it ends or waits."""
        base, size = kernel.layout.base, kernel.layout.size
        if base not in self.programs:
            self.programs[base] = (Instruction * (size // 4))()
        program = self.programs[base]
        while True:
            stop = self.loop(program, base, size // 4, counter, buffers, ctypes.byref(left))
            if stop == TOO_LONG:
                raise TooLongError
            if stop != NOT_COMPILED:
                return stop
            self.compile(program, base, ctypes.c_uint64.from_address(counter).value)
