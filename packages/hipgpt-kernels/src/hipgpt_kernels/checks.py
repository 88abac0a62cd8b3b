"""Arguments are checked here, once for every backend, before anything is written.

Each function is named for its op, returns the sizes that the op goes on with, and raises with the
op, the argument, what was expected and what came: TypeError for what is no array or has another
dtype, ValueError for the rest. The odd thing: arrays are looked at, never touched, so the same
checks serve arrays on a device.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from hipgpt_kernels.backend import Array

FLOAT32 = np.dtype(np.float32)
CONTROL_SIZE = 8
PRECISIONS = ("float32", "bf16", "fp16")
ACTIVATIONS = ("gelu", "gelu_erf", "relu", "swiglu")


# --- arrays -----------------------------------------------------------------------------------


def dtype(op: str, name: str, array: Array, *expected: Any) -> None:
    """Refuse what is no array, or an array of a dtype that is not among the expected ones."""
    if not hasattr(array, "dtype") or not hasattr(array, "strides"):
        raise TypeError(f"{op}: {name} is a {type(array).__name__}, expected an array")
    if array.dtype not in expected:
        names = " or ".join(getattr(one, "name", None) or np.dtype(one).name for one in expected)
        raise TypeError(f"{op}: {name} has dtype {array.dtype}, expected {names}")


def contiguous(op: str, name: str, array: Array) -> None:
    """Refuse an array with gaps or another order than C: its rows could not be walked as one."""
    if not array.flags.c_contiguous:
        raise ValueError(f"{op}: {name} is not contiguous in C order; give a copy of it")


def writable(op: str, name: str, array: Array) -> None:
    """Refuse an output that may not be written."""
    if not array.flags.writeable:
        raise ValueError(f"{op}: {name} is read-only and cannot be written; give another array")


def needed(op: str, *expected: Any, **arrays: Array) -> None:
    """Each must be a contiguous array of the expected dtype, float32 where none is named."""
    for name, array in arrays.items():
        # The usual case first: these checks are a tenth of the time of a token on the CPU.
        if (
            type(array) is np.ndarray
            and array.dtype is FLOAT32
            and not expected
            and array.flags.c_contiguous
        ):
            continue
        dtype(op, name, array, *(expected or (np.float32,)))
        contiguous(op, name, array)


def optional(op: str, *expected: Any, **arrays: Array | None) -> None:
    """As `needed`, for those that are given."""
    for name, array in arrays.items():
        if array is not None:
            needed(op, *expected, **{name: array})


def written(op: str, *expected: Any, **arrays: Array | None) -> None:
    """As `optional`, for arrays that the op writes."""
    for name, array in arrays.items():
        if array is not None:
            needed(op, *expected, **{name: array})
            writable(op, name, array)


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


def has_rows(op: str, name: str, array: Array) -> None:
    """Refuse an array without dimensions."""
    if array.ndim == 0:
        raise ValueError(f"{op}: {name} has no dimensions, expected rows (*, n)")


def rows(array: Array) -> int:
    """Number of rows: the product of all dimensions but the last."""
    return math.prod(array.shape[:-1])


# --- numbers ----------------------------------------------------------------------------------


def at_least(op: str, name: str, value: float, least: float) -> None:
    """Refuse a number below `least`, infinite, or not a number."""
    if not least <= value < math.inf:
        raise ValueError(f"{op}: {name} is {value}, expected a number of at least {least}")


def finite(op: str, **numbers: float) -> None:
    """Refuse what is infinite or not a number."""
    for name, value in numbers.items():
        if not math.isfinite(value):
            raise ValueError(f"{op}: {name} is {value}, expected a finite number")


def number(op: str, name: str, value: Any, *dtypes: Any) -> Any:
    """A number as it is, or that of an array of shape () in memory that NumPy sees."""
    if not hasattr(value, "strides") or isinstance(value, np.generic):
        return value
    dtype(op, name, value, *dtypes)
    shape(op, name, value, ())
    return value.item()


def fraction(op: str, name: str, value: float, *, one: bool) -> None:
    """Refuse a number outside [0, 1), or outside [0, 1] where `one` is allowed."""
    if not (0.0 <= value < 1.0 or (one and value == 1.0)):
        closing = "]" if one else ")"
        raise ValueError(f"{op}: {name} is {value}, expected a number in [0, 1{closing}")


def word64(op: str, **numbers: int) -> None:
    """Refuse what is no 64-bit counter or key."""
    for name, value in numbers.items():
        if not 0 <= value < 2**64:
            raise ValueError(f"{op}: {name} is {value}, expected a number in [0, 2⁶⁴)")


def precision(name: str) -> None:
    """Refuse what no backend computes in; the names are `backend.Precision`'s."""
    if name not in PRECISIONS:
        raise ValueError(f"precision is {name!r}, expected one of {', '.join(PRECISIONS)}")


