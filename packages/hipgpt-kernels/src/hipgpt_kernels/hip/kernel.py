"""A kernel's launch: its arguments packed as C lays them out, and the words that point to them.

hip-python would pack the arguments itself, in about 13 µs and with the alignment of structs wrong.
Here one `struct.pack_into` writes them with C's own alignment into a buffer that the five words of
`extra` point to for good; the driver copies the buffer before the launch returns.
"""

from __future__ import annotations

import ctypes
import struct
import threading
from typing import TYPE_CHECKING, Any

from hipgpt_kernels.hip.array import DeviceArray

if TYPE_CHECKING:
    from hipgpt_kernels.hip.backend import HipBackend

POINTER = "P"
"""`T*`: takes a DeviceArray, an address or None."""
INT = "i"
"""`int`: 32 bits."""
LONG = "q"
"""`long long`: 64 bits."""
FLOAT = "f"
"""`float`."""

# HIP_LAUNCH_PARAM_BUFFER_POINTER, _BUFFER_SIZE and _END of HIP's runtime interface.
BUFFER_POINTER, BUFFER_SIZE, END = 1, 2, 3


class Kernel:
    """One kernel of csrc/<stem>.hip, or its variants by suffix; made once, at import, for free.

    Example:
        >>> FILL = Kernel("basic", "fill", POINTER, LONG, LONG)
        >>> FILL.name("32")
        'fill_32'
    """

    def __init__(self, stem: str, base: str, *types: str) -> None:
        """Declare a kernel.

        Args:
            stem: the source file, without ".hip".
            base: the function's name, without the suffix.
            types: POINTER, INT, LONG or FLOAT for each argument, in the function's order.
        """
        self.stem = stem
        self.base = base
        self.types = "".join(types)
        self._struct = struct.Struct("@" + self.types)  # "@": C's sizes and alignment
        self._buffer = ctypes.create_string_buffer(max(1, self._struct.size))
        self._size = ctypes.c_size_t(self._struct.size)
        words = (
            BUFFER_POINTER,
            ctypes.addressof(self._buffer),
            BUFFER_SIZE,
            ctypes.addressof(self._size),
            END,
        )
        self._extra = (ctypes.c_void_p * 5)(*words)
        self._lock = threading.Lock()  # between packing and the driver's copy

    def name(self, suffix: str) -> str:
        """The function's name in the code object."""
        return f"{self.base}_{suffix}" if suffix else self.base

    def launch(
        self,
        backend: HipBackend,
        suffix: str,
        grid: int | tuple[int, ...],
        threads: int,
        *values: Any,
        shared: int = 0,
        overlapped: bool = False,
    ) -> None:
        """Give the kernel to the backend's stream; an empty grid does nothing.

        Args:
            backend: whose device and stream.
            suffix: "f32", "bf16", "f16", or what else follows the base and an underscore; "" for
                a kernel without variants.
            grid: blocks in x, or in (x, y) or (x, y, z).
            threads: threads of a block; what KERNEL(threads) says.
            values: one for each argument.
            shared: bytes of DYNAMIC_SHARED memory.
            overlapped: it may begin before the kernel before it has ended, where the GPU can do
                that; only for kernels that call `await_previous` (csrc/overlap.h).
        """
        x, y, z = (grid, 1, 1) if isinstance(grid, int) else (*grid, 1, 1)[:3]
        if x == 0 or y == 0 or z == 0:
            return
        function = backend.function(self.stem, self.name(suffix))
        plain = [
            value.pointer if type(value) is DeviceArray else 0 if value is None else value
            for value in values
        ]
        with self._lock:
            self._struct.pack_into(self._buffer, 0, *plain)
            backend.stream.launch(
                function, (x, y, z), threads, shared, self._extra, overlapped=overlapped
            )
