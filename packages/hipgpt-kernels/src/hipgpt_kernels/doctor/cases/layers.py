"""The ops of layers, forward and backward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hipgpt_kernels import reference, reference_random
from hipgpt_kernels.checks import ACTIVATIONS
from hipgpt_kernels.doctor.cases.case import Case, case

if TYPE_CHECKING:
    from hipgpt_kernels.doctor.trial import Trial

CASES: list[Case] = []

M, K, N = 37, 40, 72
"""Rows, inputs and outputs of the products."""


@case(CASES, "embedding_forward")
def _embedding_forward(t: Trial) -> None:
    tokens, table, positions = t.ids(50, 3, 9), t.normal(50, 40), t.normal(16, 40)
    out = t.backend.embedding_forward(tokens.device, table.device, positions.device, position=2)
    t.check("out", out, reference.embedding_forward, tokens, table, positions, 2)


@case(CASES, "embedding_backward")
def _embedding_backward(t: Trial) -> None:
    dout, tokens = t.normal(3, 9, 40), t.ids(11, 3, 9)
    dtable, dpositions = t.backend.zeros((11, 40)), t.backend.zeros((16, 40))
    t.backend.embedding_backward(dout.device, tokens.device, dtable, dpositions)
    for number, (name, array) in enumerate((("dtoken_table", dtable), ("dposition", dpositions))):
        t.check(
            name,
            array,
            lambda d, i, n=number: reference.embedding_backward(d, i, 11, 16)[n],
            dout,
            tokens,
            magnitude=1.0,
        )


def _linear(t: Trial, rows: int, activation: str | None) -> None:
    columns = N // 2 if activation == "swiglu" else N
    x, weight = t.normal(rows, K), t.normal(N, K, scale=K**-0.5)
    bias, residual = t.normal(N), t.normal(rows, columns)
    if activation is None:
        out = t.backend.linear_forward(
            x.device, weight.device, bias.device, residual=residual.device
        )
        t.check("out", out, lambda x, w, b, r: reference.linear_forward(x, w, b, None, r),
                x, weight, bias, residual)  # fmt: skip
        return
    before = t.empty(rows, N)
    kind: Any = activation
    out = t.backend.linear_forward(
        x.device, weight.device, bias.device, activation=kind, preactivation=before
    )
    t.check("preactivation", before, reference.preactivation, x, weight, bias)
    # swiglu goes through its rounded preactivation.
    t.check("out", out, lambda x, w, b: reference.linear_forward(x, w, b, activation),
            x, weight, bias, low_ulps=4)  # fmt: skip


@case(CASES, "linear_forward", "bias and residual")
def _linear_forward(t: Trial) -> None:
    _linear(t, M, None)


@case(CASES, "linear_forward", "one row")
def _linear_forward_vector(t: Trial) -> None:
    _linear(t, 1, None)


@case(CASES, "linear_forward", "gelu")
def _linear_forward_gelu(t: Trial) -> None:
    _linear(t, M, "gelu")


@case(CASES, "linear_forward", "swiglu")
def _linear_forward_swiglu(t: Trial) -> None:
    _linear(t, M, "swiglu")


@case(CASES, "linear_backward_input")
def _linear_backward_input(t: Trial) -> None:
    dout, weight = t.normal(M, N), t.normal(N, K, scale=N**-0.5)
    out = t.backend.linear_backward_input(dout.device, weight.device)
    t.check("out", out, reference.linear_backward_input, dout, weight)


@case(CASES, "linear_backward_input", "gelu")
def _linear_backward_input_gelu(t: Trial) -> None:
    dout, weight, before = t.normal(M, N), t.normal(N, K, scale=N**-0.5), t.normal(M, K)
    out = t.backend.linear_backward_input(
        dout.device, weight.device, activation="gelu", preactivation=before.device
    )
    t.check("out", out, lambda d, w, z: reference.linear_backward_input(d, w, "gelu", z),
            dout, weight, before)  # fmt: skip


@case(CASES, "linear_backward_weight")
def _linear_backward_weight(t: Trial) -> None:
    dout, x = t.normal(M, N), t.normal(M, K)
    dweight, dbias = t.backend.zeros((N, K)), t.backend.zeros((N,))
    t.backend.linear_backward_weight(dout.device, x.device, dweight, dbias)
    t.check("dweight", dweight, lambda d, x: reference.linear_backward_weight(d, x)[0], dout, x)
    t.check("dbias", dbias, lambda d, x: reference.linear_backward_weight(d, x)[1], dout, x)


def _activation(t: Trial, name: Any) -> None:
    x = t.normal(7, 36, scale=2.0)
    dout = t.normal(7, 18 if name == "swiglu" else 36)
    forward = t.backend.activation_forward(x.device, name)
    t.check("out", forward, lambda x: reference.activation_forward(x, name), x)
    backward = t.backend.activation_backward(dout.device, x.device, name)
    t.check("dx", backward, lambda d, x: reference.activation_backward(d, x, name), dout, x)


def _activation_case(name: str) -> Case:
    return Case("activation_forward", lambda t: _activation(t, name), f"{name} and its backward")


CASES.extend(map(_activation_case, ACTIVATIONS))


@case(CASES, "layernorm_forward")
def _layernorm_forward(t: Trial) -> None:
    x, weight, bias = t.normal(M, 96), t.normal(96), t.normal(96)
    mean, rstd = t.empty32(M), t.empty32(M)
    out = t.backend.layernorm_forward(x.device, weight.device, bias.device, mean=mean, rstd=rstd)
    for number, (name, array) in enumerate((("out", out), ("mean", mean), ("rstd", rstd))):
        t.check(name, array, lambda x, w, b, n=number: reference.layernorm_forward(x, w, b)[n],
                x, weight, bias, magnitude=1.0)  # fmt: skip


@case(CASES, "layernorm_backward")
def _layernorm_backward(t: Trial) -> None:
    dout, x, weight, bias = t.normal(M, 96), t.normal(M, 96), t.normal(96), t.normal(96)
    mean, rstd = t.empty32(M), t.empty32(M)
    t.backend.layernorm_forward(x.device, weight.device, bias.device, mean=mean, rstd=rstd)
    dx, dweight, dbias = t.empty(M, 96), t.backend.zeros((96,)), t.backend.zeros((96,))
    t.backend.fill(dx, 0.0)
    t.backend.layernorm_backward(
        dout.device, x.device, weight.device, mean, rstd, dx, dweight, dbias
    )
    for number, (name, array) in enumerate((("dx", dx), ("dweight", dweight), ("dbias", dbias))):
        t.check(name, array, lambda d, x, w, n=number: reference.layernorm_backward(d, x, w)[n],
                dout, x, weight, magnitude=1.0)  # fmt: skip


@case(CASES, "attention_forward")
def _attention_forward(t: Trial) -> None:
    q, k, v = (t.normal(2, 35, 2, 32) for _ in range(3))
    out, lse = t.empty(2, 35, 2, 32), t.empty32(2, 2, 35)
    t.backend.attention_forward(q.device, k.device, v.device, out=out, lse=lse)
    t.check("out", out, reference.attention_forward, q, k, v)
    t.check("lse", lse, reference.attention_lse, q, k)


@case(CASES, "attention_backward")
def _attention_backward(t: Trial) -> None:
    dout, q, k, v = (t.normal(1, 35, 2, 32) for _ in range(4))
    out, lse = t.empty(1, 35, 2, 32), t.empty32(1, 2, 35)
    t.backend.attention_forward(q.device, k.device, v.device, out=out, lse=lse)
    gradients = [t.empty(1, 35, 2, 32) for _ in range(3)]
    t.backend.attention_backward(dout.device, q.device, k.device, v.device, out, lse, *gradients)
    # dz = p · (dp − Σ p · dp) is a difference of terms of this size, and `out` was rounded.
    terms = float(np.abs(np.einsum("bthd,bshd->bhts", dout.host, v.host)).max())
    terms *= max(np.abs(q.host).max(), np.abs(k.host).max()) / 32**0.5
    for number, (name, array) in enumerate(zip(("dq", "dk", "dv"), gradients, strict=True)):
        t.check(name, array, lambda *a, n=number: reference.attention_backward(*a)[n],
                dout, q, k, v, magnitude=0.0 if name == "dv" else terms)  # fmt: skip


@case(CASES, "dropout_forward")
def _dropout_forward(t: Trial) -> None:
    x, residual = t.normal(5, 33), t.normal(5, 33)
    out = t.backend.dropout_forward(x.device, 0.3, 7, 2**40 + 3, residual=residual.device)
    t.check("out", out, lambda x, r: reference_random.dropout_forward(x, 0.3, 7, 2**40 + 3, r),
            x, residual)  # fmt: skip


@case(CASES, "add")
def _add(t: Trial) -> None:
    x, y = t.normal(5, 33), t.normal(5, 33)
    t.check("out", t.backend.add(x.device, y.device), lambda x, y: x + y, x, y)
