"""The GPU backend: memory, the stream, the functions of the code objects, and the ops on them.

An op is a function of the backend in ops/<op>.py. The odd thing: it may be given the arrays of any
library that speaks DLPack or the CUDA array interface; `bind` turns them into DeviceArrays that
share their memory before the op sees them, and gives back the caller's own `out`.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.backend import Array, Backend
from hipgpt_kernels.hip import driver
from hipgpt_kernels.hip.array import DeviceArray
from hipgpt_kernels.hip.code import CodeObjects
from hipgpt_kernels.hip.dtypes import (
    as_dtype,
    bfloat16,
    decode,
    encode,
    float16,
    float32,
    host_dtype,
)
from hipgpt_kernels.hip.exchange import as_device_array
from hipgpt_kernels.hip.memory import GraphMemory, Pool
from hipgpt_kernels.hip.ops import (
    activation,
    adamw,
    attention,
    basic,
    cross_entropy,
    dropout,
    embedding,
    gather,
    layernorm,
    lerp,
    linear,
    sampling,
    step,
)
from hipgpt_kernels.hip.ops.decode import decode_step
from hipgpt_kernels.hip.ops.errors import error_in
from hipgpt_kernels.hip.staging import Staging

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hipgpt_kernels.decode_loop import DecodeLoop
    from hipgpt_kernels.decoder import Decoder

PLAIN = (DeviceArray, int, float, str, bool, type(None), tuple)
"""Arguments that an op takes as they are."""
RECORD_WORDS = 3
"""Code, value and limit of the first error that a kernel has met."""


def bind(function: Any) -> Any:
    """Make a method of an op: its first argument becomes the backend, its arrays DeviceArrays."""

    @functools.wraps(function)
    def method(self: HipBackend, *args: Any, **keywords: Any) -> Any:
        out = keywords.get("out")
        args = tuple(self.adopt(one) for one in args)
        keywords = {name: self.adopt(one) for name, one in keywords.items()}
        result = function(self, *args, **keywords)
        return out if out is not None and result is keywords.get("out") else result

    return method


class HipBackend(Backend):
    """GPT operations on one GPU, in float32, bfloat16 and float16.

    Everything is given to one stream and done in order. A backend belongs to one thread at a time.

    Args:
        index: number of the GPU.
        stream: another library's stream to work on (its address); None makes one.

    Raises:
        UnavailableError: there is no such GPU, or no way to drive it.
    """

    name = "hip"
    can_capture = True
    chunk_bytes = 1 << 30
    chunk_rows = 256  # the largest tile of a product
    column_multiple = 64  # 128 bytes of a 16-bit type

    def __init__(self, index: int = 0, *, stream: int | None = None) -> None:
        self.device = driver.find_device(index)
        self.stream = driver.Stream(self.device, stream)
        self.pool = Pool(self.device)
        self._side_stream: driver.Stream | None = None  # of `beside`, when it is first asked for
        self._side_pool = Pool(self.device)
        self.code = CodeObjects(self.device)
        self.function = self.code.function
        """Kernel by file and name, for `Kernel.launch`."""
        self.error_record = self.zeros((RECORD_WORDS,), np.int64)
        """What kernels report of ids out of range and the like; see ops/errors.py."""
        self._record_copy = driver.Pinned(self.error_record.nbytes)
        self._staging: Staging | None = None
        runtime = "CUDA through HIP" if self.device.nvidia else "HIP"
        self.description = (
            f"{self.device.name} ({self.device.architecture}), "
            f"{self.device.memory / 2**30:.0f} GiB, {runtime}"
        )

    def adopt(self, value: Any) -> Any:
        """A foreign array as a DeviceArray that shares its memory; anything else as it is."""
        if isinstance(value, PLAIN):
            return value
        if hasattr(value, "__dlpack_device__") or hasattr(value, "__cuda_array_interface__"):
            if isinstance(value, np.generic):
                return value
            return as_device_array(value, self.stream)
        return value

    @property
    def staging(self) -> Staging:
        """Page-locked memory for copies, taken when it is first needed."""
        if self._staging is None:
            self._staging = Staging(self.stream)
        return self._staging

    # --- memory -------------------------------------------------------------------------------

    def compute_dtype(self, precision: str) -> Any:
        """See `Backend.compute_dtype`."""
        checks.precision(precision)
        return {"float32": float32, "bf16": bfloat16, "fp16": float16}[precision]

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> DeviceArray:
        """See `Backend.empty`. The memory begins on a boundary of 256 bytes or more."""
        dtype = as_dtype(dtype)
        shape = tuple(int(size) for size in shape)
        if any(size < 0 for size in shape):
            raise ValueError(f"empty: shape is {shape}, expected sizes of 0 or more")
        block = self.pool.take(math.prod(shape) * dtype.itemsize)
        return DeviceArray(block, block.pointer, shape, dtype, self.stream)

    def zeros(self, shape: tuple[int, ...], dtype: Any = np.float32) -> DeviceArray:
        """See `Backend.zeros`."""
        array = self.empty(shape, dtype)
        if array.size:
            self.stream.set_bytes(array.pointer, 0, array.nbytes)
        return array

    def from_numpy(
        self,
        array: np.ndarray,
        dtype: Any = None,
        *,
        copy: bool = True,  # noqa: ARG002  # the GPU's memory is not NumPy's: always a copy
    ) -> DeviceArray:
        """See `Backend.from_numpy`. `dtype` converts on the way: bfloat16 is not NumPy's."""
        values = np.asarray(array)
        dtype = values.dtype if dtype is None else as_dtype(dtype)
        result = self.empty(values.shape, dtype)
        self._upload(result, values)
        return result

    def _upload(self, destination: DeviceArray, values: np.ndarray) -> None:
        """Copy a NumPy array into a contiguous device array of the same shape."""
        raw = encode(values, destination.dtype)
        if raw.size:
            self.staging.to_device(destination.pointer, raw.ctypes.data, raw.nbytes)

    def to_numpy(self, array: Array) -> np.ndarray:
        """See `Backend.to_numpy`. A bfloat16 array comes as float32, which holds its values."""
        source = as_device_array(array, self.stream)
        if not source.contiguous:
            compact = self.empty(source.shape, source.dtype)
            basic.copy(self, compact, source)
            source = compact
        stored = np.uint16 if source.dtype == bfloat16 else source.dtype
        raw = np.empty(source.shape, stored)
        self._fetch_errors()
        if raw.size:
            self.staging.to_host(raw.ctypes.data, source.pointer, raw.nbytes)
        else:
            self.stream.synchronize()
        self._raise_errors()
        return decode(raw, source.dtype)

    def copy(self, destination: Array, source: Array) -> None:
        """See `Backend.copy`. A float32 NumPy array counts as of the dtype of a bfloat16 one."""
        if isinstance(destination, np.ndarray) and isinstance(source, np.ndarray):
            raise TypeError("copy: both arrays are NumPy's, expected one on the GPU at least")
        for name, one, other in (
            ("destination", destination, source),
            ("source", source, destination),
        ):
            if isinstance(one, np.ndarray):
                checks.dtype("copy", name, one, host_dtype(self.adopt(other).dtype))
        if isinstance(destination, np.ndarray):
            device = as_device_array(source, self.stream)
            checks.shape("copy", "source", device, destination.shape, "destination's shape")
            destination[...] = self.to_numpy(device)
            return
        target = as_device_array(destination, self.stream)
        checks.shape("copy", "source", source, target.shape, "destination's shape")
        checks.writable("copy", "destination", target)
        if isinstance(source, np.ndarray):
            if target.contiguous:
                self._upload(target, source)
                return
            source = self.from_numpy(source, target.dtype)
        basic.copy(self, target, as_device_array(source, self.stream))

    def synchronize(self) -> None:
        """See `Backend.synchronize`.

        Raises:
            ValueError: a kernel met an id out of range since the last wait.
            FloatingPointError: a kernel met numbers that are not finite where they must be.
            HipError: the device failed.
        """
        self._fetch_errors()
        self.stream.synchronize()
        self._raise_errors()

    def _fetch_errors(self) -> None:
        """Have the kernels' report copied to the host, in the order of the stream."""
        record = self.error_record
        self.stream.copy_to_host(self._record_copy.pointer, record.pointer, record.nbytes)

    def _raise_errors(self) -> None:
        """Raise what the fetched report says, once."""
        words = (ctypes.c_int64 * RECORD_WORDS).from_address(self._record_copy.pointer)
        error = error_in(np.array(words, np.int64))
        if error is not None:
            self.stream.set_bytes(self.error_record.pointer, 0, self.error_record.nbytes)
            raise error

    def memory_info(self) -> tuple[int, int]:
        """See `Backend.memory_info`."""
        return self.pool.memory_info()

    @property
    def overlaps(self) -> bool:  # type: ignore[override]
        """See `Backend.overlaps`: on NVIDIA, where it was seen to work."""
        return self.device.nvidia

    @contextlib.contextmanager
    def beside(self) -> Iterator[driver.Event]:
        """See `Backend.beside`: on a second stream, with temporary memory of its own."""
        done = driver.Event(timing=False)
        if not self.overlaps:
            yield done
            done.record(self.stream)
            return
        if self._side_stream is None:
            self._side_stream = driver.Stream(self.device)
        begun = driver.Event(timing=False)
        begun.record(self.stream)
        main = self.stream, self.pool
        self.stream, self.pool = self._side_stream, self._side_pool
        try:
            self.stream.wait(begun)
            yield done
            done.record(self.stream)
        finally:
            self.stream, self.pool = main

    def join(self, token: driver.Event) -> None:
        """See `Backend.join`."""
        self.stream.wait(token)

    @contextlib.contextmanager
    def capture(self) -> Iterator[driver.Graph]:
        """See `Backend.capture`."""
        pools = self.pool, self._side_pool
        with self.stream.capture() as graph:
            for pool in pools:
                pool.graph = GraphMemory(pool)
                graph.kept.append(pool.graph)
            try:
                yield graph
            finally:
                for pool in pools:
                    pool.graph = None

    fill = bind(basic.fill)
    convert = bind(basic.convert)
    add = bind(basic.add)
    mean = bind(basic.mean)
    lerp = bind(lerp.lerp)
    gather_batch = bind(gather.gather_batch)
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
    decode_step = bind(decode_step)

    def decode_loop(self, decoder: Decoder, keys: Any, values: Any) -> DecodeLoop:
        """See `Backend.decode_loop`: one graph launch a token."""
        from hipgpt_kernels.hip.decode_loop import DeviceLoop

        return DeviceLoop(self, decoder, keys, values)
