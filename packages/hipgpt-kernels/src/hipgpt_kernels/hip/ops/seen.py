"""How the checks see device arrays: the contract says float32, here the 16-bit types do too.

The odd thing: nothing is converted. `checks` looks at shape, dtype and strides alone, so an op
hands it a description in which the op's own floating type is called float32.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from hipgpt_kernels.hip.array import DeviceArray
from hipgpt_kernels.hip.dtypes import FLOATING, SUFFIXES, float32

INT64, UINT64 = np.dtype(np.int64), np.dtype(np.uint64)


class Flags(NamedTuple):
    """NumPy's names for what the checks ask of an array's memory."""

    c_contiguous: bool
    writeable: bool


class Seen(NamedTuple):
    """What the checks look at."""

    shape: tuple[int, ...]
    dtype: Any
    strides: tuple[int, ...]
    flags: Flags

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def variant(op: str, **arrays: Any) -> str:
    """Name the one floating type of the arrays: f32, bf16 or f16; those that are None aside.

    Raises:
        TypeError: something is no device array, has another type, or the types differ.
    """
    first = ""
    found: Any = None
    for name, array in arrays.items():
        if array is None:
            continue
        if not isinstance(array, DeviceArray):
            raise TypeError(
                f"{op}: {name} is a {type(array).__name__}, expected an array on the GPU"
            )
        if array.dtype not in FLOATING:
            raise TypeError(
                f"{op}: {name} has dtype {array.dtype}, expected float32, bfloat16 or float16"
            )
        if not first:
            first, found = name, array.dtype
        elif array.dtype != found:
            raise TypeError(
                f"{op}: {name} has dtype {array.dtype}, expected {found}, that of {first}"
            )
    if not first:
        raise TypeError(f"{op}: {next(iter(arrays))} is None, expected an array on the GPU")
    return SUFFIXES[found]


def plain(array: Any) -> Any:
    """A device array as it is; None, and what is no array, pass through."""
    if not isinstance(array, DeviceArray):
        return array
    return Seen(array.shape, array.dtype, array.strides, Flags(array.contiguous, array.writeable))


def floating(array: Any) -> Any:
    """A device array of the op's floating type, under the name of float32."""
    if not isinstance(array, DeviceArray):
        return array
    factor = float32.itemsize // array.itemsize
    strides = tuple(stride * factor for stride in array.strides)
    return Seen(array.shape, float32, strides, Flags(array.contiguous, array.writeable))


def value_or_pointer(
    op: str, name: str, value: Any, default: Any, *dtypes: Any
) -> tuple[Any, DeviceArray | None]:
    """A number that may be on the device, where a captured graph can read it anew at each launch.

    Args:
        op: for the message.
        name: the argument's.
        value: a number, or a DeviceArray of one element.
        default: what stands for the number where it is on the device.
        dtypes: what the array may be.

    Returns:
        The number and None, or the default and the array.
    """
    if not isinstance(value, DeviceArray):
        return value, None
    if value.dtype not in dtypes or value.size != 1:
        names = " or ".join(dtype.name for dtype in dtypes)
        raise TypeError(
            f"{op}: {name} has dtype {value.dtype} and shape {value.shape}, expected a number or "
            f"one {names} on the device"
        )
    return default, value
