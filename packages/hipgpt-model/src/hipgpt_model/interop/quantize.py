"""llama.cpp's number formats: float32 rows to the bytes that a GGUF file holds.

    f32   4 bytes a number           bf16  2 bytes, the upper half of float32
    f16   2 bytes, IEEE half         q8_0  blocks of 32: scale d as f16, 32 signed bytes; x ≈ d·q
    q4_0  blocks of 32: scale d as f16, 32 numbers of 4 bits; x ≈ d·(q − 8)

The two quantised ones are, bit for bit, what llama.cpp's own Python package makes. The odd thing: d
is rounded to f16 only where it is stored; the numbers are divided by the unrounded one.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from hipgpt_model.interop.bfloat16 import to_bf16
from hipgpt_model.interop.errors import InteropError

if TYPE_CHECKING:
    from collections.abc import Callable

Kind: TypeAlias = Literal["f32", "f16", "bf16", "q8_0", "q4_0"]

BLOCK = 32
"""Numbers that share a scale."""

BLOCK_BYTES: dict[Kind, int] = {"f32": 128, "f16": 64, "bf16": 64, "q8_0": 34, "q4_0": 18}
"""Bytes that 32 numbers take."""

_AT_ONCE = 1 << 16
"""Numbers in one go: what is made of them on the way stays in a core's cache."""


def quantized_bytes(shape: tuple[int, ...], kind: Kind) -> int:
    """Bytes of a tensor; for the quantised kinds its rows must be whole blocks."""
    return math.prod(shape) * BLOCK_BYTES[kind] // BLOCK


def fits(shape: tuple[int, ...], kind: Kind) -> bool:
    """Whether the rows of a tensor are whole blocks, where that matters."""
    return kind in ("f32", "f16", "bf16") or shape[-1] % BLOCK == 0


def quantize(values: np.ndarray, kind: Kind, threads: int | None = None) -> np.ndarray:
    """The bytes of a tensor.

    Args:
        values: (*, N) float32; N a multiple of 32 for q8_0 and q4_0.
        kind: the format.
        threads: how many work at once; None: as many as there are cores.

    Returns:
        (bytes,) uint8.

    Raises:
        InteropError: a number is too large for the format, or not finite.
        ValueError: rows of another length.
    """
    if not fits(values.shape, kind):
        raise ValueError(f"{kind} needs rows of a multiple of {BLOCK}; got {values.shape}")
    flat = np.ascontiguousarray(values, np.float32).reshape(-1)
    out = np.empty(quantized_bytes(values.shape, kind), np.uint8)
    work = _KINDS[kind]

    def part(start: int) -> None:
        piece = flat[start : start + _AT_ONCE]
        bytes_before = start * BLOCK_BYTES[kind] // BLOCK
        made = work(piece).reshape(-1).view(np.uint8)
        out[bytes_before : bytes_before + made.size] = made

    starts = range(0, flat.size, _AT_ONCE)
    if len(starts) < 2:
        for start in starts:
            part(start)
        return out
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:  # NumPy works outside the lock
        for _ in pool.map(part, starts):
            pass
    return out


def dequantize(stored: np.ndarray, shape: tuple[int, ...], kind: Kind) -> np.ndarray:
    """The float32 numbers that bytes of `quantize` stand for.

    Args:
        stored: (bytes,) uint8.
        shape: of the tensor.
        kind: the format.
    """
    if kind == "f32":
        return stored.view(np.float32).reshape(shape)
    if kind == "f16":
        return stored.view(np.float16).astype(np.float32).reshape(shape)
    if kind == "bf16":
        bits = stored.view(np.uint16).astype(np.uint32) << np.uint32(16)
        return bits.view(np.float32).reshape(shape)
    blocks = stored.reshape(-1, BLOCK_BYTES[kind])  # (n, 34) or (n, 18)
    scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)  # (n, 1)
    if kind == "q8_0":
        return (scale * blocks[:, 2:].view(np.int8)).astype(np.float32).reshape(shape)
    codes = blocks[:, 2:]  # (n, 16)
    numbers = np.concatenate([codes & 15, codes >> 4], axis=1).astype(np.float32)  # (n, 32)
    return (scale * (numbers - np.float32(8))).reshape(shape)


def _f32(x: np.ndarray) -> np.ndarray:
    return x


def _f16(x: np.ndarray) -> np.ndarray:
    largest = max(x.max(), -x.min())
    if not largest < np.float32(65520):  # above it rounds to infinity; a NaN is not below it either
        raise InteropError(f"f16 holds numbers up to 65504; a weight is {largest:g}: take bf16")
    return x.astype(np.float16)


def _scales(largest: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, 1) numbers that become ±`steps` → scale d and its inverse, both (n, 1)."""
    scale = largest / np.float32(steps)
    if not (np.abs(scale) <= np.float32(65504)).all():  # a NaN is not, either
        raise InteropError("a weight is too large to be quantised, or is not a finite number")
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.float32(1) / scale
    inverse[~np.isfinite(inverse)] = 0  # of a block of zeros
    return scale, inverse


def _q8_0(x: np.ndarray) -> np.ndarray:
    blocks = x.reshape(-1, BLOCK)
    size = np.abs(blocks)
    scale, inverse = _scales(size.max(axis=1, keepdims=True), 127)
    size *= inverse
    whole = np.floor(size)
    size -= whole
    whole += size >= np.float32(0.5)  # a half is rounded away from zero, unlike by rint
    out = np.empty((len(blocks), 34), np.uint8)
    out[:, :2] = scale.astype(np.float16).view(np.uint8)
    out[:, 2:] = np.copysign(whole, blocks).astype(np.int8).view(np.uint8)
    return out


def _q4_0(x: np.ndarray) -> np.ndarray:
    blocks = x.reshape(-1, BLOCK)
    place = np.abs(blocks).argmax(axis=1)
    largest = np.take_along_axis(blocks, place[:, None], axis=1)  # with its sign: it becomes −8
    scale, inverse = _scales(largest, -8)
    numbers = blocks * inverse
    numbers += np.float32(8.5)
    codes = np.minimum(numbers, np.float32(15)).astype(np.uint8)  # (n, 32), truncated
    out = np.empty((len(blocks), 18), np.uint8)
    out[:, :2] = scale.astype(np.float16).view(np.uint8)
    out[:, 2:] = codes[:, :16] | codes[:, 16:] << 4
    return out


_KINDS: dict[Kind, Callable[[np.ndarray], np.ndarray]] = {
    "f32": _f32,
    "f16": _f16,
    "bf16": to_bf16,
    "q8_0": _q8_0,
    "q4_0": _q4_0,
}
