"""Streams, events, graphs and loaded code do what they say, and misuse is refused."""

import numpy as np
import pytest

from hipgpt_kernels.hip import driver


def test_events_measure_time(hip):
    first, last = driver.Event(), driver.Event()
    first.record(hip.stream)
    hip.fill(hip.empty((1000,)), 1.0)
    last.record(hip.stream)
    assert last.milliseconds_since(first) >= 0.0


def test_a_stream_waits_for_another(hip):
    other = driver.Stream(hip.device)
    array = hip.empty((1000,))
    hip.fill(array, 5.0)
    event = driver.Event(timing=False)
    event.record(hip.stream)
    other.wait(event)
    copy = hip.zeros((1000,))
    hip.synchronize()
    other.copy_on_device(copy.pointer, array.pointer, array.nbytes)
    other.synchronize()
    assert (hip.to_numpy(copy) == 5).all()


def test_a_graph_does_its_work_each_time(hip, rng):
    values = rng.standard_normal(1000, dtype=np.float32)
    x, step = hip.from_numpy(values), hip.zeros((1000,))
    hip.fill(step, 1.0)
    hip.add(x, step, out=hip.empty((1000,)))  # the kernel is loaded before the capture
    with hip.capture() as graph:
        twice = hip.add(step, step)
        hip.add(x, twice, out=x)
        del twice
    assert (hip.to_numpy(x) == values).all()  # captured, not done
    hip.fill(hip.empty((1000,)), -1.0)  # gets no memory of the graph's
    graph.launch()
    graph.launch()
    np.testing.assert_allclose(hip.to_numpy(x), values + 4, rtol=1e-6)


def test_captured_ops_hand_memory_on_and_nobody_else_gets_it(hip, rng):
    values = rng.standard_normal(300_000, dtype=np.float32)
    x, y = hip.from_numpy(values), hip.from_numpy(values)
    hip.add(x, y)
    with hip.capture() as graph:
        for _ in range(10):
            x_plus_y = hip.add(x, y)
            hip.add(x_plus_y, y, out=y)
            del x_plus_y
        last = hip.add(x, y)
    memory, _side = graph.kept
    assert memory.nbytes < 3 * values.nbytes  # one for the sums, one for the last
    cached = hip.pool.cached
    others = [hip.empty((300_000,)) for _ in range(4)]
    for other in others:
        hip.fill(other, np.nan)
    graph.launch()
    for other in others:
        hip.fill(other, np.nan)
    expected = hip.to_numpy(last)
    assert np.isfinite(expected).all()
    del graph, memory, others
    np.testing.assert_array_equal(hip.to_numpy(last), expected)  # the array still has its memory
    del last
    assert hip.pool.cached > cached


def test_waiting_inside_a_capture_is_refused_and_leaves_the_stream_usable(hip):
    x = hip.zeros((10,))

    def wait_inside():
        with hip.capture() as graph:
            graphs.append(graph)
            hip.add(x, x, out=x)
            hip.stream.synchronize()

    graphs = []
    with pytest.raises(driver.HipError, match="StreamCapture"):
        wait_inside()
    (graph,) = graphs
    with pytest.raises(RuntimeError, match="not captured to its end"):
        graph.launch()
    hip.fill(x, 2.0)
    assert (hip.to_numpy(x) == 2).all()


def test_a_code_object_for_another_gpu_is_refused(hip):
    with pytest.raises(driver.HipError):
        driver.Module(hip.device, b"\x7fELF" + bytes(200))


def test_a_kernel_that_does_not_exist(hip):
    with pytest.raises(driver.HipError, match="hipErrorNotFound"):
        hip.function("basic", "no_such_kernel")
