"""The floating types that kernels know: float32, float16 and bfloat16.

The odd one is bfloat16, which NumPy does not have. Here it is an object of its own with a `name`
and an `itemsize`, as a NumPy dtype has them; on the host its values live in float32 arrays, which
hold every bfloat16 exactly, and its bits in uint16 arrays.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np


class BFloat16:
    """The type of `bfloat16`: sign, 8 bits of exponent, 7 of mantissa."""

    name: Final = "bfloat16"
    itemsize: Final = 2
    kind: Final = "f"

    def __repr__(self) -> str:
        return "bfloat16"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BFloat16)

    def __hash__(self) -> int:
        return hash("bfloat16")

    def __reduce__(self) -> str:
        return "bfloat16"


bfloat16 = BFloat16()
float32 = np.dtype(np.float32)
float16 = np.dtype(np.float16)

FLOATING: tuple[Any, ...] = (float32, bfloat16, float16)
"""The types that kernels compute with."""

SUFFIXES: dict[Any, str] = {float32: "f32", bfloat16: "bf16", float16: "f16"}
"""What a kernel's name ends with, by dtype."""


def as_dtype(dtype: Any) -> Any:
    """`bfloat16` for anything of that name (ours, ml_dtypes', "bfloat16"), else a NumPy dtype.

    Raises:
        TypeError: NumPy knows no such dtype.
    """
    name = dtype if isinstance(dtype, str) else getattr(dtype, "name", None)
    return bfloat16 if name == "bfloat16" else np.dtype(dtype)


def suffix(dtype: Any) -> str:
    """What a kernel's name ends with: "f32", "bf16" or "f16".

    Raises:
        TypeError: kernels do not compute with this dtype.
    """
    try:
        return SUFFIXES[dtype]
    except KeyError:
        raise TypeError(f"dtype is {dtype}, expected float32, bfloat16 or float16") from None


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """The bits (uint16) of the bfloat16 numbers nearest to float32 values; ties go to even.

    Adding 0x7fff, or 0x8000 above an odd upper half, carries into that half exactly when rounding
    to nearest even goes up. A NaN keeps its sign and becomes quiet.
    """
    values = np.ascontiguousarray(values, np.float32)
    bits = values.view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    quiet = (bits >> 16) | 0x40
    return np.where(np.isnan(values), quiet, rounded).astype(np.uint16)


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """The float32 values of bfloat16 bits (uint16)."""
    return (np.ascontiguousarray(bits, np.uint16).astype(np.uint32) << 16).view(np.float32)


def host_dtype(dtype: Any) -> np.dtype[Any]:
    """The dtype of a NumPy array for values of `dtype`: float32 for bfloat16, else itself."""
    return float32 if dtype == bfloat16 else np.dtype(dtype)


def encode(values: np.ndarray, dtype: Any) -> np.ndarray:
    """A contiguous NumPy array whose bytes are those of `values` as `dtype` on a device."""
    if dtype == bfloat16:
        return to_bfloat16(values)
    with np.errstate(over="ignore"):  # as on a device: what is too large becomes infinite
        return np.asarray(values, dtype=dtype, order="C")


def decode(raw: np.ndarray, dtype: Any) -> np.ndarray:
    """What a device's bytes mean: `raw` is a uint16 array for bfloat16, else of `dtype` itself."""
    return from_bfloat16(raw) if dtype == bfloat16 else raw
