"""The CPU's workers: every element once, errors not lost, and the same bits whatever the timing."""

import threading
from functools import partial

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from hipgpt_kernels import BackendError, load_backend
from hipgpt_kernels.cpu.threads import Workers

from . import reference
from .arrays import normal
from .exactness import assert_exact, assert_same_bits


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("multiple", [1, 4, 16])
@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 1000])
def test_spans_cover_the_range_once(threads, multiple, count):
    spans = Workers(threads).spans(count, multiple)
    assert [i for start, stop in spans for i in range(start, stop)] == list(range(count))
    assert len(spans) <= threads
    assert all(start % multiple == 0 and start < stop for start, stop in spans)


def blas_threads():
    return [library["num_threads"] for library in threadpool_info()]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_an_error_in_any_worker_is_raised_and_blas_is_as_before(threads):
    before = blas_threads()
    workers = Workers(threads)
    for failing in range(threads):
        tasks = [partial(divmod, 1, i - failing) for i in range(threads)]
        with pytest.raises(ZeroDivisionError):
            workers.run_all(tasks)
    assert blas_threads() == before


def test_blas_is_as_before_when_two_backends_work_at_once():
    """Each holds BLAS to one thread meanwhile; the second begins before the first has ended."""
    before = blas_threads()
    inside, leave = ([threading.Event() for _ in range(2)] for _ in range(2))

    def work(i):
        inside[i].set()
        assert leave[i].wait(5)

    others = [
        threading.Thread(target=Workers(2).run_all, args=([partial(work, i), int],))
        for i in range(2)
    ]
    for i in (0, 1):
        others[i].start()
        assert inside[i].wait(5)
    for i in (0, 1):
        leave[i].set()
        others[i].join()
    assert blas_threads() == before


def one_of_everything(backend):
    """Every op that shares out work, on sizes that are shared out; outputs as NumPy arrays."""
    rng = np.random.default_rng(1)
    B, T, H, D, V = 4, 70, 3, 16, 501
    E, M = H * D, B * T
    outputs = []
    x, dout, weight, bias = normal(rng, M, E), normal(rng, M, E), normal(rng, E, E), normal(rng, E)
    outputs += [
        backend.linear_forward(x, weight, bias, activation=activation)
        for activation in (None, "gelu", "relu", "swiglu")
    ]
    outputs.append(backend.linear_backward_input(dout, weight))
    outputs.append(backend.linear_forward(x[:3], normal(rng, 20_000, E)))
    dweight, dbias = backend.zeros((E, E)), backend.zeros((E,))
    backend.linear_backward_weight(dout, x, dweight, dbias)
    mean, rstd, dx, dgain = (backend.zeros(s) for s in ((M,), (M,), (M, E), (E,)))
    outputs.append(backend.layernorm_forward(x, bias, bias, mean=mean, rstd=rstd))
    backend.layernorm_backward(dout, x, bias, mean, rstd, dx, dgain, dbias)
    outputs += [dweight, dbias, mean, rstd, dx, dgain]
    q, k, v, gradient = (normal(rng, B, T, H, D) for _ in range(4))
    lse = backend.zeros((B, H, T))
    out = backend.attention_forward(q, k, v, lse=lse)
    dq, dk, dv = (backend.zeros(q.shape) for _ in range(3))
    backend.attention_backward(gradient, q, k, v, out, lse, dq, dk, dv)
    outputs += [out, lse, dq, dk, dv]
    outputs.append(backend.activation_forward(x, "gelu"))
    outputs.append(backend.dropout_forward(normal(rng, 100_001), 0.3, 1, 2))
    logits, targets = normal(rng, M, V), rng.integers(0, V, M, np.int32)
    outputs.append(backend.cross_entropy_forward_backward(logits, targets, 1.0))
    outputs.append(logits)
    table = backend.zeros((V, E))
    tokens = rng.integers(0, V, (B, T), np.int32)
    outputs.append(backend.embedding_forward(tokens, normal(rng, V, E)))
    backend.embedding_backward(x.reshape(B, T, E), tokens, table)
    outputs.append(table)
    flat = [normal(rng, 50_001) for _ in range(3)] + [np.abs(normal(rng, 50_001))]
    norm = backend.gradient_norm(flat[1])
    backend.adamw_step(
        *flat,
        learning_rate=0.01,
        beta1=0.9,
        beta2=0.95,
        epsilon=1e-8,
        weight_decay=0.1,
        step=1,
        norm=norm,
        max_norm=1.0,
    )
    return [np.array(output) for output in (*outputs, norm, *flat)]


@pytest.fixture(params=["numpy", "native"])
def load(request):
    """A function that gives a CPU backend with so many threads."""

    def load(threads):
        try:
            return load_backend("cpu", threads=threads, native=request.param == "native")
        except BackendError as error:
            pytest.skip(str(error))

    return load


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_same_bits_run_to_run(load, threads):
    """On one backend, and on another with as many threads."""
    backend = load(threads)
    first = one_of_everything(backend)
    for other in (backend, load(threads)):
        for a, b in zip(first, one_of_everything(other), strict=True):
            assert_same_bits(a, b)


@pytest.mark.parametrize("threads", [2, 3])
def test_more_threads_are_as_exact(load, threads):
    """Sums may be cut otherwise, so the bits may differ, but not by more than their rounding."""
    for a, b in zip(one_of_everything(load(1)), one_of_everything(load(threads)), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5 * np.abs(a).max())


def test_a_backend_is_usable_from_several_threads(load):
    """Four Python threads that use one backend at once get what each would get alone."""
    backend = load(2)
    rng = np.random.default_rng(2)
    inputs = [(normal(rng, 300, 64), normal(rng, 96, 64)) for _ in range(4)]
    results = [None] * len(inputs)

    def work(i):
        for _ in range(5):
            results[i] = backend.linear_forward(*inputs[i], activation="gelu")

    others = [threading.Thread(target=work, args=(i,)) for i in range(len(inputs))]
    for other in others:
        other.start()
    for other in others:
        other.join()
    for (x, weight), result in zip(inputs, results, strict=True):
        assert_exact(result, reference.linear_forward, x, weight, None, "gelu")
