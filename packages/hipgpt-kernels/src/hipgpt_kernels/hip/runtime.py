"""Which libamdhip64.so is used: ROCm's where there is one, else our own over the CUDA driver.

hip-python opens the library by its bare name when it finds no ROCm. The odd thing: a library of the
same SONAME that is already loaded is then what it gets, so loading ours first is all it takes.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
from pathlib import Path
from typing import Any

from hipgpt_kernels.hip import build, cache, presence

CUDA_DRIVER = "libcuda.so.1"
CLEAR_CACHE = "clear the cache of kernels with python -m hipgpt_kernels.doctor --clear-cache"
"""What to do about compiled code that is not right."""


class UnavailableError(RuntimeError):
    """No GPU can be used; the message says why and what to do.

    Attributes:
        reason: "no-hip-python", "no-library", "no-bridge", "broken-driver", "no-device",
            "no-such-device", "unsupported-device" or "no-compiler".
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def has_rocm() -> bool:
    """Would hip-python find a HIP runtime (or is one loaded already)?"""
    if importlib.util.find_spec("rocm_sdk") is not None:
        return True
    for root in (os.environ.get("ROCM_PATH"), os.environ.get("ROCM_HOME"), "/opt/rocm"):
        if root and Path(root, "lib", "libamdhip64.so").exists():
            return True
    return loads("libamdhip64.so")


def loads(name: str) -> bool:
    """Does the dynamic loader find this library?"""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


@functools.cache
def prepare_library() -> Path | None:
    """See to it that hip-python will find a runtime; return our own where it is needed.

    Raises:
        UnavailableError: there is neither ROCm nor a CUDA driver, or ours is not built and there is
            no compiler to build it.
    """
    if importlib.util.find_spec("rocm") is None:
        raise UnavailableError(
            "no-hip-python", "hip-python is not installed; install it with: pip install hip-python"
        )
    if has_rocm():
        return None
    if not loads(CUDA_DRIVER):
        raise UnavailableError(
            "no-library",
            "there is no GPU driver: neither ROCm's libamdhip64.so nor CUDA's libcuda.so.1 can be "
            f"loaded; install ROCm or the NVIDIA driver ({presence.why_none()})",
        )
    path = find_bridge()
    try:
        load_bridge(path)
    except OSError:  # cut short or damaged: make it again
        path = find_bridge(again=True)
        try:
            load_bridge(path)
        except OSError as error:
            raise UnavailableError(
                "no-bridge", f"the library that drives NVIDIA GPUs cannot be loaded: {error}"
            ) from error
    return path


def load_bridge(path: Path) -> None:
    """Have it loaded before hip-python asks for a library of its name.

    Not in the global scope: other libraries that look for HIP's functions must not find ours.

    Raises:
        OSError: it is no library that this process can load.
    """
    ctypes.CDLL(str(path), mode=ctypes.RTLD_LOCAL)


@functools.cache
def overlapped_launch() -> Any:
    """`hipgptLaunchOverlapped` of our own runtime over CUDA, for ctypes; None where ROCm's is used.

    Its arguments: function, three sizes of the grid, threads, shared bytes, stream, extra.
    """
    path = prepare_library()
    if path is None:
        return None
    function = ctypes.CDLL(str(path), mode=ctypes.RTLD_LOCAL).hipgptLaunchOverlapped
    function.argtypes = (ctypes.c_void_p, *(ctypes.c_uint,) * 5, ctypes.c_void_p, ctypes.c_void_p)
    return function


@functools.cache
def tensor_map_encoder() -> Any:
    """`hipgptTensorMap` of our own runtime over CUDA, for ctypes; None where ROCm's is used.

    Its arguments: where the map goes, address, is it bfloat16, rows, columns, rows of a box.
    """
    path = prepare_library()
    if path is None:
        return None
    function = ctypes.CDLL(str(path), mode=ctypes.RTLD_LOCAL).hipgptTensorMap
    sizes = ctypes.c_int, ctypes.c_ulonglong, ctypes.c_ulonglong, ctypes.c_uint
    function.argtypes = (ctypes.c_void_p, ctypes.c_void_p, *sizes)
    return function


def find_bridge(*, again: bool = False) -> Path:
    """Our libamdhip64.so over the CUDA driver: built ahead, else built once in the user's cache.

    Args:
        again: what was found before cannot be used; make a new one.

    Raises:
        UnavailableError: it was not built, and there is no compiler.
    """
    ahead, wanted = build.CODE / build.BRIDGE, build.bridge_hash()
    built = build.read_manifest().get(build.BRIDGE.as_posix()) == wanted and ahead.exists()
    if built and not again:
        return ahead
    path = cache.cache_directory() / f"bridge-{wanted[:32]}" / build.BRIDGE.name
    if path.exists() and not again:
        return path
    try:
        build.compile_bridge(path)
    except (build.CompilerError, OSError) as error:
        raise UnavailableError(
            "no-bridge",
            "there is a CUDA driver, but the library that drives it was not built and cannot be: "
            f"{error}",
        ) from error
    return path
