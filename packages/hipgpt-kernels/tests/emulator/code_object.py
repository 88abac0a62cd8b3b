"""Reads an AMD code object: its kernels, their descriptors and the layout of their arguments.

The ELF file is laid out in memory as its program headers say. The note with the metadata is
MessagePack, of which only the handful of types that LLVM writes are decoded here.
"""

import ctypes
import mmap
import struct
from dataclasses import dataclass

PT_LOAD, PT_NOTE = 1, 4
NT_AMDGPU_METADATA = 32
DESCRIPTOR_BYTES = 64
PAGE = 4096


class Layout:
    """An ELF file in executable-like memory: `base` is where its address 0 lies."""

    def __init__(self, image):
        self.image = image
        assert image[:4] == b"\x7fELF", "not an ELF file"
        offset, entry, count = (
            struct.unpack_from("<Q", image, 32)[0],
            *struct.unpack_from("<HH", image, 54),
        )
        self.headers = [
            struct.unpack_from("<IIQQQQQQ", image, offset + number * entry)
            for number in range(count)
        ]
        loads = [header for header in self.headers if header[0] == PT_LOAD]
        size = max(address + memory for _, _, _, address, _, _, memory, _ in loads)
        self.memory = mmap.mmap(-1, -(-size // PAGE) * PAGE)
        self.base = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.size = size
        for _, _, start, address, _, stored, _, _ in loads:
            self.memory[address : address + stored] = image[start : start + stored]

    def symbols(self):
        """Address by name, from the dynamic symbol table."""
        (sections,) = struct.unpack_from("<Q", self.image, 40)
        entry, count = struct.unpack_from("<HH", self.image, 58)
        headers = [
            struct.unpack_from("<IIQQQQIIQQ", self.image, sections + number * entry)
            for number in range(count)
        ]
        found = {}
        for _, kind, _, _, start, size, link, _, _, step in headers:
            if kind != 11:  # SHT_DYNSYM
                continue
            strings = headers[link][4]
            for place in range(start, start + size, step):
                name, _, _, _, value, _ = struct.unpack_from("<IBBHQQ", self.image, place)
                end = self.image.index(b"\0", strings + name)
                found[self.image[strings + name : end].decode()] = value
        return found

    def metadata(self):
        """The note that LLVM writes about the kernels, as Python objects."""
        for kind, _, start, _, _, stored, _, _ in self.headers:
            place = start
            while kind == PT_NOTE and place < start + stored:
                owner, size, note = struct.unpack_from("<III", self.image, place)
                begin = place + 12 + -(-owner // 4) * 4
                if note == NT_AMDGPU_METADATA:
                    return unpack(self.image[begin : begin + size])[0]
                place = begin + -(-size // 4) * 4
        raise AssertionError("the code object has no metadata")


def unpack(data, place=0):
    """Decode one MessagePack object; return it and where it ends."""
    code = data[place]
    place += 1
    if code < 0x80:
        return code, place
    if code < 0x90:
        return _map(data, place, code & 15)
    if code < 0xA0:
        return _list(data, place, code & 15)
    if code < 0xC0:
        return data[place : place + (code & 31)].decode(), place + (code & 31)
    if code in (0xC2, 0xC3):
        return code == 0xC3, place
    sizes = {0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i"}
    if code in sizes:
        return struct.unpack_from(sizes[code], data, place)[0], place + struct.calcsize(sizes[code])
    lengths = {0xD9: ">B", 0xDA: ">H", 0xDC: ">H", 0xDD: ">I", 0xDE: ">H", 0xDF: ">I"}
    (length,) = struct.unpack_from(lengths[code], data, place)
    place += struct.calcsize(lengths[code])
    if code in (0xD9, 0xDA):
        return data[place : place + length].decode(), place + length
    return (_list if code in (0xDC, 0xDD) else _map)(data, place, length)


def _list(data, place, length):
    values = []
    for _ in range(length):
        value, place = unpack(data, place)
        values.append(value)
    return values, place


def _map(data, place, length):
    values = {}
    for _ in range(length):
        key, place = unpack(data, place)
        values[key], place = unpack(data, place)
    return values, place


@dataclass
class KernelCode:
    """What a launch needs to know of one kernel."""

    name: str
    entry: int
    """Address of the first instruction."""
    size: int
    """Bytes from there to the end of the code object."""
    rsrc2: int
    private: int
    """Bytes of scratch memory of a lane."""
    group: int
    """Bytes of LDS that are known before the launch."""
    threads: int
    """Most threads of a block."""
    properties: int
    preload: int
    arguments: list
    """(offset, size, kind) of each."""
    argument_bytes: int
    layout: Layout


def read_kernels(image):
    """Every kernel of a code object, by name."""
    layout = Layout(image)
    symbols = layout.symbols()
    kernels = {}
    for entry in layout.metadata()["amdhsa.kernels"]:
        descriptor = symbols[entry[".symbol"]]
        raw = bytes(layout.memory[descriptor : descriptor + DESCRIPTOR_BYTES])
        group, private, argument_bytes = struct.unpack_from("<III", raw, 0)
        (offset,) = struct.unpack_from("<q", raw, 16)
        _, _, rsrc2, properties, preload = struct.unpack_from("<IIIHH", raw, 44)
        assert argument_bytes == entry[".kernarg_segment_size"]
        kernels[entry[".name"]] = KernelCode(
            name=entry[".name"],
            entry=layout.base + descriptor + offset,
            size=layout.size - descriptor - offset,
            rsrc2=rsrc2,
            private=private,
            group=group,
            threads=entry[".max_flat_workgroup_size"],
            properties=properties,
            preload=preload,
            arguments=[
                (one[".offset"], one[".size"], one[".value_kind"]) for one in entry.get(".args", [])
            ],
            argument_bytes=argument_bytes,
            layout=layout,
        )
    return kernels
