"""What is refused of any number: too small, infinite, no fraction, no 64-bit word."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hipgpt_kernels.checks.arrays import dtype, shape

PRECISIONS = ("float32", "bf16", "fp16")


def at_least(op: str, name: str, value: float, least: float) -> None:
    """Refuse a number below `least`, infinite, or not a number."""
    if not least <= value < math.inf:
        raise ValueError(f"{op}: {name} is {value}, expected a number of at least {least}")


def finite(op: str, **numbers: float) -> None:
    """Refuse what is infinite or not a number."""
    for name, value in numbers.items():
        if not math.isfinite(value):
            raise ValueError(f"{op}: {name} is {value}, expected a finite number")


def number(op: str, name: str, value: Any, *dtypes: Any) -> Any:
    """A number as it is, or that of an array of shape () in memory that NumPy sees."""
    if not hasattr(value, "strides") or isinstance(value, np.generic):
        return value
    dtype(op, name, value, *dtypes)
    shape(op, name, value, ())
    return value.item()


def fraction(op: str, name: str, value: float, *, one: bool) -> None:
    """Refuse a number outside [0, 1), or outside [0, 1] where `one` is allowed."""
    if not (0.0 <= value < 1.0 or (one and value == 1.0)):
        closing = "]" if one else ")"
        raise ValueError(f"{op}: {name} is {value}, expected a number in [0, 1{closing}")


def word64(op: str, **numbers: int) -> None:
    """Refuse what is no 64-bit counter or key."""
    for name, value in numbers.items():
        if not 0 <= value < 2**64:
            raise ValueError(f"{op}: {name} is {value}, expected a number in [0, 2⁶⁴)")


def precision(name: str) -> None:
    """Refuse what no backend computes in; the names are `backend.Precision`'s."""
    if name not in PRECISIONS:
        raise ValueError(f"precision is {name!r}, expected one of {', '.join(PRECISIONS)}")
