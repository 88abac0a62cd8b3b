"""The NumPy backend: float32, multithreaded, the default where there is no GPU."""

from __future__ import annotations

from hipgpt_kernels.cpu.backend import CpuBackend

__all__ = ["CpuBackend"]