def activation(op: str, name: str | None, columns: int) -> int:
    """Refuse an unknown activation; return how many columns it makes of `columns`."""
    if name not in ACTIVATIONS:
        raise ValueError(f"{op}: activation is {name!r}, expected one of {', '.join(ACTIVATIONS)}")
    if name == "swiglu":
        if columns % 2:
            raise ValueError(f"{op}: swiglu halves the columns, and {columns} is odd")
        return columns // 2
    return columns


# --- ops --------------------------------------------------------------------------------------


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


def attention_cached(
    q: Array,
    k: Array,
    v: Array,
    k_cache: Array,
    v_cache: Array,
    position: int,
    out: Array | None,
) -> tuple[int, int, int, int]:
    """Return B, T, H and D."""
    op = "attention_cached"
    B, T, H, D = heads(op, q=q, k=k, v=v)
    if out is not None:
        heads(op, q=q, out=out)
        writable(op, "out", out)
    needed(op, k_cache=k_cache, v_cache=v_cache)
    written(op, k_cache=k_cache, v_cache=v_cache)
    dimensions(op, "k_cache", k_cache, 4, "(B, H, S, D)")
    S = k_cache.shape[2]
    shape(op, "k_cache", k_cache, (B, H, S, D), "(B, H, S, D)")
    shape(op, "v_cache", v_cache, (B, H, S, D), "(B, H, S, D)")
    at_least(op, "position", position, 0)
    if position + T > S:
        raise ValueError(f"{op}: {T} tokens from position {position} do not fit a cache of S = {S}")
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


def sample(
    logits: Array,
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
    repetition_penalty: float,
    seen: Array | None,
    seed: int,
    position: int,
    out: Array | None,
) -> tuple[int, int]:
    """Return B and V."""
    op = "sample"
    needed(op, logits=logits)
    written(op, logits=logits)
    written(op, np.uint8, seen=seen)
    written(op, np.int32, out=out)
    dimensions(op, "logits", logits, 2, "(B, V)")
    B, V = logits.shape
    if V == 0:
        raise ValueError(f"{op}: logits has shape {(B, V)}, expected at least one column")
    at_least(op, "temperature", temperature, 0.0)
    at_least(op, "top_k", top_k, 0)
    fraction(op, "top_p", top_p, one=True)
    fraction(op, "min_p", min_p, one=True)
    word64(op, seed=seed, position=position)
    if not 0.0 < repetition_penalty < math.inf:
        raise ValueError(
            f"{op}: repetition_penalty is {repetition_penalty}, expected a number above 0"
        )
    if repetition_penalty != 1.0 and seen is None:
        raise ValueError(f"{op}: repetition_penalty needs seen, the ids that have occurred")
    if seen is not None:
        shape(op, "seen", seen, (B, V), "(B, V)")
    if out is not None:
        shape(op, "out", out, (B,), "(B,)")
    return B, V
