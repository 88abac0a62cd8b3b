"""Sums and copies between GPUs by RCCL, or by NCCL, which has the same functions.

hip-python's bindings look RCCL's library up when they are first called. The odd thing: on an NVIDIA
GPU they are told then that it is libnccl.so.2; nothing else differs. Everything is queued on a
stream and done in its order; nothing here waits for the device but the making of a communicator.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hipgpt_kernels.hip.dtypes import bfloat16, float16, float32
from hipgpt_kernels.hip.runtime import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hipgpt_kernels.hip.array import DeviceArray
    from hipgpt_kernels.hip.driver import Device, Stream

NCCL = "libnccl.so.2"
TYPES = {float32: "ncclFloat32", bfloat16: "ncclBfloat16", float16: "ncclFloat16"}


class CollectiveError(RuntimeError):
    """RCCL or NCCL said no; the message has the function and its code."""


def find_nccl() -> str:
    """NVIDIA's library: where the loader finds it, or in the wheel nvidia-nccl.

    Raises:
        UnavailableError: it is in neither.
    """
    try:
        ctypes.CDLL(NCCL)
    except OSError:
        spec = importlib.util.find_spec("nvidia")
        for folder in (spec.submodule_search_locations or []) if spec else []:
            path = Path(folder, "nccl", "lib", NCCL)
            if path.exists():
                return str(path)
        raise UnavailableError(
            "no-library",
            f"several NVIDIA GPUs need NCCL, and {NCCL} cannot be found; install it with: "
            "pip install nvidia-nccl-cu12 (or -cu13), or the system's package libnccl2",
        ) from None
    return NCCL


@functools.cache
def rccl(nvidia: bool) -> Any:
    """hip-python's module for RCCL, its library found.

    Raises:
        UnavailableError: the bindings or the library are missing.
    """
    try:
        module = importlib.import_module("rocm.bindings.rccl")
        paths: Any = importlib.import_module("rocm.bindings.util.paths")
    except ImportError as error:
        raise UnavailableError(
            "no-hip-python",
            f"several GPUs need hip-python's bindings for RCCL ({error}); install them with: "
            "pip install rocm-bindings-systems",
        ) from error
    if nvidia:
        library, ask = find_nccl(), paths.get_library_path

        def look_up(name: str, *more: Any) -> Any:
            return library.encode() if name == "rccl" else ask(name, *more)

        paths.get_library_path = look_up
    try:
        status, version = module.ncclGetVersion()
    except RuntimeError as error:
        raise UnavailableError(
            "no-library", f"librccl.so cannot be loaded ({error}); install ROCm's package rccl"
        ) from error
    if int(status) != 0 or int(version) <= 0:
        raise UnavailableError("no-library", f"RCCL does not say its version: {status}")
    return module


class Communicator:
    """The GPUs of a job, one a process.

    Args:
        device: of this process.
        size: number of processes.
        rank: of this one.
        unique: what `unique_id` gave on rank 0, the same on all ranks.

    Raises:
        CollectiveError: the GPUs do not find each other.
        UnavailableError: RCCL is missing.
    """

    def __init__(self, device: Device, size: int, rank: int, unique: bytes) -> None:
        device.activate()
        self._nccl = rccl(device.nvidia)
        self.device = device
        self.size = size
        self.rank = rank
        identity = self._nccl.ncclUniqueId.fromObj(unique)
        self._handle = self._call("ncclCommInitRank", size, identity, rank)
        self._sum = self._nccl.ncclRedOp_t.ncclSum

    def _call(self, name: str, *arguments: Any) -> Any:
        status, *outputs = getattr(self._nccl, name)(*arguments)
        if int(status) != 0:
            raise CollectiveError(
                f"{name} failed with {getattr(status, 'name', status)}; run with NCCL_DEBUG=INFO "
                "to see which connection between the GPUs did not work"
            )
        return outputs[0] if outputs else None

    def _type(self, array: DeviceArray) -> Any:
        return getattr(self._nccl.ncclDataType_t, TYPES[array.dtype])

    @contextlib.contextmanager
    def group(self) -> Iterator[None]:
        """What is asked for inside is done as one."""
        self._call("ncclGroupStart")
        yield
        self._call("ncclGroupEnd")

    def all_reduce(self, array: DeviceArray, stream: Stream) -> None:
        """Every rank's array becomes the sum of all."""
        self._call(
            "ncclAllReduce", array.pointer, array.pointer, array.size, self._type(array),
            self._sum, self._handle, stream.handle,
        )  # fmt: skip

    def reduce(self, array: DeviceArray, root: int, stream: Stream) -> None:
        """The array of rank `root` becomes the sum of all."""
        self._call(
            "ncclReduce", array.pointer, array.pointer, array.size, self._type(array),
            self._sum, root, self._handle, stream.handle,
        )  # fmt: skip

    def reduce_scatter(self, array: DeviceArray, stream: Stream) -> None:
        """Of `size` equal parts, part r on rank r becomes the sum; the others are undefined."""
        count = array.size // self.size
        own = array[self.rank * count : (self.rank + 1) * count]
        self._call(
            "ncclReduceScatter", array.pointer, own.pointer, count, self._type(array),
            self._sum, self._handle, stream.handle,
        )  # fmt: skip

    def all_gather(self, array: DeviceArray, stream: Stream) -> None:
        """Of `size` equal parts, part r becomes that of rank r, on every rank."""
        count = array.size // self.size
        own = array[self.rank * count : (self.rank + 1) * count]
        self._call(
            "ncclAllGather", own.pointer, array.pointer, count, self._type(array),
            self._handle, stream.handle,
        )  # fmt: skip

    def broadcast(self, array: DeviceArray, root: int, stream: Stream) -> None:
        """Every rank's array becomes that of rank `root`."""
        self._call(
            "ncclBroadcast", array.pointer, array.pointer, array.size, self._type(array),
            root, self._handle, stream.handle,
        )  # fmt: skip

    def close(self) -> None:
        """Leave the job, when all ranks have done their work."""
        self._call("ncclCommDestroy", self._handle)


def unique_id(device: Device) -> bytes:
    """A name for a new job; made by one rank and told to all."""
    device.activate()
    status, identity = rccl(device.nvidia).ncclGetUniqueId()
    if int(status) != 0:
        raise CollectiveError(f"ncclGetUniqueId failed with {getattr(status, 'name', status)}")
    return bytes(bytearray(identity.internal))
