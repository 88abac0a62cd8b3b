"""What the kernels of a code object take of a GPU: registers, LDS, scratch, and the occupancy.

Reads the compiler's own notes: for AMD the MessagePack note of an ELF file, for NVIDIA the sections
of a cubin. The odd thing: nothing is launched, so a machine without a GPU says as much as one with
it, and no tool is called, except that ptxas is asked where a cubin leaves open what is a spill.
"""

from __future__ import annotations

import re
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hipgpt_kernels.hip import build

if TYPE_CHECKING:
    from collections.abc import Iterator

NT_AMDGPU_METADATA = 32
SHT_NOTE, SHT_SYMTAB = 7, 2
EIATTR_MAX_THREADS, EIATTR_FRAME_SIZE, EIATTR_REGISTERS = 0x05, 0x11, 0x2F
EIFMT_SVAL = 0x04


class Unit(NamedTuple):
    """What the waves that run at once share: a CU or a pair of them, or a multiprocessor."""

    wave: int
    """Lanes of a wave."""
    simds: int
    """Parts of it, each with registers of its own."""
    registers: int
    """Registers of a lane, summed over the waves of a part."""
    granule: int
    """They are given out in multiples of this."""
    waves: int
    """Most waves of a part."""
    lds: int
    """Bytes of LDS."""


CDNA = Unit(64, 4, 512, 8, 8, 64 << 10)
RDNA = Unit(32, 4, 1536, 24, 16, 128 << 10)
UNITS = {
    "gfx90a": CDNA,
    "gfx942": CDNA,
    "gfx950": CDNA._replace(lds=160 << 10),
    "gfx1030": RDNA._replace(registers=1024, granule=16),
    "gfx1100": RDNA,
    "gfx1201": RDNA,
    "sm_80": Unit(32, 4, 512, 8, 16, 164 << 10),
    "sm_90": Unit(32, 4, 512, 8, 16, 228 << 10),
}
"""LLVM's "AMDGPU usage" and its tables of register granules; RDNA's blocks run on two CUs, four
SIMDs and 128 KB together. CUDA's programming guide, "compute capabilities"."""
CALL_FRAME = 8
"""Bytes of a lane that nvcc's code may keep in memory while it calls a routine (an exact division);
its cubins do not tell so few from spills."""
NVIDIA_RESERVED = 1024
"""Bytes of shared memory that the driver takes of each block."""


