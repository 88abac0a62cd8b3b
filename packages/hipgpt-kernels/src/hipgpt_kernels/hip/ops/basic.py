"""Fill, copy, convert, add and mean: csrc/basic.hip.

Arrays without gaps are seen as rows of n elements. The odd thing: a copy between views with gaps
goes through one kernel for up to four dimensions, once neighbouring ones that have no gap between
them have been made one.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.hip.dtypes import FLOATING, as_dtype, bfloat16, suffix, to_bfloat16
from hipgpt_kernels.hip.kernel import INT, LONG, POINTER, Kernel

if TYPE_CHECKING:
    from hipgpt_kernels.hip.array import DeviceArray
    from hipgpt_kernels.hip.backend import HipBackend

THREADS = 256
"""Of a block; the same number as in csrc/basic.hip."""
BLOCKS_PER_UNIT = 8
"""Blocks for each compute unit: 2048 threads, all that one can hold. More blocks only wait."""
SUM_BLOCKS = 1024
"""Most blocks of a sum. A constant, so that the order of the sum is the same on every GPU."""
DIMENSIONS = 4
"""Of csrc/basic.hip's strided copy."""
WIDTH = 16
"""Bytes of the widest access."""

FILL = Kernel("basic", "fill", POINTER, LONG, LONG, INT, INT)
STRIDED_COPY = Kernel("basic", "strided_copy", POINTER, POINTER, *(LONG,) * 12, INT)
CONVERT = Kernel("basic", "convert", POINTER, POINTER, LONG, INT, INT)
ADD = Kernel("basic", "add", POINTER, POINTER, POINTER, LONG, INT, INT)
SUM = Kernel("basic", "sum", POINTER, POINTER, LONG, INT)


