"""DeviceArray: an address on a GPU with a shape, a dtype and strides, as NumPy has them.

It computes nothing; views, slices and the two protocols by which other libraries share memory are
all it knows (those are in `exchange`). The odd thing: `owner` is whatever keeps the memory alive,
one of our allocations or another library's array.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from hipgpt_kernels.hip.dtypes import as_dtype

if TYPE_CHECKING:
    from types import EllipsisType

    from hipgpt_kernels.hip.driver import Stream

Index: TypeAlias = "int | slice | EllipsisType | None"


NOT_ON_HOST = "this array is on a GPU and NumPy cannot see it; copy it with backend.to_numpy(array)"


class Flags(NamedTuple):
    """As NumPy's `flags`, what is asked for here."""

    c_contiguous: bool
    writeable: bool


def contiguous_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Bytes from one element to the next along each dimension, in C order."""
    strides = []
    step = itemsize
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


class DeviceArray:
    """A view of memory on a GPU.

    Attributes:
        owner: keeps the memory alive as long as the array lives.
        pointer: address of the first element on the device.
        shape: sizes.
        dtype: a NumPy dtype, or `bfloat16`.
        strides: bytes from one element to the next, by dimension; never negative.
        stream: the stream on which our work on this memory is ordered; it knows the device.
        writeable: False for memory that another library lends for reading only.
    """

    __slots__ = (
        *("__weakref__", "dtype", "owner", "pointer"),
        *("shape", "stream", "strides", "writeable"),
    )

    def __init__(
        self,
        owner: Any,
        pointer: int,
        shape: tuple[int, ...],
        dtype: Any,
        stream: Stream,
        strides: tuple[int, ...] | None = None,
        *,
        writeable: bool = True,
    ) -> None:
        self.owner = owner
        self.pointer = pointer
        self.shape = shape
        self.dtype = dtype
        self.stream = stream
        self.strides = contiguous_strides(shape, dtype.itemsize) if strides is None else strides
        self.writeable = writeable

    # --- sizes --------------------------------------------------------------------------------

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return int(self.dtype.itemsize)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements, without gaps between them."""
        return self.size * self.itemsize

    @property
    def contiguous(self) -> bool:
        """Do the elements follow each other in C order without gaps?"""
        step = self.itemsize
        if self.size == 0:
            return True
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size != 1 and stride != step:
                return False
            step *= size
        return True

    @property
    def flags(self) -> Flags:
        """Contiguous? Writeable?"""
        return Flags(self.contiguous, self.writeable)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without dimensions")
        return self.shape[0]

    def __repr__(self) -> str:
        return f"DeviceArray(shape={self.shape}, dtype={self.dtype}, device={self.stream.device})"

    # --- views --------------------------------------------------------------------------------

    def _view(
        self,
        pointer: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...] | None,
        dtype: Any = None,
    ) -> DeviceArray:
        return DeviceArray(
            self.owner,
            pointer,
            shape,
            self.dtype if dtype is None else dtype,
            self.stream,
            strides,
            writeable=self.writeable,
        )

    def reshape(self, *shape: int | tuple[int, ...]) -> DeviceArray:
        """The same elements in another shape, never a copy; one size may be −1.

        Raises:
            ValueError: the numbers of elements differ, or the array is not contiguous.
        """
        sizes: list[int] = []
        for part in shape:
            sizes.extend(part if isinstance(part, tuple | list) else (part,))
        if sizes.count(-1) == 1:
            known = math.prod(size for size in sizes if size != -1)
            if known and self.size % known == 0:
                sizes[sizes.index(-1)] = self.size // known
        if any(size < 0 for size in sizes) or math.prod(sizes) != self.size:
            raise ValueError(
                f"reshape: {self.shape} has {self.size} elements, {tuple(sizes)} does not"
            )
        result = tuple(sizes)
        if result == self.shape:
            return self
        if not self.contiguous:
            raise ValueError("reshape: the array is not contiguous; copy it first")
        return self._view(self.pointer, result, None)

    def view(self, dtype: Any) -> DeviceArray:
        """The same bytes as another dtype; the last dimension grows or shrinks with its size.

        Raises:
            ValueError: not contiguous, or the bytes of a row do not divide.
        """
        dtype = as_dtype(dtype)
        if dtype.itemsize == self.itemsize:
            return self._view(self.pointer, self.shape, self.strides, dtype)
        row = self.shape[-1] * self.itemsize if self.shape else 1
        if not self.shape or not self.contiguous or row % dtype.itemsize:
            raise ValueError(
                f"view: {self.shape} of {self.dtype} cannot be seen as {dtype}; "
                "expected a contiguous array whose rows divide"
            )
        shape = (*self.shape[:-1], row // dtype.itemsize)
        return self._view(self.pointer, shape, None, dtype)

    def transpose(self, *axes: int) -> DeviceArray:
        """The dimensions in another order; without arguments, reversed."""
        order = axes or tuple(reversed(range(self.ndim)))
        order = tuple(
            axis % self.ndim if -self.ndim <= axis < self.ndim else axis for axis in order
        )
        if sorted(order) != list(range(self.ndim)):
            raise ValueError(f"transpose: axes are {axes}, expected each of {self.ndim} once")
        return self._view(
            self.pointer,
            tuple(self.shape[axis] for axis in order),
            tuple(self.strides[axis] for axis in order),
        )

    @property
    def T(self) -> DeviceArray:
        """The dimensions reversed."""
        return self.transpose()

    def __getitem__(self, index: Index | tuple[Index, ...]) -> DeviceArray:
        """A view: integers, slices with a positive step, `...` and None.

        Raises:
            IndexError: an integer out of range, or too many of them.
            TypeError: anything else, such as an array of indices.
        """
        parts = list(index) if isinstance(index, tuple) else [index]
        taken = sum(part is not None and part is not Ellipsis for part in parts)
        if taken > self.ndim:
            raise IndexError(f"{taken} indices for {self.ndim} dimensions")
        dots = [place for place, part in enumerate(parts) if part is Ellipsis]
        if len(dots) > 1:
            raise IndexError("an index can only have one ellipsis (...)")
        where = dots[0] if dots else len(parts)
        parts[where : where + len(dots)] = [slice(None)] * (self.ndim - taken)
        pointer, axis = self.pointer, 0
        shape: list[int] = []
        strides: list[int] = []
        for part in parts:
            if part is None:
                shape.append(1)
                strides.append(0)
                continue
            size, stride = self.shape[axis], self.strides[axis]
            if isinstance(part, slice):
                start, stop, step = part.indices(size)
                if step < 0:
                    raise ValueError(f"slice has step {step}, expected a positive one")
                count = len(range(start, stop, step))
                pointer += start * stride if count else 0
                shape.append(count)
                strides.append(stride * step)
            elif hasattr(part, "__index__"):
                number = int(part.__index__())
                if not -size <= number < size:
                    raise IndexError(f"index {number} is out of range for {size} elements")
                pointer += (number % size) * stride
            else:
                raise TypeError(f"index is a {type(part).__name__}, expected an integer or a slice")
            axis += 1
        return self._view(pointer, tuple(shape), tuple(strides))

    def __iter__(self) -> Any:
        return (self[number] for number in range(len(self)))

    # --- other libraries ----------------------------------------------------------------------

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        raise TypeError(NOT_ON_HOST)

    @property
    def ctypes(self) -> Any:
        """What NumPy's arrays have and code for the CPU asks for; refused.

        Raises:
            TypeError: always.
        """
        raise TypeError(NOT_ON_HOST)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        from hipgpt_kernels.hip.exchange import cuda_array_interface

        return cuda_array_interface(self)

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        from hipgpt_kernels.hip.exchange import to_dlpack

        return to_dlpack(self, stream, max_version, dl_device, copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        from hipgpt_kernels.hip.exchange import dlpack_device

        return dlpack_device(self.stream.device)
