"""What is refused of any array: another dtype or shape, gaps, memory that may not be written.

The odd thing: arrays are looked at, never touched, so the same checks serve arrays on a device.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from hipgpt_kernels.backend.terms import Array


FLOAT32 = np.dtype(np.float32)


def dtype(op: str, name: str, array: Array, *expected: Any) -> None:
    """Refuse what is no array, or an array of a dtype that is not among the expected ones."""
    if not hasattr(array, "dtype") or not hasattr(array, "strides"):
        raise TypeError(f"{op}: {name} is a {type(array).__name__}, expected an array")
    if array.dtype not in expected:
        names = " or ".join(getattr(one, "name", None) or np.dtype(one).name for one in expected)
        raise TypeError(f"{op}: {name} has dtype {array.dtype}, expected {names}")


def contiguous(op: str, name: str, array: Array) -> None:
    """Refuse an array with gaps or another order than C: its rows could not be walked as one."""
    if not array.flags.c_contiguous:
        raise ValueError(f"{op}: {name} is not contiguous in C order; give a copy of it")


def writable(op: str, name: str, array: Array) -> None:
    """Refuse an output that may not be written."""
    if not array.flags.writeable:
        raise ValueError(f"{op}: {name} is read-only and cannot be written; give another array")


def needed(op: str, *expected: Any, **arrays: Array) -> None:
    """Each must be a contiguous array of the expected dtype, float32 where none is named."""
    for name, array in arrays.items():
        # The usual case first: these checks are a tenth of the time of a token on the CPU.
        if (
            type(array) is np.ndarray
            and array.dtype is FLOAT32
            and not expected
            and array.flags.c_contiguous
        ):
            continue
        dtype(op, name, array, *(expected or (np.float32,)))
        contiguous(op, name, array)


def optional(op: str, *expected: Any, **arrays: Array | None) -> None:
    """As `needed`, for those that are given."""
    for name, array in arrays.items():
        if array is not None:
            needed(op, *expected, **{name: array})


def written(op: str, *expected: Any, **arrays: Array | None) -> None:
    """As `optional`, for arrays that the op writes."""
    for name, array in arrays.items():
        if array is not None:
            needed(op, *expected, **{name: array})
            writable(op, name, array)


def shape(op: str, name: str, array: Array, expected: tuple[int, ...], meaning: str = "") -> None:
    """Refuse an array of another shape; `meaning` names the sizes, as in "(N, K)"."""
    if tuple(array.shape) != expected:
        meaning = f"{meaning} = " if meaning else ""
        raise ValueError(
            f"{op}: {name} has shape {tuple(array.shape)}, expected {meaning}{expected}"
        )


def dimensions(op: str, name: str, array: Array, count: int, meaning: str) -> None:
    """Refuse an array with another number of dimensions."""
    if array.ndim != count:
        raise ValueError(f"{op}: {name} has shape {tuple(array.shape)}, expected {meaning}")


def has_rows(op: str, name: str, array: Array) -> None:
    """Refuse an array without dimensions."""
    if array.ndim == 0:
        raise ValueError(f"{op}: {name} has no dimensions, expected rows (*, n)")


def rows(array: Array) -> int:
    """Number of rows: the product of all dimensions but the last."""
    return math.prod(array.shape[:-1])
