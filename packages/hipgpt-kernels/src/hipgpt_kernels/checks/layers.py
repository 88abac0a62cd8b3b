"""What is refused of the arguments of layers' ops, each function named for its op."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels.checks.arrays import (
    dimensions,
    dtype,
    has_rows,
    needed,
    optional,
    rows,
    shape,
    writable,
    written,
)
from hipgpt_kernels.checks.numbers import at_least, fraction, word64

if TYPE_CHECKING:
    from hipgpt_kernels.backend.terms import Array


ACTIVATIONS = ("gelu", "gelu_erf", "relu", "swiglu")


def activation(op: str, name: str | None, columns: int) -> int:
    """Refuse an unknown activation; return how many columns it makes of `columns`."""
    if name not in ACTIVATIONS:
        raise ValueError(f"{op}: activation is {name!r}, expected one of {', '.join(ACTIVATIONS)}")
    if name == "swiglu":
        if columns % 2:
            raise ValueError(f"{op}: swiglu halves the columns, and {columns} is odd")
        return columns // 2
    return columns


def embedding_forward(
    tokens: Array,
    token_table: Array,
    position_table: Array | None,
    position: int,
    out: Array | None,
) -> tuple[int, int, int, int]:
    """Return B, T, V and E."""
    op = "embedding_forward"
    needed(op, np.int32, tokens=tokens)
    needed(op, token_table=token_table)
    optional(op, position_table=position_table)
    written(op, out=out)
    dimensions(op, "tokens", tokens, 2, "(B, T)")
    dimensions(op, "token_table", token_table, 2, "(V, E)")
    (B, T), (V, E) = tokens.shape, token_table.shape
    at_least(op, "position", position, 0)
    positions(op, "position_table", position_table, position, T, E)
    if out is not None:
        shape(op, "out", out, (B, T, E), "(B, T, E)")
    return B, T, V, E


def embedding_backward(
    dout: Array, tokens: Array, dtoken_table: Array, dposition_table: Array | None
) -> tuple[int, int, int, int]:
    """Return B, T, V and E."""
    op = "embedding_backward"
    needed(op, np.int32, tokens=tokens)
    needed(op, dout=dout, dtoken_table=dtoken_table)
    written(op, dtoken_table=dtoken_table, dposition_table=dposition_table)
    dimensions(op, "tokens", tokens, 2, "(B, T)")
    dimensions(op, "dtoken_table", dtoken_table, 2, "(V, E)")
    (B, T), (V, E) = tokens.shape, dtoken_table.shape
    positions(op, "dposition_table", dposition_table, 0, T, E)
    shape(op, "dout", dout, (B, T, E), "(B, T, E)")
    return B, T, V, E


def positions(op: str, name: str, table: Array | None, position: int, T: int, E: int) -> None:
    """The table must be (S, E) with room for T tokens from `position`."""
    if table is None:
        return
    dimensions(op, name, table, 2, "(S, E)")
    S = table.shape[0]
    shape(op, name, table, (S, E), "(S, E)")
    if position + T > S:
        raise ValueError(
            f"{op}: {T} tokens from position {position} do not fit {name} with S = {S} positions"
        )


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
    needed(op, x=x, weight=weight)
    optional(op, bias=bias, residual=residual)
    written(op, preactivation=preactivation, out=out)
    has_rows(op, "x", x)
    dimensions(op, "weight", weight, 2, "(N, K)")
    N, K = weight.shape
    lead = tuple(x.shape[:-1])
    shape(op, "x", x, (*lead, K), "(*, K)")
    columns = N if activation_name is None else activation(op, activation_name, N)
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
    needed(op, dout=dout, weight=weight)
    optional(op, preactivation=preactivation)
    written(op, out=out)
    has_rows(op, "dout", dout)
    dimensions(op, "weight", weight, 2, "(N, K)")
    N, K = weight.shape
    lead = tuple(dout.shape[:-1])
    shape(op, "dout", dout, (*lead, N), "(*, N)")
    if activation_name is not None:
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
    needed(op, dout=dout, x=x, dweight=dweight)
    written(op, dweight=dweight, dbias=dbias)
    has_rows(op, "x", x)
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
    needed(op, x=x)
    written(op, out=out)
    has_rows(op, "x", x)
    result = (*x.shape[:-1], activation(op, name, x.shape[-1]))
    if out is not None:
        shape(op, "out", out, result)
    return result


def activation_backward(dout: Array, x: Array, name: str, out: Array | None) -> None:
    """Check the shapes."""
    op = "activation_backward"
    needed(op, dout=dout, x=x)
    written(op, out=out)
    has_rows(op, "x", x)
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
    needed(op, x=x, weight=weight, bias=bias)
    written(op, out=out, mean=mean, rstd=rstd)
    has_rows(op, "x", x)
    E = x.shape[-1]
    if E == 0:
        raise ValueError(f"{op}: x has shape {tuple(x.shape)}, expected at least one column")
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
    needed(op, dout=dout, x=x, weight=weight, mean=mean, rstd=rstd)
    needed(op, dx=dx, dweight=dweight, dbias=dbias)
    written(op, dx=dx, dweight=dweight, dbias=dbias)
    has_rows(op, "x", x)
    E = x.shape[-1]
    for name, array in (("dout", dout), ("dx", dx)):
        shape(op, name, array, tuple(x.shape), "the shape of x")
    for name, array in (("mean", mean), ("rstd", rstd)):
        shape(op, name, array, tuple(x.shape[:-1]), "the rows of x")
    for name, array in (("weight", weight), ("dweight", dweight), ("dbias", dbias)):
        shape(op, name, array, (E,), "(E,)")
    return rows(x), E


def heads(op: str, *, write: bool = False, **arrays: Array) -> tuple[int, int, int, int]:
    """Each must be (B, T, H, D) float32 like the first, its last dimension contiguous.

    Views with gaps between their rows are welcome here. Returns the sizes.
    """
    sizes: tuple[int, ...] = ()
    for name, array in arrays.items():
        dtype(op, name, array, np.float32)
        dimensions(op, name, array, 4, "(B, T, H, D)")
        sizes = sizes or tuple(int(size) for size in array.shape)
        shape(op, name, array, sizes, "(B, T, H, D)")
        if sizes[3] > 1 and array.strides[3] != array.dtype.itemsize:
            raise ValueError(f"{op}: the last dimension of {name} must be contiguous")
        if write:
            writable(op, name, array)
    B, T, H, D = sizes
    if D == 0:
        raise ValueError(f"{op}: q has shape {sizes}, expected heads of at least one number")
    return B, T, H, D


def attention_forward(
    q: Array, k: Array, v: Array, out: Array | None, lse: Array | None
) -> tuple[int, int, int, int]:
    """Return B, T, H and D."""
    op = "attention_forward"
    B, T, H, D = heads(op, q=q, k=k, v=v)
    if out is not None:
        heads(op, q=q, out=out)
        writable(op, "out", out)
    written(op, lse=lse)
    if lse is not None:
        shape(op, "lse", lse, (B, H, T), "(B, H, T)")
    return B, T, H, D


def attention_backward(
    dout: Array,
    q: Array,
    k: Array,
    v: Array,
    out: Array,
    lse: Array,
    dq: Array,
    dk: Array,
    dv: Array,
) -> tuple[int, int, int, int]:
    """Return B, T, H and D."""
    op = "attention_backward"
    B, T, H, D = heads(op, q=q, k=k, v=v, dout=dout, out=out, dq=dq, dk=dk, dv=dv)
    heads(op, write=True, dq=dq, dk=dk, dv=dv)
    needed(op, lse=lse)
    shape(op, "lse", lse, (B, H, T), "(B, H, T)")
    return B, T, H, D


def dropout_forward(
    x: Array,
    probability: float,
    seed: int,
    stream: int,
    residual: Array | None,
    out: Array | None,
) -> None:
    """Check the shapes and the numbers."""
    op = "dropout_forward"
    needed(op, x=x)
    optional(op, residual=residual)
    written(op, out=out)
    fraction(op, "probability", probability, one=False)
    word64(op, seed=seed, stream=stream)
    for name, array in (("residual", residual), ("out", out)):
        if array is not None:
            shape(op, name, array, tuple(x.shape), "the shape of x")


def add(x: Array, y: Array, out: Array | None) -> None:
    """Check the shapes."""
    op = "add"
    needed(op, x=x, y=y)
    written(op, out=out)
    shape(op, "y", y, tuple(x.shape), "the shape of x")
    if out is not None:
        shape(op, "out", out, tuple(x.shape), "the shape of x")
