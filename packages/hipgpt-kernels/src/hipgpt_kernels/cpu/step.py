"""What surrounds a step's arithmetic: rows of a plan, the fate of an update, figures to report."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.backend import Control
from hipgpt_kernels.cpu.adamw import CLIP_EPSILON

if TYPE_CHECKING:
    from hipgpt_kernels.cpu.threads import Workers

LARGEST_SCALE = 2.0**24
NORM_WINDOW = 100
"""Steps that the running mean of the norm looks back on."""
NORMS_WANTED = 20
"""Steps before a norm can be called strange."""


def take_row(workers: Workers, table: np.ndarray, cursor: np.ndarray, out: np.ndarray) -> None:  # noqa: ARG001
    """See `Backend.take_row`."""
    rows, _ = checks.take_row(table, cursor, out)
    row = int(cursor)
    if not 0 <= row < rows:
        raise ValueError(f"take_row: cursor is {row}, expected a row in [0, {rows})")
    out[...] = table[row]
    cursor += 1


def step_control(
    workers: Workers,  # noqa: ARG001
    control: np.ndarray,
    norm: np.ndarray,
    factor: np.ndarray,
    *,
    max_norm: float = 0.0,
    outlier: float = 0.0,
    growth: int = 0,
) -> None:
    """See `Backend.step_control`. The arithmetic is that of csrc/step.hip, in the same order."""
    checks.step_control(control, norm, factor, max_norm, outlier, growth)
    scale, good, mean, steps, overflows, outliers, lost, _ = control.tolist()
    size = float(norm) / scale
    factor[...] = math.nan
    if not math.isfinite(size):
        overflows += 1
        good = 0.0
        if growth and scale > 1:
            scale = max(scale / 2, 1.0)
        else:
            lost += 1
    else:
        lost = 0.0
        strange = outlier > 0 and steps >= NORMS_WANTED and size > outlier * mean
        if strange:
            outliers += 1
        else:
            clip = min(1.0, max_norm / (size + CLIP_EPSILON)) if max_norm > 0 else 1.0
            factor[...] = clip / scale
        steps = min(steps + 1, NORM_WINDOW)
        mean += ((outlier * mean if strange else size) - mean) / steps
        good += 1
        if growth and good >= growth:
            scale, good = min(scale * 2, LARGEST_SCALE), 0.0
    control[...] = scale, good, mean, steps, overflows, outliers, lost, size
    assert len(Control) == len(control)


def row_means(
    workers: Workers,  # noqa: ARG001
    x: np.ndarray,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """See `Backend.row_means`."""
    rows, _ = checks.row_means(x, out)
    out = np.empty(rows, np.float64) if out is None else out
    np.mean(x, axis=1, dtype=np.float64, out=out)
    return out
