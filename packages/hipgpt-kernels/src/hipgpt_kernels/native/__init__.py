"""The CPU backend's own vector code: C++ in `csrc/`, called through ctypes.

`NativeBackend` is `CpuBackend` with its heavy ops replaced; everything else, and every machine
without the compiled library, uses NumPy, which is also what the C++ is tested against.
"""
