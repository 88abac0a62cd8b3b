"""Arguments are checked here, once for every backend, before anything is written.

Each function is named for its op, returns the sizes that the op goes on with, and raises with the
op, the argument, what was expected and what came.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from hipgpt_kernels.backend import Array

ACTIVATIONS = ("gelu", "relu", "swiglu")


def shape(op: str, name: str, array: Array, expected: tuple[int, ...], meaning: str = "") -> None:
    """Refuse an array of another shape; `meaning` names the sizes, as in "(N, K)"."""
    if tuple(array.shape) != expected:
        meaning = f"{meaning} = " if meaning else ""
        raise ValueError(
            f"{op}: {name} has shape {tuple(array.shape)}, expected {meaning}{expected}"
        )


def dimensions(op: str, name: str, array: Array, count: int, meaning: str) -> None:
    """Refuse an array with another number of dimensions."""
    if array.ndim != count:
        raise ValueError(f"{op}: {name} has shape {tuple(array.shape)}, expected {meaning}")


def dtype(op: str, name: str, array: Array, *expected: Any) -> None:
    """Refuse an array of a dtype that is not among the expected ones, or that is no array."""
    if not hasattr(array, "dtype") or not hasattr(array, "shape"):
        raise TypeError(f"{op}: {name} is a {type(array).__name__}, expected an array")
    if array.dtype not in expected:
        names = " or ".join(np.dtype(one).name for one in expected)
        raise TypeError(f"{op}: {name} has dtype {array.dtype}, expected {names}")


def contiguous(op: str, name: str, array: Array) -> None:
    """Refuse an array with gaps or another order than C: its rows could not be walked as one."""
    step = array.dtype.itemsize
    for size, stride in zip(reversed(array.shape), reversed(array.strides), strict=True):
        if size != 1 and stride != step and array.size:
            raise ValueError(f"{op}: {name} is not contiguous in C order; give a copy of it")
        step *= size


def floating(op: str, **arrays: Array | None) -> None:
    """Refuse arrays that are not float32 and contiguous; None is passed over."""
    for name, array in arrays.items():
        if array is not None:
            dtype(op, name, array, np.float32)
            contiguous(op, name, array)


def at_least(op: str, name: str, value: float, least: float) -> None:
    """Refuse a number below `least`, or one that is not a number."""
    if not value >= least:
        raise ValueError(f"{op}: {name} is {value}, expected at least {least}")


def fraction(op: str, name: str, value: float, *, one: bool) -> None:
    """Refuse a number outside [0, 1), or outside [0, 1] where `one` is allowed."""
    if not (0.0 <= value < 1.0 or (one and value == 1.0)):
        closing = "]" if one else ")"
        raise ValueError(f"{op}: {name} is {value}, expected a number in [0, 1{closing}")


def activation(op: str, name: str | None, columns: int) -> int:
    """Refuse an unknown activation; return how many columns it makes of `columns`."""
    if name is not None and name not in ACTIVATIONS:
        raise ValueError(f"{op}: activation is {name!r}, expected one of {', '.join(ACTIVATIONS)}")
    if name == "swiglu":
        if columns % 2:
            raise ValueError(f"{op}: swiglu halves the columns, and {columns} is odd")
        return columns // 2
    return columns


def rows(array: Array) -> int:
    """Number of rows: the product of all dimensions but the last."""
    return math.prod(array.shape[:-1])


def linear_forward(
    x: Array,
    weight: Array,
    bias: Array | None,
    activation_name: str | None,
    preactivation: Array | None,
    residual: Array | None,
    out: Array | None,
) -> tuple[int, int, int, tuple[int, ...]]:
    """Return M rows, N outputs, K inputs and the shape of out."""
    op = "linear_forward"
    floating(
        op, x=x, weight=weight, bias=bias, preactivation=preactivation, residual=residual, out=out
    )
    dimensions(op, "weight", weight, 2, "(N, K)")
    N, K = weight.shape
    lead = tuple(x.shape[:-1])
    shape(op, "x", x, (*lead, K), "(*, K)")
    columns = activation(op, activation_name, N)
    if bias is not None:
        shape(op, "bias", bias, (N,), "(N,)")
    if preactivation is not None:
        if activation_name is None:
            raise ValueError(f"{op}: preactivation was given without an activation")
        shape(op, "preactivation", preactivation, (*lead, N), "(*, N)")
    if residual is not None:
        if activation_name is not None:
            raise ValueError(f"{op}: a residual and an activation were both given, expected one")
        shape(op, "residual", residual, (*lead, columns), "the shape of out")
    if out is not None:
        shape(op, "out", out, (*lead, columns), "(*, N)")
    return rows(x), N, K, (*lead, columns)


def linear_backward_input(
    dout: Array,
    weight: Array,
    activation_name: str | None,
    preactivation: Array | None,
    out: Array | None,
) -> tuple[int, int, int, tuple[int, ...]]:
    """Return M rows, N outputs, K inputs and the shape of out."""
    op = "linear_backward_input"
    floating(op, dout=dout, weight=weight, preactivation=preactivation, out=out)
    dimensions(op, "weight", weight, 2, "(N, K)")
    N, K = weight.shape
    lead = tuple(dout.shape[:-1])
    shape(op, "dout", dout, (*lead, N), "(*, N)")
    activation(op, activation_name, 2 * K)
    if (activation_name is None) != (preactivation is None):
        raise ValueError(f"{op}: activation and preactivation go together, and one is missing")
    columns = 2 * K if activation_name == "swiglu" else K
    if preactivation is not None:
        shape(op, "preactivation", preactivation, (*lead, columns), "the shape of out")
    if out is not None:
        shape(op, "out", out, (*lead, columns), "(*, K)")
    return rows(dout), N, K, (*lead, columns)


def linear_backward_weight(
    dout: Array, x: Array, dweight: Array, dbias: Array | None
) -> tuple[int, int, int]:
    """Return M rows, N outputs and K inputs."""
    op = "linear_backward_weight"
    floating(op, dout=dout, x=x, dweight=dweight, dbias=dbias)
    dimensions(op, "dweight", dweight, 2, "(N, K)")
    N, K = dweight.shape
    lead = tuple(x.shape[:-1])
    shape(op, "x", x, (*lead, K), "(*, K)")
    shape(op, "dout", dout, (*lead, N), "(*, N)")
    if dbias is not None:
        shape(op, "dbias", dbias, (N,), "(N,)")
    return rows(x), N, K


def activation_forward(x: Array, name: str, out: Array | None) -> tuple[int, ...]:
    """Return the shape of out."""
    op = "activation_forward"
    floating(op, x=x, out=out)
    result = (*x.shape[:-1], activation(op, name, x.shape[-1]))
    if out is not None:
        shape(op, "out", out, result)
    return result


def activation_backward(dout: Array, x: Array, name: str, out: Array | None) -> None:
    """Check the shapes."""
    op = "activation_backward"
    floating(op, dout=dout, x=x, out=out)
    shape(op, "dout", dout, (*x.shape[:-1], activation(op, name, x.shape[-1])))
    if out is not None:
        shape(op, "out", out, tuple(x.shape), "the shape of x")


def layernorm_forward(
    x: Array,
    weight: Array,
    bias: Array,
    epsilon: float,
    out: Array | None,
    mean: Array | None,
    rstd: Array | None,
) -> tuple[int, int]:
    """Return M rows and E."""
    op = "layernorm_forward"
    floating(op, x=x, weight=weight, bias=bias, out=out, mean=mean, rstd=rstd)
    E = x.shape[-1]
    shape(op, "weight", weight, (E,), "(E,)")
    shape(op, "bias", bias, (E,), "(E,)")
    at_least(op, "epsilon", epsilon, 0.0)
    if out is not None:
        shape(op, "out", out, tuple(x.shape), "the shape of x")
    for name, array in (("mean", mean), ("rstd", rstd)):
        if array is not None:
            shape(op, name, array, tuple(x.shape[:-1]), "the rows of x")
    return rows(x), E


def layernorm_backward(
    dout: Array,
    x: Array,
    weight: Array,
    mean: Array,
    rstd: Array,
    dx: Array,
    dweight: Array,
    dbias: Array,
) -> tuple[int, int]:
    """Return M rows and E."""
    op = "layernorm_backward"
    floating(
        op, dout=dout, x=x, weight=weight, mean=mean, rstd=rstd, dx=dx, dweight=dweight, dbias=dbias
    )
    E = x.shape[-1]
    for name, array in (("dout", dout), ("dx", dx)):
        shape(op, name, array, tuple(x.shape), "the shape of x")
    for name, array in (("mean", mean), ("rstd", rstd)):
        shape(op, name, array, tuple(x.shape[:-1]), "the rows of x")
    for name, array in (("weight", weight), ("dweight", dweight), ("dbias", dbias)):
        shape(op, name, array, (E,), "(E,)")
    return rows(x), E


def attention(op: str, q: Array, **others: Array | None) -> tuple[int, int, int, int]:
    """Check that every array is (B, T, H, D) float32, rows of D contiguous; return the sizes."""
    dtype(op, "q", q, np.float32)
    dimensions(op, "q", q, 4, "(B, T, H, D)")
    B, T, H, D = (int(size) for size in q.shape)
    for name, array in (("q", q), *others.items()):
        if array is None:
            continue
        dtype(op, name, array, np.float32)
        shape(op, name, array, (B, T, H, D), "(B, T, H, D)")
        if D > 1 and array.strides[-1] != array.dtype.itemsize:
            raise ValueError(f"{op}: the last dimension of {name} must be contiguous")
    return B, T, H, D


def embedding(
    op: str,
    tokens: Array,
    table: Array,
    positions: Array | None,
    position: int,
    data: Array | None,
    data_name: str,
) -> tuple[int, int, int, int]:
    """Return B, T, V and E."""
    dtype(op, "tokens", tokens, np.int32)
    dimensions(op, "tokens", tokens, 2, "(B, T)")
    prefix = "d" if op.endswith("backward") else ""
    floating(op, **{f"{prefix}token_table": table, f"{prefix}position_table": positions})
    floating(op, **{data_name: data})
    dimensions(op, f"{prefix}token_table", table, 2, "(V, E)")
    (B, T), (V, E) = tokens.shape, table.shape
    at_least(op, "position", position, 0)
    if positions is not None:
        S = positions.shape[0]
        shape(op, f"{prefix}position_table", positions, (S, E), "(S, E)")
        if position + T > S:
            raise ValueError(
                f"{op}: {T} tokens from position {position} do not fit S = {S} positions"
            )
    if data is not None:
        shape(op, data_name, data, (B, T, E), "(B, T, E)")
    return B, T, V, E


def dropout_forward(
    x: Array, probability: float, residual: Array | None, out: Array | None
) -> None:
    """Check the shapes and the probability."""
    op = "dropout_forward"
    floating(op, x=x, residual=residual, out=out)
    fraction(op, "probability", probability, one=False)
    for name, array in (("residual", residual), ("out", out)):
        if array is not None:
            shape(op, name, array, tuple(x.shape), "the shape of x")


def cross_entropy(
    op: str, logits: Array, targets: Array, losses: Array | None, correct: Array | None
) -> tuple[int, int]:
    """Return M and V."""
    floating(op, logits=logits, losses=losses, correct=correct)
    dtype(op, "targets", targets, np.int32)
    dimensions(op, "logits", logits, 2, "(M, V)")
    M, V = logits.shape
    shape(op, "targets", targets, (M,), "(M,)")
    for name, array in (("losses", losses), ("correct", correct)):
        if array is not None:
            shape(op, name, array, (M,), "(M,)")
    return M, V


def adamw(
    weights: Array, gradients: Array, m: Array, v: Array, step: int, beta1: float, beta2: float
) -> int:
    """Return n."""
    op = "adamw_step"
    floating(op, weights=weights, gradients=gradients, m=m, v=v)
    dimensions(op, "weights", weights, 1, "(n,)")
    for name, array in (("gradients", gradients), ("m", m), ("v", v)):
        shape(op, name, array, tuple(weights.shape), "the shape of weights")
    at_least(op, "step", step, 1)
    fraction(op, "beta1", beta1, one=False)
    fraction(op, "beta2", beta2, one=False)
    return int(weights.shape[0])


def sample(
    logits: Array,
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
    repetition_penalty: float,
    seen: Array | None,
    out: Array | None,
) -> tuple[int, int]:
    """Return B and V."""
    op = "sample"
    floating(op, logits=logits)
    dimensions(op, "logits", logits, 2, "(B, V)")
    B, V = logits.shape
    at_least(op, "temperature", temperature, 0.0)
    at_least(op, "top_k", top_k, 0)
    fraction(op, "top_p", top_p, one=True)
    fraction(op, "min_p", min_p, one=True)
    if not 0.0 < repetition_penalty < math.inf:
        raise ValueError(
            f"{op}: repetition_penalty is {repetition_penalty}, expected a number above 0"
        )
    if repetition_penalty != 1.0 and seen is None:
        raise ValueError(f"{op}: repetition_penalty needs seen, the ids that have occurred")
    if seen is not None:
        dtype(op, "seen", seen, np.uint8)
        shape(op, "seen", seen, (B, V), "(B, V)")
    if out is not None:
        dtype(op, "out", out, np.int32)
        shape(op, "out", out, (B,), "(B,)")
    return B, V
