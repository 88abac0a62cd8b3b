"""Sharing memory with PyTorch, CuPy and others: DLPack and the CUDA array interface, both ways.

Nothing is copied. DLPack's structures are declared here as its header has them (dlpack.h, version
1.0) and live in C memory until the other side calls their deleter. The odd thing: a capsule changes
its name when it is consumed, which is how its destructor knows whether the deleter is still ours to
call.
"""

from __future__ import annotations

import ctypes
import weakref
from ctypes import c_char_p, c_int32, c_int64, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p
from typing import TYPE_CHECKING, Any

import numpy as np

from hipgpt_kernels.hip.array import DeviceArray, contiguous_strides
from hipgpt_kernels.hip.dtypes import bfloat16

if TYPE_CHECKING:
    from hipgpt_kernels.hip.driver import Device, Stream

CPU, CUDA, CUDA_HOST, ROCM, ROCM_HOST = 1, 2, 3, 10, 11
"""DLDeviceType; the hosts are page-locked memory."""
CODES = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}
"""DLDataTypeCode by NumPy's kind."""
BFLOAT = 4
READ_ONLY = 1
"""DLPACK_FLAG_BITMASK_READ_ONLY."""


class DLTensor(ctypes.Structure):
    """A view of memory."""

    _fields_ = (
        ("data", c_void_p),
        ("device_type", c_int32),
        ("device_id", c_int32),
        ("ndim", c_int32),
        ("code", c_uint8),
        ("bits", c_uint8),
        ("lanes", c_uint16),
        ("shape", ctypes.POINTER(c_int64)),
        ("strides", ctypes.POINTER(c_int64)),  # in elements; null for C order
        ("byte_offset", c_uint64),
    )


class Managed(ctypes.Structure):
    """DLManagedTensor, in a capsule named "dltensor"."""

    _fields_ = (("tensor", DLTensor), ("context", c_void_p), ("deleter", c_void_p))


class ManagedVersioned(ctypes.Structure):
    """DLManagedTensorVersioned, in a capsule named "dltensor_versioned"."""

    _fields_ = (
        ("major", c_uint32),
        ("minor", c_uint32),
        ("context", c_void_p),
        ("deleter", c_void_p),
        ("flags", c_uint64),
        ("tensor", DLTensor),
    )


KINDS: tuple[tuple[bytes, bytes, Any], ...] = (
    (b"dltensor_versioned", b"used_dltensor_versioned", ManagedVersioned),
    (b"dltensor", b"used_dltensor", Managed),
)
"""Name of a capsule, its name once consumed, what it holds."""

Deleter: Any = ctypes.CFUNCTYPE(None, c_void_p)

_api = ctypes.pythonapi
_new = ctypes.PYFUNCTYPE(ctypes.py_object, c_void_p, c_char_p, c_void_p)(("PyCapsule_New", _api))
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, c_void_p, c_char_p)(("PyCapsule_IsValid", _api))
_pointer = ctypes.PYFUNCTYPE(c_void_p, c_void_p, c_char_p)(("PyCapsule_GetPointer", _api))
_rename = ctypes.PYFUNCTYPE(ctypes.c_int, c_void_p, c_char_p)(("PyCapsule_SetName", _api))

_lent: dict[int, tuple[Any, ...]] = {}
"""What a consumer still uses, by the address of its structure."""


def _forget(address: int) -> None:
    """The consumer is done."""
    _lent.pop(address, None)


def _forget_capsule(capsule: int) -> None:
    """A capsule dies: if nobody consumed it, its structure dies with it."""
    for name, _, _ in KINDS:
        if _is_valid(capsule, name):
            _forget(_pointer(capsule, name))


_delete, _destroy = Deleter(_forget), Deleter(_forget_capsule)


# Another library may hold our memory until the interpreter's very end: these two must not go first.
_api.Py_IncRef(ctypes.py_object(_delete))
_api.Py_IncRef(ctypes.py_object(_destroy))


