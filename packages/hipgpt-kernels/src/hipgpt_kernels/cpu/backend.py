"""The NumPy backend: each op lives in its own file and is bound here to one pool of workers."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.backend import Array, Backend
from hipgpt_kernels.cpu import (
    activation,
    adamw,
    attention,
    cross_entropy,
    dropout,
    embedding,
    layernorm,
    lerp,
    linear,
    sampling,
    step,
)
from hipgpt_kernels.cpu.machine import memory_info, processor_name
from hipgpt_kernels.cpu.threads import Workers

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector register."""


def bind(function: Any) -> Any:
    """Make a method of an op: its first argument becomes the backend's workers."""

    @functools.wraps(function)
    def method(self: CpuBackend, *args: Any, **keywords: Any) -> Any:
        return function(self.workers, *args, **keywords)

    return method


class CpuBackend(Backend):
    """GPT operations with NumPy on the threads of `Workers`; float32 throughout."""

    name = "cpu"

    def __init__(self, threads: int | None = None) -> None:
        self.workers = Workers(threads)
        plural = "" if self.workers.threads == 1 else "s"
        self.description = (
            f"{processor_name()}, {self.workers.threads} thread{plural}, NumPy {np.__version__}"
        )

    def compute_dtype(self, precision: str) -> np.dtype[Any]:
        """See `Backend.compute_dtype`: float32 alone."""
        checks.precision(precision)
        if precision != "float32":
            raise ValueError(
                f"the CPU computes in float32 and not in {precision}: "
                "leave the precision at float32, or use a GPU"
            )
        return np.dtype(np.float32)

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
        """See `Backend.empty`. The memory begins on a cache line, which NumPy's own need not."""
        dtype = np.dtype(dtype)
        nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        raw = np.empty(nbytes + ALIGNMENT, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT
        return raw[start : start + nbytes].view(dtype).reshape(shape)

    def zeros(self, shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
        """See `Backend.zeros`."""
        array = self.empty(shape, dtype)
        self.fill(array, 0.0)
        return array

    def from_numpy(self, array: np.ndarray, *, copy: bool = True) -> np.ndarray:
        """See `Backend.from_numpy`."""
        if not copy and array.flags.c_contiguous:
            return array
        new = self.empty(array.shape, array.dtype)
        new[...] = array
        return new

    def to_numpy(self, array: Array) -> np.ndarray:
        """See `Backend.to_numpy`."""
        return np.array(array, order="C")

    def copy(self, destination: Array, source: Array) -> None:
        """See `Backend.copy`."""
        checks.dtype("copy", "source", source, destination.dtype)
        checks.shape("copy", "source", source, tuple(destination.shape), "destination's shape")
        destination[...] = source

    def convert(self, x: Array, dtype: Any, *, out: Array | None = None) -> np.ndarray:
        """See `Backend.convert`."""
        checks.dtype("convert", "x", x, np.float32)
        checks.contiguous("convert", "x", x)
        out = self.empty(x.shape, dtype) if out is None else out
        checks.dtype("convert", "out", out, np.float32)
        checks.shape("convert", "out", out, x.shape, "the shape of x")
        self.copy(out, x)
        return out

    def fill(self, array: Array, value: float) -> None:
        """See `Backend.fill`."""
        if not array.flags.c_contiguous:
            array[...] = value
            return
        flat = array.reshape(-1)
        self.workers.run(
            lambda start, stop: flat[start:stop].fill(value), flat.size, elements=flat.size
        )

    def synchronize(self) -> None:
        """See `Backend.synchronize`. The CPU is never behind."""

    def memory_info(self) -> tuple[int, int]:
        """See `Backend.memory_info`."""
        return memory_info()

    def add(self, x: Array, y: Array, *, out: Array | None = None) -> np.ndarray:
        """See `Backend.add`."""
        checks.add(x, y, out)
        return np.add(x, y, out=out)

    def mean(self, x: Array) -> float:
        """See `Backend.mean`."""
        checks.mean(x)
        return float(np.mean(x, dtype=np.float64))

    lerp = bind(lerp.lerp)
    gather_batch = bind(embedding.gather_batch)
    embedding_forward = bind(embedding.embedding_forward)
    embedding_backward = bind(embedding.embedding_backward)
    linear_forward = bind(linear.linear_forward)
    linear_backward_input = bind(linear.linear_backward_input)
    linear_backward_weight = bind(linear.linear_backward_weight)
    activation_forward = bind(activation.activation_forward)
    activation_backward = bind(activation.activation_backward)
    layernorm_forward = bind(layernorm.layernorm_forward)
    layernorm_backward = bind(layernorm.layernorm_backward)
    attention_forward = bind(attention.attention_forward)
    attention_backward = bind(attention.attention_backward)
    attention_cached = bind(attention.attention_cached)
    dropout_forward = bind(dropout.dropout_forward)
    cross_entropy_forward = bind(cross_entropy.cross_entropy_forward)
    cross_entropy_forward_backward = bind(cross_entropy.cross_entropy_forward_backward)
    gradient_norm = bind(adamw.gradient_norm)
    adamw_step = bind(adamw.adamw_step)
    take_row = bind(step.take_row)
    step_control = bind(step.step_control)
    row_means = bind(step.row_means)
    sample = bind(sampling.sample)
