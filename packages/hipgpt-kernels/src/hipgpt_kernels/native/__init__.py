"""The CPU backend's own vector code: C++ in `csrc/`, called through ctypes.

`NativeBackend` is `CpuBackend` with its heavy ops replaced; everything else, and every machine
without the compiled library, uses NumPy, which is also what the C++ is tested against.
"""

from __future__ import annotations

from hipgpt_kernels.native.backend import NativeBackend
from hipgpt_kernels.native.library import LibraryError, load_library

__all__ = ["LibraryError", "NativeBackend", "load_library"]