def dlpack_device(device: Device) -> tuple[int, int]:
    """(type, number): CUDA for NVIDIA, ROCm for AMD."""
    return (CUDA if device.nvidia else ROCM, device.index)


def default_number(device: Device) -> int:
    """What DLPack calls the legacy default stream: 1 on CUDA, where 0 means nothing, 0 on ROCm."""
    return 1 if device.nvidia else 0


def stream_number(stream: Stream) -> int:
    """What DLPack calls a stream of ours."""
    return stream.address or default_number(stream.device)


def order_after(stream: Stream, consumer: int | None) -> None:
    """Make another library's stream wait for ours.

    Args:
        stream: ours.
        consumer: by DLPack's rule: None or 0, 1, 2 are the default streams, −1 asks for nothing,
            else a stream's address.
    """
    if consumer == -1 or consumer == stream_number(stream):
        return
    if consumer in (None, 0, 1) and stream.follows_default:
        return
    # A stream of the other library: we cannot know how long it lives, so we wait ourselves.
    stream.synchronize()


def to_dlpack(
    array: DeviceArray,
    stream: int | None,
    max_version: tuple[int, int] | None,
    dl_device: tuple[int, int] | None,
    copy: bool | None,
) -> Any:
    """A capsule that shares the array's memory.

    Raises:
        BufferError: a copy, or another device, was asked for.
    """
    device = dlpack_device(array.stream.device)
    if copy or (dl_device is not None and tuple(dl_device) != device):
        raise BufferError(
            f"this array is on device {device} and is shared, not copied; "
            "copy it with backend.to_numpy(array)"
        )
    order_after(array.stream, stream)
    name, _, kind = KINDS[0] if max_version is not None and max_version[0] >= 1 else KINDS[1]
    sizes = (c_int64 * max(1, array.ndim))(*array.shape)
    steps = (c_int64 * max(1, array.ndim))(*(step // array.itemsize for step in array.strides))
    managed = kind()
    tensor = managed.tensor
    tensor.data = array.pointer or None
    tensor.device_type, tensor.device_id = device
    tensor.ndim = array.ndim
    tensor.code = BFLOAT if array.dtype == bfloat16 else CODES[array.dtype.kind]
    tensor.bits, tensor.lanes = array.itemsize * 8, 1
    tensor.shape, tensor.strides = sizes, steps
    managed.deleter = ctypes.cast(_delete, c_void_p)
    if kind is ManagedVersioned:
        managed.major, managed.minor = 1, 0
        managed.flags = 0 if array.writeable else READ_ONLY
    address = ctypes.addressof(managed)
    _lent[address] = (managed, sizes, steps, array)
    return _new(address, name, ctypes.cast(_destroy, c_void_p))


class Borrowed:
    """Another library's memory: its deleter is called when the last view is gone."""

    def __init__(self, managed: Any) -> None:
        weakref.finalize(self, _give_back, managed).atexit = False


def _give_back(managed: Any) -> None:
    """Tell the producer that we are done."""
    if managed.deleter:
        Deleter(managed.deleter)(ctypes.addressof(managed))


def from_dlpack(source: Any, stream: Stream) -> DeviceArray:
    """A view of an array that offers `__dlpack__`.

    Raises:
        TypeError: it lies on another device, or is of a dtype that arrays here do not have.
    """
    kind, number = source.__dlpack_device__()
    expected = dlpack_device(stream.device)
    if (int(kind), int(number)) != expected:
        raise TypeError(
            f"{describe(source)} is {place(int(kind), int(number))}, expected an array "
            f"on GPU {stream.device}; copy it there first"
        )
    consumer = stream_number(stream)
    try:
        capsule = source.__dlpack__(stream=consumer, max_version=(1, 0))
    except TypeError:  # before version 1 there was no max_version
        capsule = source.__dlpack__(stream=consumer)
    address = id(capsule)  # CPython: the object itself, which the functions below take
    for name, used, structure in KINDS:
        if _is_valid(address, name):
            managed = structure.from_address(_pointer(address, name))
            _rename(address, used)
            break
    else:
        raise TypeError(f"{describe(source)}: __dlpack__ gave no capsule of DLPack's")
    owner = Borrowed(managed)
    tensor = managed.tensor
    dtype = dtype_of(tensor, source)
    shape = tuple(int(tensor.shape[axis]) for axis in range(tensor.ndim))
    strides = (
        tuple(int(tensor.strides[axis]) * dtype.itemsize for axis in range(tensor.ndim))
        if tensor.strides
        else contiguous_strides(shape, dtype.itemsize)
    )
    pointer = (tensor.data or 0) + tensor.byte_offset
    writeable = not (structure is ManagedVersioned and managed.flags & READ_ONLY)
    return DeviceArray(owner, pointer, shape, dtype, stream, strides, writeable=writeable)


def dtype_of(tensor: DLTensor, source: Any) -> Any:
    """The dtype of a DLPack tensor."""
    if tensor.lanes == 1:
        if (tensor.code, tensor.bits) == (BFLOAT, 16):
            return bfloat16
        for kind, code in CODES.items():
            if tensor.code == code and tensor.bits % 8 == 0:
                return np.dtype(f"{kind}{tensor.bits // 8}")
    raise TypeError(
        f"{describe(source)} has a dtype (DLPack code {tensor.code}, {tensor.bits} bits, "
        f"{tensor.lanes} lanes) that arrays here do not have"
    )


def cuda_array_interface(array: DeviceArray) -> dict[str, Any]:
    """Version 3 of the interface.

    Raises:
        AttributeError: bfloat16, which the interface cannot say; DLPack can.
    """
    if array.dtype == bfloat16:
        raise AttributeError("bfloat16 has no __cuda_array_interface__; use DLPack")
    return {
        "version": 3,
        "shape": array.shape,
        "typestr": array.dtype.str,
        "data": (array.pointer, not array.writeable),
        "strides": None if array.contiguous else array.strides,
        "stream": array.stream.address or 1,  # 1: the legacy default stream
    }


def from_cuda_array_interface(source: Any, stream: Stream) -> DeviceArray:
    """A view of an array that offers `__cuda_array_interface__`.

    Raises:
        TypeError: it has a mask.
    """
    interface = source.__cuda_array_interface__
    if interface.get("mask") is not None:
        raise TypeError(f"{describe(source)} is masked; expected a plain array")
    producer = interface.get("stream")
    default = producer == 1 and stream.follows_default
    if producer is not None and not default and producer != stream.address:
        stream.device.synchronize()  # its stream may be gone: the address alone is no handle
    dtype = np.dtype(interface["typestr"])
    shape = tuple(int(size) for size in interface["shape"])
    pointer, read_only = interface["data"]
    strides = interface.get("strides")
    return DeviceArray(source, int(pointer), shape, dtype, stream, strides, writeable=not read_only)


def as_device_array(source: Any, stream: Stream) -> DeviceArray:
    """A DeviceArray that shares the memory of any array on this GPU; ours come back as they are.

    Raises:
        TypeError: it is not on this GPU, or no array.
    """
    if isinstance(source, DeviceArray):
        if source.stream.device.index != stream.device.index:
            raise TypeError(
                f"the array is on GPU {source.stream.device}, expected one on GPU {stream.device}"
            )
        return source
    if hasattr(source, "__dlpack_device__"):
        return from_dlpack(source, stream)
    if hasattr(source, "__cuda_array_interface__"):
        return from_cuda_array_interface(source, stream)
    raise TypeError(f"{describe(source)} is no array on a GPU")


def place(kind: int, number: int) -> str:
    """A DLPack device in words."""
    names = {CPU: "in the host's memory", CUDA: f"on CUDA device {number}"}
    names |= {ROCM: f"on ROCm device {number}", CUDA_HOST: "in pinned host memory"}
    return names.get(kind, f"on DLPack device ({kind}, {number})")


def describe(source: Any) -> str:
    """The type of a foreign array, with its module."""
    return f"the {type(source).__module__.split('.')[0]} {type(source).__name__}"
