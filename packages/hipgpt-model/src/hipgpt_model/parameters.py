"""A model's parameters: flat buffers on a device with views by name, and their first values.

The odd thing: first values depend on the seed and a tensor's name alone, so that neither the number
of processes nor the order of the table changes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hipgpt_kernels.philox import philox4x32
from hipgpt_model.flat_layout import FlatLayout
from hipgpt_model.random_streams import initialization_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hipgpt_kernels.backend import Array, Backend
    from hipgpt_model.config import GPTConfig
    from hipgpt_model.flat_layout import Own


_NORMALS_AT_ONCE = 1 << 18
"""Numbers made in one go: the float64 temporaries (2 MiB each) stay in the cache."""


def normal_numbers(seed: int, stream: int, start: int, count: int) -> np.ndarray:
    """Standard normal numbers start … start + count − 1 of a stream.

    Each Philox counter gives four words, which Box and Muller (1958) turn into four numbers:
    √(−2 ln u₁) · cos(2π u₂) and · sin(2π u₂), with u₁ in (0, 1] and u₂ in [0, 1).

    Args:
        seed: the key.
        stream: whose numbers.
        start: a multiple of 4.
        count: how many.

    Returns:
        (count,) float32.
    """
    counters = np.arange(start // 4, (start + count + 3) // 4, dtype=np.uint64)
    words = philox4x32(counters, seed, stream)  # (n, 4) uint32
    radius = np.sqrt(-2 * np.log((words[:, 0::2] + 1.0) * 2.0**-32))  # (n, 2) float64
    angle = words[:, 1::2] * (2 * np.pi * 2.0**-32)  # (n, 2)
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)  # (n, 2, 2)
    return pairs.reshape(-1)[:count].astype(np.float32)


class Parameters(FlatLayout):
    """A model's parameters in flat buffers, with views by name.

    In "bf16" and "fp16" the layers read a copy of the weights in that precision, `low`. Training
    keeps float32 masters beside it, which the optimizer changes, and inference the copy alone.

    Args:
        config: the model's configuration.
        backend: where they live.
        training: whether there are gradients and moments too.
        dtype: "float32", "bf16" or "fp16": what the layers compute in.
        own: of several processes that share the optimizer out, what this one owns; None: all.

    Attributes:
        backend: as given.
        training: as given.
        dtype: as given.
        compute_dtype: the backend's dtype of that name.
        own: as given. Then m, v and, beside `low`, weights hold that and nothing else.
        spread: gives every process all of a flat buffer of which each owns a part; None: there is
            one process.
        weights: flat, float32; all tensors, each at a multiple of `ALIGNMENT` elements, padded with
            zeros. Not there for inference in low precision.
        low: the same in `compute_dtype`; None in float32.
        gradients: flat, float32, their gradients. Training only.
        m: likewise, AdamW's first moments. Training only.
        v: likewise, AdamW's second moments. Training only.

    All values are 0 until `initialize`, `load` or a checkpoint sets them.

    Raises:
        ValueError: the backend does not compute in this dtype.
    """

    def __init__(
        self,
        config: GPTConfig,
        backend: Backend,
        *,
        training: bool,
        dtype: str = "float32",
        own: Sequence[Own] | None = None,
    ) -> None:
        super().__init__(config, backend.column_multiple)
        self.backend = backend
        self.training = training
        self.dtype = dtype
        self.compute_dtype = backend.compute_dtype(dtype)
        self.own = list(own) if own is not None else None
        self.spread: Callable[[Array], None] | None = None
        self.low: Array | None = None
        if dtype != "float32":
            self.low = backend.zeros((self.size,), self.compute_dtype)
        part = self.size if self.own is None else sum(o.flat.stop - o.flat.start for o in self.own)
        sizes: tuple[int, ...] = (self.size if self.low is None else part, self.size, part, part)
        if not training:
            sizes = (self.size,) if self.low is None else ()
        self._buffers: list[Array] = [backend.zeros((size,)) for size in sizes]

    @property
    def weights(self) -> Array:
        """The float32 weights, flat. Whoever writes them calls `refresh` when done."""
        if not self._buffers:
            raise ValueError(
                f"these parameters were made for inference in {self.dtype} and have no float32 "
                "weights; make or load them with training=True, or in float32"
            )
        return self._buffers[0]

    @property
    def values(self) -> Array:
        """What the layers read, flat: `low` where there is one, else `weights`."""
        return self._buffers[0] if self.low is None else self.low

    @property
    def kept(self) -> Array:
        """The weights in the highest precision that is here, flat."""
        return self._buffers[0] if self._buffers else self.low

    def is_whole(self, buffer: Array) -> bool:
        """Whether a flat buffer holds all elements and not only what this process owns."""
        return bool(buffer.shape[0] == self.size)

    def refresh(self) -> None:
        """Make the low-precision copy anew from the float32 weights, after these were written."""
        if self.low is None or not self._buffers:
            return
        if self.own is None:
            self.backend.convert(self.weights, self.compute_dtype, out=self.low)
            return
        for part in self.own:
            low = self.low[part.flat]
            self.backend.convert(self.weights[part.local], self.compute_dtype, out=low)
        if self.spread is not None:
            self.spread(self.low)

    @property
    def gradients(self) -> Array:
        """All gradients, flat."""
        return self._training_buffer(1)

    @property
    def m(self) -> Array:
        """AdamW's first moments, flat."""
        return self._training_buffer(2)

    @property
    def v(self) -> Array:
        """AdamW's second moments, flat."""
        return self._training_buffer(3)

    def _training_buffer(self, index: int) -> Array:
        if not self.training:
            raise ValueError(
                "these parameters were made for inference and have no gradients; "
                "make them with training=True"
            )
        return self._buffers[index]

    def __getitem__(self, name: str) -> Array:
        return self.view(self.values, name)

    def gradient(self, name: str) -> Array:
        """The gradient of one tensor, in its shape."""
        return self.view(self.gradients, name)

    def initialize(self, seed: int) -> None:
        """Set every weight to its first value, a function of the seed and its tensor's name."""
        for spec in self.table:
            if spec.initial != "normal":
                value = np.full(spec.size, spec.initial == "ones", np.float32)
                self.put(self.kept, spec.name, 0, value)
                continue
            stream = initialization_stream(spec.name)
            for start in range(0, spec.size, _NORMALS_AT_ONCE):
                count = min(_NORMALS_AT_ONCE, spec.size - start)
                numbers = normal_numbers(seed, stream, start, count) * np.float32(spec.std)
                self.put(self.kept, spec.name, start, numbers)
        self.refresh()

    def put(self, buffer: Array, name: str, start: int, values: np.ndarray) -> None:
        """Set part of a tensor in a flat buffer, as far as this process has it.

        Args:
            buffer: `kept`, `m`, `v` or another like them; `refresh` is due after the last one.
            name: the tensor.
            start: elements of it before the values.
            values: (n,) float32.
        """
        first = self._offsets[name] + start
        if self.own is None or self.is_whole(buffer):
            self.write(buffer[first : first + len(values)], values)
            return
        for part in self.own:
            low, high = max(first, part.flat.start), min(first + len(values), part.flat.stop)
            if low < high:
                at = part.local.start - part.flat.start
                self.write(buffer[low + at : high + at], values[low - first : high - first])

    def write(self, view: Array, values: np.ndarray) -> None:
        """Set part of a buffer from float32 numbers, rounded where the buffer has less precision.

        Args:
            view: of `kept`, `m` or `v`; `refresh` is due after the last one.
            values: float32, the shape of the view.
        """
        if view.dtype == np.float16:
            with np.errstate(over="ignore"):  # what is too large becomes infinite, as on a device
                values = values.astype(np.float16)
        self.backend.copy(view, values)

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Set every weight from arrays by name.

        Raises:
            ValueError: a tensor is missing, unknown or of another shape or dtype; it is named, and
                nothing has been changed.
        """
        for spec in self.table:
            if spec.name not in tensors:
                raise ValueError(f"{spec.name} is missing")
            if tuple(tensors[spec.name].shape) != spec.shape:
                raise ValueError(
                    f"{spec.name} has shape {tuple(tensors[spec.name].shape)}; the "
                    f"configuration calls for {spec.shape}"
                )
            if tensors[spec.name].dtype != np.float32:
                raise ValueError(f"{spec.name} is {tensors[spec.name].dtype}; expected float32")
        if unknown := sorted(tensors.keys() - self._specs.keys()):
            raise ValueError(f"the configuration has no tensor {unknown[0]}")
        for name in self.names():
            self.put(self.kept, name, 0, np.ascontiguousarray(tensors[name]).reshape(-1))
        self.refresh()

    def to_dict(self) -> dict[str, np.ndarray]:
        """Copies of all weights by name."""
        return dict(self.items())

    def items(self) -> Iterator[tuple[str, Any]]:
        """Each name with a float32 NumPy copy of its weights, one at a time."""
        buffer = self.kept if self.is_whole(self.kept) else self.low
        for name in self.names():
            values = self.backend.to_numpy(self.view(buffer, name))
            yield name, values.astype(np.float32, copy=False)