class Resources(NamedTuple):
    """One kernel."""

    threads: int
    """Of a block."""
    registers: int
    """Vector registers of a lane, accumulation registers among them."""
    lds: int
    """Bytes of a block that are known before the launch."""
    scratch: int
    """Bytes of memory of a lane."""
    spills: int
    """Vector registers that are kept there (AMD; NVIDIA's code only tells the bytes)."""
    scalar_spills: int
    """Scalar registers that are kept in lanes of vector registers (AMD)."""

    def waves(self, architecture: str, shared: int = 0) -> float:
        """Waves that run at once on each SIMD, or each quarter of a multiprocessor.

        Args:
            architecture: one of UNITS.
            shared: bytes of LDS that a launch adds.
        """
        unit = UNITS[architecture]
        of_block = -(-self.threads // unit.wave)
        granted = max(1, -(-self.registers // unit.granule)) * unit.granule
        blocks = min(unit.waves, unit.registers // granted) * unit.simds // of_block
        bytes_ = self.lds + shared
        if architecture.startswith("sm_"):
            bytes_ += NVIDIA_RESERVED
        if bytes_:
            blocks = min(blocks, unit.lds // bytes_)
        return blocks * of_block / unit.simds


def read(image: bytes) -> dict[str, Resources]:
    """The kernels of a code object by name.

    Raises:
        ValueError: it is neither an AMD code object nor a cubin.
    """
    if image[:4] != b"\x7fELF":
        raise ValueError("the code object is no ELF file, expected one made by hip/build.py")
    machine = struct.unpack_from("<H", image, 18)[0]
    if machine == 224:  # EM_AMDGPU
        return dict(_amd(image))
    if machine == 190:  # EM_CUDA
        return dict(_nvidia(image))
    raise ValueError(f"the code object is for ELF machine {machine}, expected 224 or 190")


def spilled(architecture: str, stem: str, image: bytes) -> dict[str, int]:
    """Bytes of a lane that should have been registers, by kernel; those that have none left out.

    Args:
        architecture: what the code object is for.
        stem: its source file, without ".hip"; compiled once more where ptxas must be asked.
        image: the code object.

    Raises:
        CompilerError: ptxas must be asked and there is no nvcc.
    """
    kernels = read(image)
    found = {
        name: one.scratch
        for name, one in kernels.items()
        if one.spills or one.scratch > (CALL_FRAME if build.is_nvidia(architecture) else 0)
    }
    if any(one.scratch and name not in found for name, one in kernels.items()):
        found |= {
            name: count
            for name, count in _told_by_ptxas(architecture, stem).items()
            if count and name not in found
        }
    return found


def _told_by_ptxas(architecture: str, stem: str) -> dict[str, int]:
    """Bytes that each kernel of a file spills, in ptxas's own words."""
    with tempfile.TemporaryDirectory() as folder:
        compiler = build.compiler_for(architecture)
        command = build.compile_command(compiler, architecture, stem, Path(folder, "out"))
        text = subprocess.run(  # noqa: S603  # the compiler that the user has
            [*command, "-Xptxas", "-v"], capture_output=True, text=True, check=True
        ).stderr
    found = {}
    for part in text.split("Compiling entry function '")[1:]:
        count = re.search(r"(\d+) bytes spill stores", part)
        if count is None:
            raise ValueError(f"ptxas does not say what {stem} spills: {part!r}")
        found[part[: part.index("'")]] = int(count[1])
    return found


class Section(NamedTuple):
    """A section of an ELF file."""

    name: str
    kind: int
    offset: int
    size: int
    link: int
    info: int


def sections(image: bytes) -> list[Section]:
    """The sections of a 64-bit ELF file."""
    (start,) = struct.unpack_from("<Q", image, 40)
    step, count, names = struct.unpack_from("<HHH", image, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", image, start + i * step) for i in range(count)]
    strings = headers[names][4]

    def text(place: int) -> str:
        return image[strings + place : image.index(b"\0", strings + place)].decode()

    return [Section(text(h[0]), h[1], h[4], h[5], h[6], h[7]) for h in headers]


def _amd(image: bytes) -> Iterator[tuple[str, Resources]]:
    for section in sections(image):
        place = section.offset
        while section.kind == SHT_NOTE and place < section.offset + section.size:
            owner, size, kind = struct.unpack_from("<III", image, place)
            begin = place + 12 + -(-owner // 4) * 4
            place = begin + -(-size // 4) * 4
            if kind != NT_AMDGPU_METADATA:
                continue
            for kernel in unpack(image[begin : begin + size])[0]["amdhsa.kernels"]:
                yield (
                    kernel[".name"],
                    Resources(
                        kernel[".max_flat_workgroup_size"],
                        kernel[".vgpr_count"],
                        kernel[".group_segment_fixed_size"],
                        kernel[".private_segment_fixed_size"],
                        kernel[".vgpr_spill_count"],
                        kernel[".sgpr_spill_count"],
                    ),
                )


def _nvidia(image: bytes) -> Iterator[tuple[str, Resources]]:
    found = sections(image)
    by_name = {section.name: section for section in found}
    symbols = next(section for section in found if section.kind == SHT_SYMTAB)
    strings = found[symbols.link].offset
    told: dict[int, dict[str, int]] = {EIATTR_FRAME_SIZE: {}, EIATTR_REGISTERS: {}}
    for attribute, value in _attributes(image, by_name[".nv.info"]):
        if attribute in told:
            symbol, number = struct.unpack("<II", value)
            (place,) = struct.unpack_from("<I", image, symbols.offset + 24 * symbol)
            name = image[strings + place : image.index(b"\0", strings + place)].decode()
            told[attribute][name] = number
    for section in found:
        if not section.name.startswith(".text."):
            continue
        name = section.name.removeprefix(".text.")
        attributes = dict(_attributes(image, by_name[f".nv.info.{name}"]))
        threads = struct.unpack("<III", attributes[EIATTR_MAX_THREADS])[0]
        shared = by_name.get(f".nv.shared.{name}")
        lds = shared.size if shared else 0
        if lds and ".nv.shared.reserved.0" in by_name:  # on sm_90 it is counted already
            lds -= NVIDIA_RESERVED
        registers, frame = (told[one][name] for one in (EIATTR_REGISTERS, EIATTR_FRAME_SIZE))
        yield name, Resources(threads, registers, lds, frame, 0, 0)


def _attributes(image: bytes, section: Section) -> Iterator[tuple[int, bytes]]:
    """The attributes of a .nv.info section: a format, a name, and a value or its length."""
    place, end = section.offset, section.offset + section.size
    while place < end:
        form, attribute, value = struct.unpack_from("<BBH", image, place)
        place += 4
        if form == EIFMT_SVAL:
            yield attribute, image[place : place + value]
            place += value


SCALARS = dict(
    zip(range(0xCC, 0xD4), (">B", ">H", ">I", ">Q", ">b", ">h", ">i", ">q"), strict=True)
)
LENGTHS = {0xD9: ">B", 0xDA: ">H", 0xDC: ">H", 0xDD: ">I", 0xDE: ">H", 0xDF: ">I"}


def unpack(data: bytes, place: int = 0) -> tuple[Any, int]:
    """One MessagePack object of the kinds that LLVM writes, and where it ends."""
    code = data[place]
    place += 1
    if code < 0x80:
        return code, place
    if code in (0xC2, 0xC3):
        return code == 0xC3, place
    if code in SCALARS:
        size = struct.calcsize(SCALARS[code])
        return struct.unpack_from(SCALARS[code], data, place)[0], place + size
    if code in LENGTHS:
        (length,) = struct.unpack_from(LENGTHS[code], data, place)
        place += struct.calcsize(LENGTHS[code])
        kind = "text" if code < 0xDC else "list" if code < 0xDE else "map"
    else:
        length = code & (31 if 0xA0 <= code < 0xC0 else 15)
        kind = "map" if code < 0x90 else "list" if code < 0xA0 else "text"
    if kind == "text":
        return data[place : place + length].decode(), place + length
    values = []
    for _ in range(length * (2 if kind == "map" else 1)):
        value, place = unpack(data, place)
        values.append(value)
    return (dict(zip(values[::2], values[1::2], strict=True)) if kind == "map" else values), place
