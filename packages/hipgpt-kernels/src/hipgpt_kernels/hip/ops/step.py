"""What surrounds a step's arithmetic: rows of a plan, the fate of an update, figures to report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.hip.kernel import INT, LONG, POINTER, Kernel
from hipgpt_kernels.hip.ops.seen import plain

if TYPE_CHECKING:
    from hipgpt_kernels.hip.array import DeviceArray
    from hipgpt_kernels.hip.backend import HipBackend

THREADS = 256
CONTROL_THREADS = 64
MEAN_THREADS = 1024
DOUBLE = "d"

TAKE_ROW = Kernel("step", "take_row", *[POINTER] * 3, LONG, INT)
CONTROL = Kernel("step", "step_control", *[POINTER] * 3, DOUBLE, DOUBLE, LONG)
MEANS = Kernel("step", "row_means", POINTER, POINTER, LONG)


def take_row(
    backend: HipBackend, table: DeviceArray, cursor: DeviceArray, out: DeviceArray
) -> None:
    """See `Backend.take_row`. A cursor past the table takes the last row."""
    rows, W = checks.take_row(plain(table), plain(cursor), plain(out))
    TAKE_ROW.launch(backend, "", 1, THREADS, table, cursor, out, rows, W, overlapped=True)


def step_control(
    backend: HipBackend,
    control: DeviceArray,
    norm: DeviceArray,
    factor: DeviceArray,
    *,
    max_norm: float = 0.0,
    outlier: float = 0.0,
    growth: int = 0,
) -> None:
    """See `Backend.step_control`."""
    checks.step_control(plain(control), plain(norm), plain(factor), max_norm, outlier, growth)
    arrays = control, norm, factor
    CONTROL.launch(
        backend, "", 1, CONTROL_THREADS, *arrays, max_norm, outlier, growth, overlapped=True
    )


def row_means(
    backend: HipBackend, x: DeviceArray, *, out: DeviceArray | None = None
) -> DeviceArray:
    """See `Backend.row_means`."""
    rows, n = checks.row_means(plain(x), plain(out))
    out = backend.empty((rows,), np.float64) if out is None else out
    MEANS.launch(backend, "", rows, MEAN_THREADS, x, out, n)
    return out
