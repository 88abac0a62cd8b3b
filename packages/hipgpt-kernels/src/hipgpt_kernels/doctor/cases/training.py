"""The ops of training that are no layer's: batches, losses, optimizer, averages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hipgpt_kernels import reference
from hipgpt_kernels.backend import Control
from hipgpt_kernels.doctor.cases.case import ONE, Case, case

if TYPE_CHECKING:
    from hipgpt_kernels.doctor.trial import Trial

CASES: list[Case] = []


@case(CASES, "gather_batch", dtypes=ONE)
def _gather_batch(t: Trial) -> None:
    tokens, starts = t.ids(60000, 200, dtype=np.uint16), t.ids(190, 3, dtype=np.int64)
    inputs, targets = t.ids(9, 3, 9), t.ids(9, 3, 9)
    t.backend.gather_batch(tokens.device, starts.device, inputs.device, targets.device)
    expected = reference.gather_batch(tokens.host, starts.host, 9)
    t.equal("inputs", inputs.device, expected[0])
    t.equal("targets", targets.device, expected[1])


@case(CASES, "cross_entropy_forward")
def _cross_entropy_forward(t: Trial) -> None:
    logits, targets = t.normal(9, 211, scale=3.0), t.ids(211, 9)
    correct = t.empty32(9)
    losses = t.backend.cross_entropy_forward(logits.device, targets.device, correct=correct)
    t.check("losses", losses, reference.cross_entropy_forward, logits, targets)
    t.equal("correct", correct, reference.cross_entropy_correct(logits.host, targets.host))


@case(CASES, "cross_entropy_forward_backward")
def _cross_entropy_forward_backward(t: Trial) -> None:
    logits, targets = t.normal(9, 211, scale=3.0), t.ids(211, 9)
    gradient = t.copy(logits)
    losses = t.backend.cross_entropy_forward_backward(gradient, targets.device, 0.5)
    t.check("losses", losses, reference.cross_entropy_forward, logits, targets)
    t.check("logits", gradient, lambda z, i: reference.cross_entropy_backward(z, i, 0.5),
            logits, targets)  # fmt: skip


@case(CASES, "gradient_norm", dtypes=ONE)
def _gradient_norm(t: Trial) -> None:
    gradients = t.float32(5003)
    t.check("norm", t.backend.gradient_norm(gradients.device), reference.gradient_norm, gradients)


@case(CASES, "adamw_step", dtypes=ONE)
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


@case(CASES, "step_control", dtypes=ONE)
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


@case(CASES, "take_row", dtypes=ONE)
def _take_row(t: Trial) -> None:
    table, cursor = t.ids(2**62, 4, 3, dtype=np.int64), t.backend.from_numpy(np.array(2))
    out = t.backend.empty((3,), np.int64)
    t.backend.take_row(table.device, cursor, out)
    t.equal("out", out, table.host[2])
    t.equal("cursor", cursor, np.array(3))


@case(CASES, "row_means", dtypes=ONE)
def _row_means(t: Trial) -> None:
    x = t.float32(5, 301)
    t.check("out", t.backend.row_means(x.device), lambda x: x.mean(axis=1), x, magnitude=1.0)


@case(CASES, "mean")
def _mean(t: Trial) -> None:
    x = t.normal(7, 33)
    t.check("mean", t.backend.mean(x.device), lambda x: x.mean(), x, magnitude=1.0)


@case(CASES, "lerp", dtypes=ONE)
def _lerp(t: Trial) -> None:
    x, y = t.float32(7, 33), t.float32(7, 33)
    t.check("out", t.backend.lerp(x.device, y.device, 0.25), lambda x, y: x + 0.25 * (y - x), x, y)