def block_count(backend: HipBackend, n: int, width: int) -> int:
    """Blocks for n elements at `width` to a thread: no more than the GPU can hold at once."""
    needed = -(-n // (THREADS * width))
    return min(needed, backend.device.compute_units * BLOCKS_PER_UNIT)


def vector_width(*arrays: DeviceArray) -> bool:
    """May each array be read 16 bytes at a time?"""
    return all(array.pointer % WIDTH == 0 for array in arrays)


def bits(value: float, dtype: Any) -> int:
    """The bits of a number as an element of `dtype`, as a signed 64-bit integer.

    Raises:
        ValueError: an integer dtype cannot hold the value.
    """
    raw: bytes
    if dtype == bfloat16:
        raw = to_bfloat16(np.full(1, value, np.float32)).tobytes()
    else:
        with np.errstate(over="ignore"):  # float16: what is too large becomes infinite
            element = np.asarray(value).astype(dtype)
        if dtype.kind != "f" and element != value:
            raise ValueError(f"fill: value is {value}, which {dtype} cannot hold")
        raw = element.tobytes()
    return int(struct.unpack("<q", raw.ljust(8, b"\0"))[0])


def fill(backend: HipBackend, array: DeviceArray, value: float) -> None:
    """See `Backend.fill`."""
    checks.writable("fill", "array", array)
    if array.itemsize not in (1, 2, 4, 8):
        raise TypeError(f"fill: array has dtype {array.dtype}, expected 1, 2, 4 or 8 bytes")
    if not array.contiguous:
        one = backend.empty((), array.dtype)
        fill(backend, one, value)
        repeated = type(array)(
            one.owner, one.pointer, array.shape, array.dtype, array.stream, (0,) * array.ndim
        )
        strided_copy(backend, array, repeated)
        return
    vector = vector_width(array)
    blocks = block_count(backend, array.size, WIDTH // array.itemsize if vector else 1)
    number = bits(value, array.dtype)
    FILL.launch(
        backend,
        str(array.itemsize * 8),
        blocks,
        THREADS,
        *(array, array.size, number, blocks, vector),
        overlapped=True,
    )


def merged(*arrays: DeviceArray) -> tuple[list[int], list[list[int]]]:
    """Sizes without those of 1, neighbours made one where no array has a gap between them.

    Returns:
        The sizes, and for each array its strides in elements.
    """
    sizes: list[int] = []
    strides: list[list[int]] = [[] for _ in arrays]
    for axis, size in enumerate(arrays[0].shape):
        if size == 1:
            continue
        steps = [array.strides[axis] // array.itemsize for array in arrays]
        if sizes and all(
            before[-1] == step * size for before, step in zip(strides, steps, strict=True)
        ):
            sizes[-1] *= size
            for before, step in zip(strides, steps, strict=True):
                before[-1] = step
        else:
            sizes.append(size)
            for before, step in zip(strides, steps, strict=True):
                before.append(step)
    return sizes, strides


def widened(
    destination: DeviceArray, source: DeviceArray, sizes: list[int], to: list[int], of: list[int]
) -> int:
    """Bytes that may move as one where rows have no gaps.

    Sizes and strides are changed to count these instead of elements.
    """
    width = destination.itemsize
    while (
        sizes
        and width < WIDTH
        and to[-1] == of[-1] == 1
        and sizes[-1] % 2 == 0
        and all(step % 2 == 0 for step in to[:-1] + of[:-1])
        and (destination.pointer | source.pointer) % (2 * width) == 0
    ):
        width *= 2
        sizes[-1] //= 2
        to[:-1] = [step // 2 for step in to[:-1]]
        of[:-1] = [step // 2 for step in of[:-1]]
    return width


def strided_copy(backend: HipBackend, destination: DeviceArray, source: DeviceArray) -> None:
    """Copy between arrays of one shape and dtype, with or without gaps."""
    if destination.size == 0:
        return
    sizes, (to, of) = merged(destination, source)
    width = widened(destination, source, sizes, to, of)
    if len(sizes) > DIMENSIONS:  # the slowest dimension by hand
        axis = next(number for number, size in enumerate(destination.shape) if size != 1)
        for number in range(destination.shape[axis]):
            index = (slice(None),) * axis + (number,)
            strided_copy(backend, destination[index], source[index])
        return
    missing = DIMENSIONS - len(sizes)
    sizes = [1] * missing + sizes
    to, of = [0] * missing + to, [0] * missing + of
    blocks = block_count(backend, math.prod(sizes), 1)
    STRIDED_COPY.launch(
        backend,
        str(width * 8),
        blocks,
        THREADS,
        *(destination, source, *sizes, *to, *of, blocks),
    )


def copy(backend: HipBackend, destination: DeviceArray, source: DeviceArray) -> None:
    """destination = source, both on the device."""
    checks.dtype("copy", "source", source, destination.dtype)
    checks.shape("copy", "source", source, destination.shape, "destination's shape")
    checks.writable("copy", "destination", destination)
    if not (destination.contiguous and source.contiguous):
        strided_copy(backend, destination, source)
    elif destination.size and destination.pointer != source.pointer:
        backend.stream.copy_on_device(destination.pointer, source.pointer, source.nbytes)


def convert(
    backend: HipBackend, x: DeviceArray, dtype: Any, *, out: DeviceArray | None = None
) -> DeviceArray:
    """x in another floating dtype, rounded to nearest even.

    Args:
        backend: whose device.
        x: float32, bfloat16 or float16, contiguous; any shape.
        dtype: one of the three.
        out: the shape of x, of `dtype`, contiguous. Must not overlap x.
    """
    op = "convert"
    dtype = as_dtype(dtype)
    checks.dtype(op, "x", x, *FLOATING)
    checks.contiguous(op, "x", x)
    out = backend.empty(x.shape, dtype) if out is None else out
    checks.dtype(op, "out", out, dtype)
    checks.shape(op, "out", out, x.shape, "the shape of x")
    checks.contiguous(op, "out", out)
    checks.writable(op, "out", out)
    of, to = suffix(x.dtype), suffix(dtype)
    if of == to:
        copy(backend, out, x)
        return out
    vector = vector_width(x, out)
    blocks = block_count(backend, x.size, 4 if vector else 1)
    CONVERT.launch(backend, f"{of}_{to}", blocks, THREADS, *(out, x, x.size, blocks, vector))
    return out


def add(
    backend: HipBackend, x: DeviceArray, y: DeviceArray, *, out: DeviceArray | None = None
) -> DeviceArray:
    """See `Backend.add`; all of one floating dtype."""
    op = "add"
    checks.dtype(op, "x", x, *FLOATING)
    out = backend.empty(x.shape, x.dtype) if out is None else out
    for name, array in (("x", x), ("y", y), ("out", out)):
        checks.dtype(op, name, array, x.dtype)
        checks.shape(op, name, array, x.shape, "the shape of x")
        checks.contiguous(op, name, array)
    checks.writable(op, "out", out)
    vector = vector_width(x, y, out)
    blocks = block_count(backend, x.size, WIDTH // x.itemsize if vector else 1)
    ADD.launch(backend, suffix(x.dtype), blocks, THREADS, *(out, x, y, x.size, blocks, vector))
    return out


def mean(backend: HipBackend, x: DeviceArray) -> float:
    """See `Backend.mean`."""
    op = "mean"
    checks.dtype(op, "x", x, *FLOATING)
    checks.contiguous(op, "x", x)
    if x.size == 0:
        raise ValueError(f"{op}: x has shape {x.shape}, expected at least one element")
    blocks = min(-(-x.size // THREADS), SUM_BLOCKS)
    partial = backend.empty((blocks,), np.float64)
    SUM.launch(backend, suffix(x.dtype), blocks, THREADS, *(partial, x, x.size, blocks))
    return float(np.sum(backend.to_numpy(partial))) / x.size
