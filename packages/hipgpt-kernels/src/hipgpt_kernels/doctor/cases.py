"""Every op of the contract, forward and backward, on small random arrays.

A case is a function of a `Trial`; `CASES` names the op and the variant that it stands for. The odd
thing: sizes are small and divide nothing, so that the edges of tiles are met, and large enough in
one direction that each kernel for many rows is met too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from hipgpt_kernels import reference, reference_random
from hipgpt_kernels.backend import Control
from hipgpt_kernels.checks import ACTIVATIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from hipgpt_kernels.doctor.trial import Trial

Function: TypeAlias = "Callable[[Trial], None]"
ALL = ("float32", "bf16", "fp16")
ONE = ("float32",)
"""Ops whose arrays have one dtype whatever the model's is."""
LOW = ("bf16", "fp16")

M, K, N = 37, 40, 72
"""Rows, inputs and outputs of the products."""


@dataclass(frozen=True)
class Case:
    """What is run.

    Attributes:
        op: its name in the contract.
        run: raises, or leaves its judgement in the trial.
        detail: which variant.
        dtypes: in which precisions.
    """

    op: str
    run: Function
    detail: str = ""
    dtypes: tuple[str, ...] = ALL


CASES: list[Case] = []


def case(
    op: str, detail: str = "", dtypes: tuple[str, ...] = ALL
) -> Callable[[Function], Function]:
    """Enter a function into CASES."""

    def enter(function: Function) -> Function:
        CASES.append(Case(op, function, detail, dtypes))
        return function

    return enter


# --- memory and sums --------------------------------------------------------------------------


@case("copy")
def _copy(t: Trial) -> None:
    x = t.normal(5, 12)
    t.equal("copy", t.copy(x), x.host)


@case("fill")
def _fill(t: Trial) -> None:
    array = t.empty(3, 7)
    t.backend.fill(array, 1.5)
    t.equal("fill", array, np.full((3, 7), 1.5, np.float32))


@case("convert", dtypes=LOW)
def _convert(t: Trial) -> None:
    x = t.float32(5, 33)
    t.check("out", t.backend.convert(x.device, t.dtype), lambda x: x, x, low_ulps=0.51)


@case("add")
def _add(t: Trial) -> None:
    x, y = t.normal(5, 33), t.normal(5, 33)
    t.check("out", t.backend.add(x.device, y.device), lambda x, y: x + y, x, y)


@case("mean")
def _mean(t: Trial) -> None:
    x = t.normal(7, 33)
    t.check("mean", t.backend.mean(x.device), lambda x: x.mean(), x, magnitude=1.0)


@case("lerp", dtypes=ONE)
def _lerp(t: Trial) -> None:
    x, y = t.float32(7, 33), t.float32(7, 33)
    t.check("out", t.backend.lerp(x.device, y.device, 0.25), lambda x, y: x + 0.25 * (y - x), x, y)


# --- tokens and embeddings --------------------------------------------------------------------


@case("gather_batch", dtypes=ONE)
def _gather_batch(t: Trial) -> None:
    tokens, starts = t.ids(60000, 200, dtype=np.uint16), t.ids(190, 3, dtype=np.int64)
    inputs, targets = t.ids(9, 3, 9), t.ids(9, 3, 9)
    t.backend.gather_batch(tokens.device, starts.device, inputs.device, targets.device)
    expected = reference.gather_batch(tokens.host, starts.host, 9)
    t.equal("inputs", inputs.device, expected[0])
    t.equal("targets", targets.device, expected[1])


@case("embedding_forward")
def _embedding_forward(t: Trial) -> None:
    tokens, table, positions = t.ids(50, 3, 9), t.normal(50, 40), t.normal(16, 40)
    out = t.backend.embedding_forward(tokens.device, table.device, positions.device, position=2)
    t.check("out", out, reference.embedding_forward, tokens, table, positions, 2)


@case("embedding_backward")
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


# --- linear -----------------------------------------------------------------------------------


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


@case("linear_forward", "bias and residual")
def _linear_forward(t: Trial) -> None:
    _linear(t, M, None)


@case("linear_forward", "one row")
def _linear_forward_vector(t: Trial) -> None:
    _linear(t, 1, None)


@case("linear_forward", "gelu")
def _linear_forward_gelu(t: Trial) -> None:
    _linear(t, M, "gelu")


@case("linear_forward", "swiglu")
def _linear_forward_swiglu(t: Trial) -> None:
    _linear(t, M, "swiglu")


