"""The ops as plain functions of the arrays you have: NumPy's, PyTorch's, CuPy's, or our own.

    >>> import numpy as np
    >>> from hipgpt_kernels import ops
    >>> ops.linear(np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)).shape
    (2, 4)

Arrays in the host's memory are computed on the CPU, arrays on a GPU by that GPU; nothing is copied,
and what comes back is an array of the library that the first argument came from. The odd thing: on
a GPU the kernels go to the stream that PyTorch or CuPy is using at that moment, so nobody waits for
anybody and the order is that of the program. docs/reuse.md has examples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hipgpt_kernels import checks
from hipgpt_kernels.foreign import Call, backend_at, common_place

if TYPE_CHECKING:
    from hipgpt_kernels.backend import Activation, Array, Backend

__all__ = [
    "attention",
    "attention_backward",
    "backend_for",
    "cross_entropy",
    "cross_entropy_gradient",
    "linear",
    "linear_backward",
    "synchronize",
]


def attention(
    q: Array, k: Array, v: Array, *, out: Array | None = None, lse: Array | None = None
) -> Array:
    """Causal self-attention, per head: out[t] = Σ_{s ≤ t} softmax_s(q[t]·k[s] / √D) · v[s].

    Args:
        q: (B, T, H, D); views are welcome, only the last dimension must be contiguous. float32, or
            on a GPU bfloat16 or float16 too.
        k: (B, T, H, D), of q's dtype.
        v: (B, T, H, D), of q's dtype.
        out: (B, T, H, D), written and returned; None makes one.
        lse: (B, H, T) float32, written where given: what `attention_backward` needs.

    Raises:
        TypeError: something is no array, has another dtype, or lies on another device.
        ValueError: a shape is wrong.
        BackendError: the device that the arrays are on cannot be used.
    """
    with Call("attention", q=q, k=k, v=v, out=out, lse=lse) as call:
        result = call.backend.attention_forward(
            call["q"], call["k"], call["v"], out=call["out"], lse=call["lse"]
        )
        return call.give(result, out)


def attention_backward(
    dout: Array, q: Array, k: Array, v: Array, out: Array, lse: Array
) -> tuple[Array, Array, Array]:
    """The gradients dq, dk, dv of `attention`, each (B, T, H, D).

    Args:
        dout: (B, T, H, D), the gradient of out.
        q: (B, T, H, D), as `attention` had it; k and v likewise.
        k: (B, T, H, D).
        v: (B, T, H, D).
        out: (B, T, H, D), what `attention` gave.
        lse: (B, H, T) float32, what it wrote.

    Raises:
        TypeError, ValueError, BackendError: as `attention`.
    """
    with Call("attention_backward", dout=dout, q=q, k=k, v=v, out=out, lse=lse) as call:
        shape, dtype = tuple(call["q"].shape), call["q"].dtype
        gradients = [call.backend.empty(shape, dtype) for _ in range(3)]
        arrays = [call[name] for name in ("dout", "q", "k", "v", "out", "lse")]
        call.backend.attention_backward(*arrays, *gradients)
        dq, dk, dv = (call.give(gradient) for gradient in gradients)
        return dq, dk, dv


def linear(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    activation: Activation | None = None,
    preactivation: Array | None = None,
    residual: Array | None = None,
    out: Array | None = None,
) -> Array:
    """activation(x · weightᵀ + bias) + residual.

    Args:
        x: (*, K), contiguous. float32, or on a GPU bfloat16 or float16 too.
        weight: (N, K), as in PyTorch.
        bias: (N,) or None.
        activation: None, "gelu" (the tanh form), "gelu_erf", "relu", or "swiglu", which halves the
            columns.
        preactivation: (*, N), written with x · weightᵀ + bias; only with an activation.
        residual: the shape of the result, or None; not together with an activation.
        out: (*, N), or (*, N / 2) for "swiglu", written and returned; None makes one.

    Raises:
        TypeError, ValueError, BackendError: as `attention`.
    """
    with Call(
        "linear",
        x=x, weight=weight, bias=bias, preactivation=preactivation, residual=residual, out=out,
    ) as call:  # fmt: skip
        result = call.backend.linear_forward(
            call["x"],
            call["weight"],
            call["bias"],
            activation=activation,
            preactivation=call["preactivation"],
            residual=call["residual"],
            out=call["out"],
        )
        return call.give(result, out)


def linear_backward(
    dout: Array, x: Array, weight: Array, *, bias: bool = True
) -> tuple[Array, Array, Array | None]:
    """The gradients dx, dweight and dbias of `linear` without an activation.

    dweight and dbias are float32 whatever x is, so that many of them can be added up.

    Args:
        dout: (*, N), the gradient of the result.
        x: (*, K), as `linear` had it.
        weight: (N, K), as `linear` had it.
        bias: whether the gradient of a bias is wanted; without, the third result is None.

    Raises:
        TypeError, ValueError, BackendError: as `attention`.
    """
    with Call("linear_backward", dout=dout, x=x, weight=weight) as call:
        backend = call.backend
        checks.dimensions("linear_backward", "weight", call["weight"], 2, "(N, K)")
        dx = backend.linear_backward_input(call["dout"], call["weight"])
        dweight = backend.zeros(tuple(call["weight"].shape))
        dbias = backend.zeros((call["weight"].shape[0],)) if bias else None
        backend.linear_backward_weight(call["dout"], call["x"], dweight, dbias)
        return call.give(dx), call.give(dweight), None if dbias is None else call.give(dbias)


def cross_entropy(
    logits: Array,
    targets: Array,
    *,
    losses: Array | None = None,
    correct: Array | None = None,
) -> Array:
    """The loss of each row in nats: logsumexp(logits) − logits[target].

    Args:
        logits: (*, V), contiguous. float32, or on a GPU bfloat16 or float16 too.
        targets: (*,) int32, each in [0, V), or −1 for a row that does not count: its loss is 0. On
            a GPU an id out of range is reported by `synchronize`.
        losses: (*,) float32, written and returned; None makes one.
        correct: (*,) float32, written where given: 1 where the target has the largest logit.

    Raises:
        TypeError, ValueError, BackendError: as `attention`.
    """
    with Call(
        "cross_entropy", logits=logits, targets=targets, losses=losses, correct=correct
    ) as call:
        rows, shape = _rows("cross_entropy", call)
        result = call.backend.cross_entropy_forward(
            rows["logits"], rows["targets"], losses=rows["losses"], correct=rows["correct"]
        )
        return call.give(result.reshape(shape), losses)


def cross_entropy_gradient(
    logits: Array,
    targets: Array,
    scale: float | None = None,
    *,
    losses: Array | None = None,
    correct: Array | None = None,
) -> Array:
    """As `cross_entropy`, and logits becomes its own gradient, in place.

    logits[m, j] = scale · (softmax(logits[m])[j] − [j = targets[m]]); 0 where the target is −1.

    Args:
        logits: (*, V), contiguous; overwritten.
        targets: (*,) int32, as in `cross_entropy`.
        scale: the gradient of each row's loss; None is 1 / rows, for the mean of the losses.
        losses: (*,) float32, written and returned; None makes one.
        correct: (*,) float32, written where given.

    Raises:
        TypeError, ValueError, BackendError: as `attention`.
    """
    op = "cross_entropy_gradient"
    with Call(op, logits=logits, targets=targets, losses=losses, correct=correct) as call:
        rows, shape = _rows(op, call)
        count = int(rows["logits"].shape[0])
        result = call.backend.cross_entropy_forward_backward(
            rows["logits"],
            rows["targets"],
            1 / max(count, 1) if scale is None else scale,
            losses=rows["losses"],
            correct=rows["correct"],
        )
        return call.give(result.reshape(shape), losses)


def _rows(op: str, call: Call) -> tuple[dict[str, Array], tuple[int, ...]]:
    """The arrays with all leading dimensions as one, and what those dimensions were."""
    logits = call["logits"]
    if len(logits.shape) == 0:
        raise ValueError(f"{op}: logits has no dimensions, expected (*, V)")
    lead = tuple(int(size) for size in logits.shape[:-1])
    rows: dict[str, Array] = {}
    for name in ("logits", "targets", "losses", "correct"):
        array = call[name]
        if array is None:
            rows[name] = None
            continue
        checks.contiguous(op, name, array)
        shape = logits.shape if name == "logits" else lead
        checks.shape(op, name, array, tuple(shape), "(*, V)" if name == "logits" else "(*,)")
        rows[name] = array.reshape((-1, shape[-1]) if name == "logits" else (-1,))
    return rows, lead


def synchronize(*arrays: Array) -> None:
    """Wait until the device of these arrays is done, and raise what its kernels have reported.

    Raises:
        ValueError: an id was out of range in an op since the last call.
        HipError: the device failed.
    """
    backend_for(*arrays).synchronize()


def backend_for(*arrays: Array) -> Backend:
    """The backend that `ops` uses for these arrays: everything else in its contract is there too.

    On a GPU it works on the stream that the arrays' library is using now. Backends are kept, one
    for the CPU and one for each GPU and stream.

    Raises:
        TypeError: no array, or arrays on several devices.
        BackendError: the device cannot be used.
    """
    return backend_at(common_place("backend_for", {str(i): one for i, one in enumerate(arrays)}))
