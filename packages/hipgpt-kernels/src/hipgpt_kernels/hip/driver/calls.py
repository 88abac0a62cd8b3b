"""Every call of the runtime goes through `call`, which raises `HipError` when it failed.

Results are handed out only after the status was looked at: hip-python leaves garbage in them
otherwise. The odd thing: on a machine with a CUDA driver and no ROCm the same module drives an
NVIDIA GPU, because `runtime` has then loaded a libamdhip64.so of our own first.
"""

from __future__ import annotations

import contextlib
import functools
import weakref
from typing import Any

from hipgpt_kernels.hip.runtime import CLEAR_CACHE, UnavailableError, prepare_library

BAD_MEMORY = (
    "a kernel touched memory outside its arrays and the GPU's context is lost: restart the "
    "program, and report the op and its shapes"
)
NO_WAITING = "do nothing that waits for the GPU while a graph is captured"
REMEDIES = {
    "hipErrorIllegalAddress": BAD_MEMORY,
    "hipErrorLaunchFailure": BAD_MEMORY,
    "hipErrorNoBinaryForGpu": f"the code object is for another GPU or damaged: {CLEAR_CACHE}",
    "hipErrorInvalidImage": f"the code object is for another GPU or damaged: {CLEAR_CACHE}",
    "hipErrorInvalidDevice": "choose a device number that exists",
    "hipErrorNoDevice": "see whether rocminfo or nvidia-smi lists a GPU",
    "hipErrorInsufficientDriver": "update the GPU's driver: it is older than the runtime",
    "hipErrorNotSupported": "this GPU or its driver cannot do that; a newer driver may",
    "hipErrorStreamCaptureUnsupported": NO_WAITING,
    "hipErrorStreamCaptureInvalidated": NO_WAITING,
    "hipErrorNotFound": f"the code object has no such kernel: {CLEAR_CACHE}",
    "hipErrorLaunchOutOfResources": "the kernel needs more registers or LDS than this GPU has",
}
"""What to do, by the name of the code."""
LAST_RESORT = "make sure that driver and runtime belong together, then restart the program"


def remedy(code: str) -> str:
    """What to do about a code, such as "hipErrorNoDevice"."""
    return REMEDIES.get(code, LAST_RESORT)


class HipError(RuntimeError):
    """A call of the runtime failed.

    Attributes:
        call: the runtime's function.
        code: the name of what it returned, such as "hipErrorInvalidValue".
        remedy: what to do.
    """

    def __init__(self, call: str, code: str, remedy: str) -> None:
        super().__init__(f"{call} failed with {code}; {remedy}")
        self.call = call
        self.code = code
        self.remedy = remedy


class OutOfMemoryError(HipError, MemoryError):
    """The device has too little free memory."""

    def __init__(self, call: str, code: str, asked: int, free: int, total: int) -> None:
        remedy = (
            f"{asked / 2**20:,.1f} MiB were asked for and {free / 2**20:,.1f} of "
            f"{total / 2**20:,.1f} MiB are free: take a smaller batch, or end what else is on it"
        )
        super().__init__(call, code, remedy)
        self.asked = asked
        self.free = free
        self.total = total


@functools.cache
def hip() -> Any:
    """hip-python's module, its library loaded.

    Raises:
        UnavailableError: hip-python or the runtime's library is missing.
    """
    prepare_library()
    try:
        from rocm.bindings import hip as module
    except ImportError as error:
        raise UnavailableError(
            "no-hip-python",
            f"hip-python cannot be imported ({error}); install it with: pip install hip-python",
        ) from error
    return module


def call(name: str, *arguments: Any) -> Any:
    """Call a function of the runtime; return its outputs: None, the only one, or a tuple.

    Raises:
        HipError: the runtime said no.
    """
    status, *outputs = getattr(hip(), name)(*arguments)
    if status != 0:
        raise HipError(name, status.name, remedy(status.name))
    if not outputs:
        return None
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


def destroy_with(owner: Any, function: str, handle: Any) -> None:
    """Destroy a handle when its owner is gone, but not while the interpreter ends: the runtime may
    be gone by then, and the process takes everything with it anyway.
    """
    weakref.finalize(owner, _destroy, function, handle).atexit = False


def _destroy(function: str, handle: Any) -> None:
    """Silent: nobody can catch what is raised here."""
    with contextlib.suppress(Exception):
        getattr(hip(), function)(handle)


def free(pointer: int) -> None:
    """Give device memory back; waits for the work that may use it."""
    with contextlib.suppress(Exception):
        hip().hipFree(pointer)
