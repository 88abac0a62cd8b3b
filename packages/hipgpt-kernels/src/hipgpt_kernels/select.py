"""Choose a backend, once and aloud: `load_backend` and the reasons why one cannot be had.

"auto" may fall back to the CPU and says why in the backend's `reason`; a backend asked for by name
that cannot work raises. Nothing is imported or touched before `load_backend` is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hipgpt_kernels.backend import Backend

NAMES = ("auto", "cpu", "hip")


class BackendError(RuntimeError):
    """A device that cannot be used; the message says why and what to do."""


def load_backend(
    name: str = "auto",
    device: int = 0,
    *,
    threads: int | None = None,
    native: bool | None = None,
) -> Backend:
    """The backend called `name`.

    Args:
        name: "cpu", "hip", or "auto": a GPU where one works, else the CPU.
        device: number of the GPU; the CPU has only device 0.
        threads: worker threads of the CPU backend; None takes every core this process may use.
        native: True demands the CPU backend's compiled code, False keeps to NumPy alone, None
            takes the compiled code where it was built.

    Raises:
        ValueError: an unknown name, or a device or thread count that cannot be.
        BackendError: the backend was asked for by name and cannot be used here.
    """
    if name not in NAMES:
        raise ValueError(f"load_backend: name is {name!r}, expected one of {', '.join(NAMES)}")
    if device < 0:
        raise ValueError(f"load_backend: device is {device}, expected 0 or more")
    if device != 0 and name == "cpu":
        raise ValueError(f"load_backend: device is {device}, but the CPU has only device 0")
    if name == "cpu":
        return cpu_backend(threads, native)
    try:
        return hip_backend(device)
    except BackendError as error:
        if name == "hip":
            raise
        backend = cpu_backend(threads, native)
        backend.reason = f"no GPU: {str(error).removeprefix('hip: ')}"
        return backend


def hip_backend(device: int) -> Backend:
    """The GPU of that number.

    Raises:
        BackendError: there is none, or it cannot be driven.
    """
    from hipgpt_kernels.hip.driver import HipError
    from hipgpt_kernels.hip.runtime import UnavailableError, prepare_library

    try:
        prepare_library()  # before NumPy and all else that a machine without a GPU need not load
        from hipgpt_kernels.hip.backend import HipBackend

        return HipBackend(device)
    except (UnavailableError, HipError) as error:
        raise BackendError(f"hip: {error}") from error


def cpu_backend(threads: int | None, native: bool | None) -> Backend:
    """The CPU with its compiled code, or with NumPy alone."""
    from hipgpt_kernels.native.backend import NativeBackend
    from hipgpt_kernels.native.library import LibraryError

    if native is not False:
        try:
            return NativeBackend(threads)
        except LibraryError as error:
            if native:
                raise BackendError(f"cpu: {error}") from error
    from hipgpt_kernels.cpu.backend import CpuBackend

    return CpuBackend(threads)