@case("linear_backward_input")
def _linear_backward_input(t: Trial) -> None:
    dout, weight = t.normal(M, N), t.normal(N, K, scale=N**-0.5)
    out = t.backend.linear_backward_input(dout.device, weight.device)
    t.check("out", out, reference.linear_backward_input, dout, weight)


@case("linear_backward_input", "gelu")
def _linear_backward_input_gelu(t: Trial) -> None:
    dout, weight, before = t.normal(M, N), t.normal(N, K, scale=N**-0.5), t.normal(M, K)
    out = t.backend.linear_backward_input(
        dout.device, weight.device, activation="gelu", preactivation=before.device
    )
    t.check("out", out, lambda d, w, z: reference.linear_backward_input(d, w, "gelu", z),
            dout, weight, before)  # fmt: skip


@case("linear_backward_weight")
def _linear_backward_weight(t: Trial) -> None:
    dout, x = t.normal(M, N), t.normal(M, K)
    dweight, dbias = t.backend.zeros((N, K)), t.backend.zeros((N,))
    t.backend.linear_backward_weight(dout.device, x.device, dweight, dbias)
    t.check("dweight", dweight, lambda d, x: reference.linear_backward_weight(d, x)[0], dout, x)
    t.check("dbias", dbias, lambda d, x: reference.linear_backward_weight(d, x)[1], dout, x)


# --- activation and normalisation -------------------------------------------------------------


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


@case("layernorm_forward")
def _layernorm_forward(t: Trial) -> None:
    x, weight, bias = t.normal(M, 96), t.normal(96), t.normal(96)
    mean, rstd = t.empty32(M), t.empty32(M)
    out = t.backend.layernorm_forward(x.device, weight.device, bias.device, mean=mean, rstd=rstd)
    for number, (name, array) in enumerate((("out", out), ("mean", mean), ("rstd", rstd))):
        t.check(name, array, lambda x, w, b, n=number: reference.layernorm_forward(x, w, b)[n],
                x, weight, bias, magnitude=1.0)  # fmt: skip


@case("layernorm_backward")
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


# --- attention --------------------------------------------------------------------------------


@case("attention_forward")
def _attention_forward(t: Trial) -> None:
    q, k, v = (t.normal(2, 35, 2, 32) for _ in range(3))
    out, lse = t.empty(2, 35, 2, 32), t.empty32(2, 2, 35)
    t.backend.attention_forward(q.device, k.device, v.device, out=out, lse=lse)
    t.check("out", out, reference.attention_forward, q, k, v)
    t.check("lse", lse, reference.attention_lse, q, k)


@case("attention_backward")
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


def _cached(t: Trial, T: int, position: int) -> None:
    q, k, v = (t.normal(2, T, 2, 32) for _ in range(3))
    caches = t.normal(2, 2, 24, 32), t.normal(2, 2, 24, 32)
    keys, values = (t.copy(one) for one in caches)
    out = t.backend.attention_cached(q.device, k.device, v.device, keys, values, position)
    inputs = q, k, v, *caches, position
    for number, (name, array) in enumerate((("out", out), ("k_cache", keys), ("v_cache", values))):
        t.check(name, array, lambda *a, n=number: reference.attention_cached(*a)[n], *inputs)


@case("attention_cached", "a prompt")
def _attention_cached(t: Trial) -> None:
    _cached(t, 9, 3)


@case("attention_cached", "one token")
def _attention_cached_one(t: Trial) -> None:
    _cached(t, 1, 20)


# --- dropout, loss, optimizer, sampling -------------------------------------------------------


@case("dropout_forward")
def _dropout_forward(t: Trial) -> None:
    x, residual = t.normal(5, 33), t.normal(5, 33)
    out = t.backend.dropout_forward(x.device, 0.3, 7, 2**40 + 3, residual=residual.device)
    t.check("out", out, lambda x, r: reference_random.dropout_forward(x, 0.3, 7, 2**40 + 3, r),
            x, residual)  # fmt: skip


@case("cross_entropy_forward")
def _cross_entropy_forward(t: Trial) -> None:
    logits, targets = t.normal(9, 211, scale=3.0), t.ids(211, 9)
    correct = t.empty32(9)
    losses = t.backend.cross_entropy_forward(logits.device, targets.device, correct=correct)
    t.check("losses", losses, reference.cross_entropy_forward, logits, targets)
    t.equal("correct", correct, reference.cross_entropy_correct(logits.host, targets.host))


