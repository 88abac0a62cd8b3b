"""The contract of memory: arrays on a device are made, copied, converted and filled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from hipgpt_kernels.backend.terms import Array


class Memory(ABC):
    """Arrays of one device."""

    @abstractmethod
    def compute_dtype(self, precision: str) -> Any:
        """The dtype of activations and weights in a precision: "float32", "bf16" or "fp16".

        Every op that takes float32 arrays takes arrays of this dtype in their place, all of one
        dtype. These stay float32 in any precision: gradients of parameters, losses, `correct`,
        statistics (mean, rstd, lse) and what the optimizer works on.

        Raises:
            ValueError: this backend does not compute in it, or there is no such precision.
        """

    @abstractmethod
    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
        """A new array with undefined contents, contiguous in C order."""

    @abstractmethod
    def zeros(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
        """A new array of zeros."""

    @abstractmethod
    def from_numpy(self, array: np.ndarray, *, copy: bool = True) -> Array:
        """A NumPy array on the device, contiguous in C order.

        With copy=False a backend whose memory is NumPy's may give the array itself, so that a file
        mapped into memory need not be read whole.
        """

    @abstractmethod
    def to_numpy(self, array: Array) -> np.ndarray:
        """A NumPy copy of an array, after all work that writes it is done."""

    @abstractmethod
    def copy(self, destination: Array, source: Array) -> None:
        """destination = source. Either may be a NumPy array; shapes and dtypes must be equal."""

    @abstractmethod
    def convert(self, x: Array, dtype: Any, *, out: Array | None = None) -> Array:
        """x in another floating dtype that `compute_dtype` gives, rounded to nearest even.

        Args:
            x: any shape, contiguous.
            dtype: of the result.
            out: the shape of x, of `dtype`, contiguous. Must not overlap x.
        """

    @abstractmethod
    def fill(self, array: Array, value: float) -> None:
        """array[...] = value."""

    @abstractmethod
    def memory_info(self) -> tuple[int, int]:
        """Bytes of memory (free, total) that this device has."""
