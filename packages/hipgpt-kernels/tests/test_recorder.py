"""Recordings: every op is there with its time, nothing is left behind, results are the same."""

import time

import numpy as np
import pytest

from hipgpt_kernels.recorder import record

from .arrays import normal, on_device
from .exactness import assert_same_bits


def work(backend, rng):
    x, weight, bias = on_device(backend, normal(rng, 37, 64), normal(rng, 48, 64), normal(rng, 48))
    y = backend.linear_forward(x, weight, bias, activation="gelu")
    return backend.add(y, y)


def test_ops_and_results(backend, rng):
    state = rng.bit_generator.state
    expected = backend.to_numpy(work(backend, rng))
    rng.bit_generator.state = state
    before = set(vars(backend)), set(vars(getattr(backend, "stream", backend)))
    with record(backend) as recording:
        result = work(backend, rng)
    assert (set(vars(backend)), set(vars(getattr(backend, "stream", backend)))) == before
    assert_same_bits(backend.to_numpy(result), expected)
    ops = [span.op for span in recording.spans]
    assert [op for op in ops if op in ("linear_forward", "add")] == ["linear_forward", "add"]
    assert all(span.milliseconds >= 0 for span in recording.spans)
    assert recording.milliseconds == sum(span.milliseconds for span in recording.spans)


def test_an_error_inside_is_passed_on_and_leaves_nothing(backend, rng):
    x = backend.from_numpy(normal(rng, 3))

    def fail():
        with record(backend):
            backend.add(x, backend.zeros((4,)))

    with pytest.raises(ValueError, match="add: y has shape"):
        fail()
    assert "add" not in vars(backend)
    backend.add(x, x)


def test_an_op_inside_another_is_counted_once():
    from hipgpt_kernels.cpu.backend import CpuBackend

    class Nested(CpuBackend):
        def mean(self, x):
            time.sleep(0.01)
            self.add(x, x)
            return 0.0

        def add(self, x, y, *, out=None):
            time.sleep(0.03)
            return super().add(x, y, out=out)

    backend = Nested(1)
    with record(backend) as recording:
        backend.mean(np.zeros(3, np.float32))
    took = {span.op: span.milliseconds for span in recording.spans}
    assert took["add"] >= 30
    assert 10 <= took["mean"] < 25


def test_kernels_have_their_names(hip, rng):
    work(hip, rng)
    with record(hip, head_start_ms=0.0 if "emulated" in hip.description else 5.0) as recording:
        result = work(hip, rng)
    hip.to_numpy(result)
    kernels = [span.kernel for span in recording.spans if span.op == "linear_forward"]
    assert any(name.startswith("linear_forward") for name in kernels)
    assert "copy to device" in {span.kernel for span in recording.spans}
    assert recording.event_ms >= 0
