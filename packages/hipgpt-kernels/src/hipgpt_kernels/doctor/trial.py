"""One case on one device: random arrays, and how far the results may be from the formulas.

    float32 output:        2 · (error of the formula in float32) + 8 ulps of the largest result
    bf16 or fp16 output:   the same, and 2 ulps of its own dtype

The first line is the rule of the test suite. The odd thing: inputs are rounded to the dtype before
the formula sees them, so only what the kernel itself does is judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from hipgpt_kernels.backend import Array, Backend

FLOOR_ULPS = 8
LOW_ULPS = 2
EPSILON = {"float32": 2.0**-23, "bf16": 2.0**-7, "fp16": 2.0**-10}
"""The step from 1 to the next number."""


@dataclass(frozen=True)
class Pair:
    """An input, for the formula and for the device."""

    host: np.ndarray
    device: Array


@dataclass
class Judgement:
    """The output that is furthest from its formula, by share of its bound."""

    output: str = ""
    error: float = 0.0
    bound: float = 0.0
    wrong: str = ""
    """The first output that is not right, in words."""


class Trial:
    """Arrays for a case, and the judgement of its results.

    Args:
        backend: the device.
        precision: "float32", "bf16" or "fp16".
        seed: of the random numbers.
    """

    def __init__(self, backend: Backend, precision: str, seed: int) -> None:
        self.backend = backend
        self.precision = precision
        self.dtype = backend.compute_dtype(precision)
        self.rng = np.random.default_rng(seed)
        self.worst = Judgement()

    # --- inputs -------------------------------------------------------------------------------

    def normal(self, *shape: int, scale: float = 1.0) -> Pair:
        """Normal numbers of the trial's dtype."""
        values = (scale * self.rng.standard_normal(shape, np.float32)).astype(np.float32)
        if self.precision == "float32":
            return Pair(values, self.backend.from_numpy(values))
        device = self.backend.convert(self.backend.from_numpy(values), self.dtype)
        return Pair(self.on_host(device), device)

    def float32(self, *shape: int, scale: float = 1.0) -> Pair:
        """Normal numbers in float32 whatever the trial's dtype."""
        values = (scale * self.rng.standard_normal(shape, np.float32)).astype(np.float32)
        return Pair(values, self.backend.from_numpy(values))

    def ids(self, limit: int, *shape: int, dtype: Any = np.int32) -> Pair:
        """Whole numbers in [0, limit)."""
        values = self.rng.integers(0, limit, shape, dtype)
        return Pair(values, self.backend.from_numpy(values))

    def copy(self, pair: Pair) -> Array:
        """The device's array once more, to be overwritten."""
        again = self.backend.empty(tuple(pair.host.shape), pair.device.dtype)
        self.backend.copy(again, pair.device)
        return again

    def empty(self, *shape: int) -> Array:
        """NaN everywhere, in the trial's dtype: an element that is not written is seen."""
        array = self.backend.empty(shape, self.dtype)
        self.backend.fill(array, float("nan"))
        return array

    def empty32(self, *shape: int) -> Array:
        """As `empty`, in float32."""
        array = self.backend.empty(shape)
        self.backend.fill(array, float("nan"))
        return array

    def on_host(self, array: Array) -> np.ndarray:
        """A result as a NumPy array; 16-bit numbers as float32."""
        values = self.backend.to_numpy(array)
        return values.astype(np.float32) if values.dtype == np.float16 else values

    # --- judgement ----------------------------------------------------------------------------

    def check(
        self,
        name: str,
        ours: Array | float,
        formula: Callable[..., Any],
        *inputs: Any,
        magnitude: float = 0.0,
        low_ulps: float = LOW_ULPS,
    ) -> None:
        """Hold one output to its formula.

        Args:
            name: of the output.
            ours: what the device gave.
            formula: gives the same from the inputs, in the dtype of what it is given.
            inputs: pairs, arrays or numbers.
            magnitude: size of the terms, where they cancel; the floors are relative to it or to
                the largest result, whichever is larger.
            low_ulps: ulps of a 16-bit output, more where intermediate results are rounded too.
        """
        hosts = [one.host if isinstance(one, Pair) else one for one in inputs]
        truth = np.asarray(formula(*(_cast(one, np.float64) for one in hosts)))
        plain = np.asarray(formula(*(_cast(one, np.float32) for one in hosts)))
        low = getattr(ours, "dtype", None) == self.dtype and self.precision != "float32"
        values = np.asarray(ours if isinstance(ours, float) else self.on_host(ours))
        if values.shape != truth.shape:
            self._say(f"{name} has shape {values.shape}, expected {truth.shape}")
            return
        if not values.size:
            return
        scale = max(float(np.abs(truth).max()), magnitude)
        bound = 2 * float(np.abs(plain - truth).max()) + FLOOR_ULPS * EPSILON["float32"] * scale
        if low:
            bound += low_ulps * EPSILON[self.precision] * scale
        difference = np.abs(values.astype(np.float64) - truth)
        error = float(difference.max()) if np.isfinite(difference).all() else float("inf")
        if error / bound > self.worst.error / (self.worst.bound or 1.0) or not self.worst.output:
            self.worst.output, self.worst.error, self.worst.bound = name, error, bound
        if not error <= bound:
            place = np.unravel_index(int(np.nanargmax(difference)), difference.shape)
            where = ", ".join(str(int(index)) for index in place)
            if not np.isfinite(values).all():
                self._say(f"{name} holds {int((~np.isfinite(values)).sum())} infinities or NaN")
            else:
                self._say(
                    f"{name}[{where}] is {values[place]:.7g}, expected {truth[place]:.7g}: "
                    f"error {error:.3g}, allowed {bound:.3g}"
                )

    def equal(self, name: str, ours: Array, expected: np.ndarray) -> None:
        """Hold an output of whole numbers, or of numbers that are only moved, to equality."""
        values = ours if isinstance(ours, np.ndarray) else self.on_host(ours)
        wrong = values.shape != expected.shape or bool((values != expected).any())
        if not self.worst.output:
            self.worst.output = name
        if wrong:
            self.worst.error = 1.0
            self._say(f"{name} is not what it should be: {_first_difference(values, expected)}")

    def _say(self, sentence: str) -> None:
        self.worst.wrong = self.worst.wrong or sentence


def _cast(value: Any, dtype: Any) -> Any:
    """Floating arrays in dtype; everything else as it is."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return value.astype(dtype)
    return value


def _first_difference(ours: np.ndarray, expected: np.ndarray) -> str:
    if ours.shape != expected.shape:
        return f"shape {ours.shape}, expected {expected.shape}"
    place = tuple(int(index) for index in np.argwhere(ours != expected)[0])
    return f"{ours[place]} at {place}, expected {expected[place]}"