@case("cross_entropy_forward_backward")
def _cross_entropy_forward_backward(t: Trial) -> None:
    logits, targets = t.normal(9, 211, scale=3.0), t.ids(211, 9)
    gradient = t.copy(logits)
    losses = t.backend.cross_entropy_forward_backward(gradient, targets.device, 0.5)
    t.check("losses", losses, reference.cross_entropy_forward, logits, targets)
    t.check("logits", gradient, lambda z, i: reference.cross_entropy_backward(z, i, 0.5),
            logits, targets)  # fmt: skip


@case("gradient_norm", dtypes=ONE)
def _gradient_norm(t: Trial) -> None:
    gradients = t.float32(5003)
    t.check("norm", t.backend.gradient_norm(gradients.device), reference.gradient_norm, gradients)


@case("adamw_step", dtypes=ONE)
def _adamw_step(t: Trial) -> None:
    weights, gradients, m = t.float32(1003), t.float32(1003), t.float32(1003)
    v = t.float32(1003)
    t.backend.copy(v.device, np.abs(v.host))
    norm = t.backend.gradient_norm(gradients.device)
    options: dict[str, Any] = {
        "learning_rate": 0.01, "beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8, "weight_decay": 0.1,
        "step": 3, "max_norm": 1.0,
    }  # fmt: skip
    updated = [t.copy(one) for one in (weights, m, v)]
    t.backend.adamw_step(updated[0], gradients.device, updated[1], updated[2], norm=norm, **options)

    def formula(n: int, w: Any, g: Any, m: Any, v: Any) -> Any:
        return reference.adamw_step(w, g, m, abs(v), norm=np.sqrt((g * g).sum()), **options)[n]

    for number, name in enumerate(("weights", "m", "v")):
        t.check(name, updated[number], lambda *a, n=number: formula(n, *a),
                weights, gradients, m, v)  # fmt: skip


@case("take_row", dtypes=ONE)
def _take_row(t: Trial) -> None:
    table, cursor = t.ids(2**62, 4, 3, dtype=np.int64), t.backend.from_numpy(np.array(2))
    out = t.backend.empty((3,), np.int64)
    t.backend.take_row(table.device, cursor, out)
    t.equal("out", out, table.host[2])
    t.equal("cursor", cursor, np.array(3))


@case("row_means", dtypes=ONE)
def _row_means(t: Trial) -> None:
    x = t.float32(5, 301)
    t.check("out", t.backend.row_means(x.device), lambda x: x.mean(axis=1), x, magnitude=1.0)


@case("step_control", dtypes=ONE)
def _step_control(t: Trial) -> None:
    control, factor = t.backend.zeros((len(Control),)), t.backend.zeros((), np.float64)
    first = np.zeros(len(Control), np.float32)
    first[Control.LOSS_SCALE] = 4.0
    t.backend.copy(control, first)
    norm = t.backend.from_numpy(np.array(8.0, np.float32))  # 2 without the loss scale
    t.backend.step_control(control, norm, factor, max_norm=1.0, growth=1)
    t.check("factor", factor, lambda n: 1.0 / (n + 1e-6) / 4.0, np.float64(2.0))
    after = {"LOSS_SCALE": 8.0, "NORM_MEAN": 2.0, "NORM_STEPS": 1.0, "NORM": 2.0}
    expected = np.zeros(len(Control), np.float32)
    expected[[Control[name] for name in after]] = list(after.values())
    t.equal("control", control, expected)
    t.backend.fill(norm, float("inf"))
    t.backend.step_control(control, norm, factor, max_norm=1.0, growth=1)
    skipped = np.isnan(t.on_host(factor))
    t.equal("factor is NaN after an overflow", np.asarray(skipped), np.ones((), bool))


@case("sample")
def _sample(t: Trial) -> None:
    logits = t.normal(5, 211, scale=3.0)
    seen = t.ids(2, 5, 211, dtype=np.uint8)
    filters: dict[str, Any] = {
        "temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.2,
        "seed": 5, "position": 9,
    }  # fmt: skip
    expected = reference_random.sample(logits.host.astype(np.float64), seen=seen.host, **filters)
    drawn = t.backend.sample(t.copy(logits), seen=t.copy(seen), **filters)
    t.equal("ids", drawn, expected)
    greedy = t.backend.sample(t.copy(logits), temperature=0.0)
    t.equal("likeliest ids", greedy, logits.host.argmax(axis=1).astype(np.int32))
