"""Keeps what the emulator compiles for each form of an instruction, from one process to the next.

Compiling some hundred forms takes the emulator about a minute, longer than most tests run. What is
kept lies in the user's cache, one file for each architecture and state of the emulator. The odd
thing: a form is an instruction without its registers, which the compiled code reads out of the
instruction when it runs; the emulator says which bits those are.
"""

import atexit
import hashlib
import pickle
import tempfile
from pathlib import Path

from hipgpt_kernels.hip.cache import cache_directory

SAVE_EVERY = 50
"""Forms compiled before they are written down, in case the process is ended."""


def state_of(folder, *own):
    """SHA-256 of the emulator's sources and of the files that change what it does."""
    digest = hashlib.sha256()
    paths = [
        *Path(folder, "tinygrad").rglob("*.py"),
        *Path(folder, "test", "mockgpu").rglob("*.py"),
    ]
    for path in [*sorted(paths), *own]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


class Instructions:
    """Stands for the emulator's `_get_runner`."""

    def __init__(self, emu, folder, architecture, *own):
        from tinygrad.device import Device

        self.emu, self.compile, self.device = emu, emu._get_runner, Device["CPU"]
        self.path = cache_directory() / f"emulator-{architecture}-{state_of(folder, *own)}"
        self.known = {}  # instruction's bytes: (program, runtime)
        self.forms = {}  # instruction's type: [(bits, mask, size, (program, runtime))]
        self.stored = self.read()
        self.unsaved = 0
        for kind, bits, mask, size, numbers, elf in self.stored:
            runner = Program(numbers), self.device.runtime(elf)
            self.forms.setdefault(kind, []).append((bits, mask, size, runner))
        atexit.register(self.save)

    def read(self):
        try:
            return pickle.loads(self.path.read_bytes())
        except Exception:  # noqa: BLE001  # what is damaged is made again, whatever it raises
            return []

    def save(self):
        """Write down what is known, with what another process has found in the meantime."""
        if not self.unsaved:
            return
        there = {entry[:4] for entry in self.stored}
        self.stored += [entry for entry in self.read() if entry[:4] not in there]
        self.unsaved = 0
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.path.parent, delete=False) as file:
            pickle.dump(self.stored, file)
        Path(file.name).replace(self.path)

    def __call__(self, data, architecture="rdna3"):
        found = self.known.get(data)
        if found is None:
            found = self.known[data] = self.find(data, architecture)
        return found

    def find(self, data, architecture):
        instruction = self.emu.decode_inst(data, architecture)
        kind, size = type(instruction), instruction.size()
        number = int.from_bytes(data[:size], "little")
        for bits, mask, length, runner in self.forms.get(kind, ()):
            if length == size and number & mask == bits:
                return runner
        before = len(self.emu._canonical_runner_cache)
        program, runtime = self.compile(data, architecture)
        if len(self.emu._canonical_runner_cache) > before:
            _, bits, mask, size, _ = self.emu._canonical_runner_cache[-1]
            self.forms.setdefault(kind, []).append((bits, mask, size, (program, runtime)))
            self.stored.append((kind, bits, mask, size, program.arg.globals, program.to_elf()))
            self.unsaved += 1
            if self.unsaved >= SAVE_EVERY:
                self.save()
        return program, runtime


class Program:
    """What the emulator asks of a compiled form: which buffers it takes."""

    def __init__(self, numbers):
        self.arg = self
        self.globals = numbers
