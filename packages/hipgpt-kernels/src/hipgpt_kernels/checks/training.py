"""What is refused of the arguments of training's ops beside its layers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels.checks.arrays import dimensions, needed, optional, shape, written
from hipgpt_kernels.checks.numbers import at_least, finite, fraction

if TYPE_CHECKING:
    from hipgpt_kernels.backend.terms import Array


CONTROL_SIZE = 8


def gather_batch(tokens: Array, starts: Array, inputs: Array, targets: Array) -> int:
    """Return the last position at which a row may start; the starts themselves are the op's."""
    op = "gather_batch"
    needed(op, np.uint16, np.uint32, tokens=tokens)
    needed(op, np.int64, starts=starts)
    needed(op, np.int32, inputs=inputs, targets=targets)
    written(op, np.int32, inputs=inputs, targets=targets)
    dimensions(op, "tokens", tokens, 1, "(N,)")
    dimensions(op, "inputs", inputs, 2, "(B, T)")
    B, T = inputs.shape
    shape(op, "starts", starts, (B,), "(B,)")
    shape(op, "targets", targets, (B, T), "(B, T)")
    return int(tokens.shape[0] - T - 1)


def lerp(start: Array, end: Array, weight: float, out: Array | None) -> None:
    """Check the shapes and the weight."""
    op = "lerp"
    needed(op, start=start, end=end)
    written(op, out=out)
    finite(op, weight=weight)
    for name, array in (("end", end), ("out", out)):
        if array is not None:
            shape(op, name, array, tuple(start.shape), "the shape of start")


def mean(x: Array) -> None:
    """Refuse the mean of nothing."""
    needed("mean", x=x)
    if math.prod(x.shape) == 0:
        raise ValueError("mean: x has no elements, expected at least one")


def cross_entropy(
    op: str,
    logits: Array,
    targets: Array,
    scale: float | None,
    losses: Array | None,
    correct: Array | None,
    columns: int | None,
) -> tuple[int, int]:
    """Return M and V; with a scale the logits are written too."""
    needed(op, logits=logits)
    needed(op, np.int32, targets=targets)
    written(op, losses=losses, correct=correct)
    if scale is not None:
        written(op, logits=logits)
        finite(op, scale=scale)
    dimensions(op, "logits", logits, 2, "(M, V)")
    M, V = logits.shape
    if V == 0:
        raise ValueError(f"{op}: logits has shape {(M, V)}, expected at least one column")
    shape(op, "targets", targets, (M,), "(M,)")
    for name, array in (("losses", losses), ("correct", correct)):
        if array is not None:
            shape(op, name, array, (M,), "(M,)")
    if columns is not None and not 0 < columns <= V:
        raise ValueError(f"{op}: columns is {columns}, expected 1 to {V}, the columns of logits")
    return M, V if columns is None else columns


def gradient_norm(gradients: Array) -> int:
    """Return n."""
    needed("gradient_norm", gradients=gradients)
    dimensions("gradient_norm", "gradients", gradients, 1, "(n,)")
    return int(gradients.shape[0])


def take_row(table: Array, cursor: Array, out: Array) -> tuple[int, int]:
    """Return the rows and W."""
    op = "take_row"
    needed(op, np.int64, table=table, cursor=cursor, out=out)
    written(op, np.int64, cursor=cursor, out=out)
    dimensions(op, "table", table, 2, "(rows, W)")
    rows, W = table.shape
    if rows == 0:
        raise ValueError(f"{op}: table has no rows, expected at least one")
    shape(op, "cursor", cursor, ())
    shape(op, "out", out, (W,), "(W,)")
    return rows, W


def step_control(
    control: Array, norm: Array, factor: Array, max_norm: float, outlier: float, growth: int
) -> None:
    """Check the shapes and the numbers."""
    op = "step_control"
    needed(op, control=control, norm=norm)
    written(op, control=control)
    needed(op, np.float64, factor=factor)
    written(op, np.float64, factor=factor)
    shape(op, "control", control, (CONTROL_SIZE,), "(8,)")
    shape(op, "norm", norm, ())
    shape(op, "factor", factor, ())
    at_least(op, "max_norm", max_norm, 0.0)
    at_least(op, "outlier", outlier, 0.0)
    at_least(op, "growth", growth, 0)


def row_means(x: Array, out: Array | None) -> tuple[int, int]:
    """Return the rows and n."""
    op = "row_means"
    needed(op, x=x)
    dimensions(op, "x", x, 2, "(rows, n)")
    rows, n = x.shape
    if n == 0:
        raise ValueError(f"{op}: x has shape {(rows, n)}, expected at least one column")
    written(op, np.float64, out=out)
    if out is not None:
        shape(op, "out", out, (rows,), "(rows,)")
    return rows, n


def adamw_step(
    weights: Array,
    gradients: Array,
    m: Array,
    v: Array,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
    step: int,
    norm: Array | None,
    max_norm: float,
    factor: Array | None,
    decayed: int | None,
    *,
    zero_gradients: bool,
) -> tuple[int, int]:
    """Return n, and how many of them decay."""
    op = "adamw_step"
    needed(op, weights=weights, gradients=gradients, m=m, v=v)
    written(op, weights=weights, m=m, v=v)
    if zero_gradients:
        written(op, gradients=gradients)
    optional(op, norm=norm)
    optional(op, np.float64, factor=factor)
    dimensions(op, "weights", weights, 1, "(n,)")
    for name, array in (("gradients", gradients), ("m", m), ("v", v)):
        shape(op, name, array, tuple(weights.shape), "the shape of weights")
    if norm is not None:
        shape(op, "norm", norm, ())
    finite(op, learning_rate=learning_rate, weight_decay=weight_decay)
    fraction(op, "beta1", beta1, one=False)
    fraction(op, "beta2", beta2, one=False)
    at_least(op, "epsilon", epsilon, 0.0)
    at_least(op, "step", step, 1)
    at_least(op, "max_norm", max_norm, 0.0)
    if max_norm > 0.0 and norm is None:
        raise ValueError(f"{op}: max_norm is {max_norm}, which needs norm, what gradient_norm gave")
    if factor is not None:
        shape(op, "factor", factor, ())
        if norm is not None:
            raise ValueError(f"{op}: norm and factor are both given, expected one of them")
    n = int(weights.shape[0])
    if decayed is not None and not 0 <= decayed <= n:
        raise ValueError(f"{op}: decayed is {decayed}, expected 0 to {n}, the size of weights")
    return n, n if decayed is None else decayed
