"""bfloat16 to float32 and back, which NumPy cannot do by itself.

The odd thing: a bfloat16 is the upper half of a float32, so both ways are work on integers.
"""

from __future__ import annotations

import numpy as np


def from_bf16(stored: np.ndarray) -> np.ndarray:
    """Stored bfloat16 (*) uint16 → the same numbers, float32 (*).

    Example:
        >>> from_bf16(np.array([0x3F80, 0xC000], np.uint16))
        array([ 1., -2.], dtype=float32)
    """
    return (stored.astype(np.uint32) << np.uint32(16)).view(np.float32)


def to_bf16(values: np.ndarray) -> np.ndarray:
    """float32 (*) → the nearest bfloat16, ties to even, as stored: uint16 (*).

    Example:
        >>> [hex(bits) for bits in to_bf16(np.array([1.0, -2.0, 1.00390625], np.float32))]
        ['0x3f80', '0xc000', '0x3f80']
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))
    quiet = (bits >> np.uint32(16)) | np.uint32(0x40)  # a NaN must not round to infinity
    return np.where(np.isnan(values), quiet, rounded >> np.uint32(16)).astype(np.uint16)
