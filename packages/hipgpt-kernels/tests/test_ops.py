"""The plain functions: right on every library's arrays, given back as that library's, copied never.

The odd thing: PyTorch's CPU tensors stand for other libraries where there is no GPU.
"""

import subprocess
import sys
import threading

import numpy as np
import pytest

from hipgpt_kernels import load_backend, ops

from . import reference
from .arrays import normal
from .exactness import assert_exact, assert_same_bits


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.fixture
def cuda(hip):
    """PyTorch on the GPU that we use."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    if not torch.cuda.is_available() or "emulated" in hip.description:
        pytest.skip("PyTorch sees no GPU")
    return torch


def heads(rng, count=3, B=2, T=33, H=3, D=16):
    return [normal(rng, B, T, H, D) for _ in range(count)]


# --- NumPy --------------------------------------------------------------------------------------


def test_attention_and_its_gradients(rng):
    dout, q, k, v = heads(rng, 4)
    lse = np.empty((2, 3, 33), np.float32)
    out = ops.attention(q, k, v, lse=lse)
    assert_exact(out, reference.attention_forward, q, k, v)
    assert_exact(lse, reference.attention_lse, q, k)
    assert_exact(
        ops.attention_backward(dout, q, k, v, out, lse),
        reference.attention_backward,
        *(dout, q, k, v),
        magnitude=10.0,
    )


def test_linear_and_its_gradients(rng):
    x, weight, bias = normal(rng, 2, 5, 8), normal(rng, 6, 8), normal(rng, 6)
    dout = normal(rng, 2, 5, 6)
    assert_exact(ops.linear(x, weight, bias), reference.linear_forward, x, weight, bias)
    dx, dweight, dbias = ops.linear_backward(dout, x, weight)
    assert_exact(dx, reference.linear_backward_input, dout, weight)
    assert_exact((dweight, dbias), reference.linear_backward_weight, dout, x)
    assert ops.linear_backward(dout, x, weight, bias=False)[2] is None


def test_cross_entropy_of_any_leading_dimensions(rng):
    logits = normal(rng, 2, 5, 11)
    targets = rng.integers(-1, 11, (2, 5), np.int32)
    flat = logits.reshape(10, 11), targets.reshape(10)
    losses = ops.cross_entropy(logits, targets)
    assert losses.shape == (2, 5)
    assert_exact(losses.reshape(10), reference.cross_entropy_forward, *flat)
    gradient = logits.copy()
    again = ops.cross_entropy_gradient(gradient, targets)
    assert_same_bits(again, losses)
    assert_exact(gradient.reshape(10, 11), reference.cross_entropy_backward, *flat, 0.1)


def test_out_is_what_comes_back(rng):
    q, k, v = heads(rng)
    out = np.empty_like(q)
    assert ops.attention(q, k, v, out=out) is out
    assert_same_bits(out, ops.attention(q, k, v))


def test_the_backend_of_numpy_arrays_is_kept(rng):
    x = normal(rng, 3)
    assert ops.backend_for(x) is ops.backend_for(x, x)
    assert ops.backend_for(x).name == "cpu"
    ops.synchronize(x)


# --- PyTorch on the CPU -------------------------------------------------------------------------


def test_torch_tensors_come_back_as_tensors_and_are_not_copied(torch, rng):
    q, k, v = heads(rng)
    tensors = [torch.from_numpy(one) for one in (q, k, v)]
    result = ops.attention(*tensors)
    assert isinstance(result, torch.Tensor)
    assert_same_bits(result.numpy(), ops.attention(q, k, v))
    out = torch.empty(q.shape)
    assert ops.attention(*tensors, out=out) is out
    assert torch.equal(out, result)


def test_a_tensor_that_wants_a_gradient_is_refused_by_name(torch, rng):
    q, k, v = (torch.from_numpy(one) for one in heads(rng))
    k.requires_grad_()
    with pytest.raises(TypeError, match=r"attention: k requires a gradient .*autograd.Function"):
        ops.attention(q, k, v)
    with torch.no_grad():
        assert not ops.attention(q, k, v).requires_grad


def test_inside_an_autograd_function(torch, rng):
    class Linear(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight):
            ctx.save_for_backward(x, weight)
            return ops.linear(x, weight)

        @staticmethod
        def backward(ctx, dout):
            x, weight = ctx.saved_tensors
            return ops.linear_backward(dout.contiguous(), x, weight, bias=False)[:2]

    x = torch.from_numpy(normal(rng, 5, 8)).requires_grad_()
    weight = torch.from_numpy(normal(rng, 6, 8)).requires_grad_()
    Linear.apply(x, weight).square().sum().backward()
    ours = x.grad.clone(), weight.grad.clone()
    x.grad = weight.grad = None
    torch.nn.functional.linear(x, weight).square().sum().backward()
    for mine, theirs in zip(ours, (x.grad, weight.grad), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_bfloat16_on_the_cpu_is_one_sentence(torch):
    x = torch.ones(2, 3).bfloat16()
    with pytest.raises(TypeError, match="the CPU computes in float32"):
        ops.linear(x, x)


# --- bad input ----------------------------------------------------------------------------------


def test_what_is_no_array():
    with pytest.raises(TypeError, match="attention: k is a list, expected an array of NumPy"):
        ops.attention(np.zeros((1, 1, 1, 1), np.float32), [1], None)


def test_no_array_at_all():
    with pytest.raises(TypeError, match="no array was given"):
        ops.attention(None, None, None)


def test_arrays_on_two_devices():
    class Far:
        def __dlpack_device__(self):
            return 2, 3

    x = np.zeros((2, 3), np.float32)
    with pytest.raises(TypeError, match=r"weight is on GPU 3 and x in the host's memory; expected"):
        ops.linear(x, Far())


def test_a_device_of_another_kind():
    class Metal:
        def __dlpack_device__(self):
            return 8, 0

    with pytest.raises(TypeError, match="kind 8, expected the host's memory, CUDA or ROCm"):
        ops.linear(Metal(), Metal())


@pytest.mark.parametrize(
    ("logits", "targets", "error", "words"),
    [
        (np.zeros((2, 3)), np.zeros(2, np.int32), TypeError, "float64, expected float32"),
        (np.zeros((2, 3), np.float32), np.zeros(2, int), TypeError, "int64, expected int32"),
        (np.zeros((2, 3), np.float32), np.zeros(3, np.int32), ValueError, r"expected .* = \(2,\)"),
        (np.zeros((3, 2), np.float32).T, np.zeros(2, np.int32), ValueError, "not contiguous"),
        (np.zeros((), np.float32), np.zeros((), np.int32), ValueError, "no dimensions"),
        (np.zeros((2, 3), np.float32), np.full(2, 3, np.int32), ValueError, r"\[0, 3\)"),
    ],
)
def test_bad_input_says_what_was_expected(logits, targets, error, words):
    with pytest.raises(error, match=words):
        ops.cross_entropy(logits, targets)


# --- with a GPU ---------------------------------------------------------------------------------


def test_our_own_device_arrays(hip, rng):
    q, k, v = heads(rng, B=1, T=17, H=2)
    arrays = [hip.from_numpy(one) for one in (q, k, v)]
    out = ops.attention(*arrays)
    assert type(out) is type(arrays[0])
    assert_same_bits(hip.to_numpy(out), hip.to_numpy(hip.attention_forward(*arrays)))
    assert ops.backend_for(*arrays).stream.address == hip.stream.address
    logits, targets = hip.from_numpy(normal(rng, 2, 3, 7)), hip.zeros((2, 3), np.int32)
    assert ops.cross_entropy(logits, targets).shape == (2, 3)
    ops.synchronize(logits)


def test_an_id_out_of_range_is_heard_of_at_synchronize(hip, rng):
    logits, targets = hip.from_numpy(normal(rng, 4, 7)), hip.zeros((4,), np.int32)
    hip.fill(targets, 7)
    ops.cross_entropy(logits, targets)
    with pytest.raises(ValueError, match=r"targets holds 7, expected ids in \[0, 7\) or −1"):
        ops.synchronize(logits)
    ops.synchronize(logits)


def test_host_and_device_arrays_do_not_mix(hip, rng):
    x = normal(rng, 4, 8)
    with pytest.raises(TypeError, match=r"weight is in the host's memory and x on GPU 0"):
        ops.linear(hip.from_numpy(x), x)
    with pytest.raises(TypeError, match=r"numpy ndarray is in the host's memory"):
        hip.linear_forward(hip.from_numpy(x), x)


def test_torch_on_its_current_stream(cuda, rng):
    """No wait anywhere, on the default stream and on another one, and after a slow producer."""
    x = cuda.from_numpy(normal(rng, 512, 256)).cuda()
    weight = cuda.from_numpy(normal(rng, 384, 256)).cuda()
    expected = cuda.nn.functional.linear(x.double() * 8, weight.double())
    for stream in (cuda.cuda.default_stream(), cuda.cuda.Stream()):
        with cuda.cuda.stream(stream):
            for _ in range(5):
                slow = x.clone()
                big = cuda.randn(4096, 4096, device="cuda")
                big @ big
                slow *= 8
                out = ops.linear(slow, weight) + 0
                slow.zero_()
            assert ops.backend_for(x).stream.address == stream.cuda_stream
        cuda.cuda.synchronize()
        assert out.is_cuda
        error = (out.double() - expected).abs().max()
        assert error < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_torch_attention_in_each_dtype(cuda, rng, dtype):
    q, k, v, dout = (cuda.from_numpy(one).cuda().to(getattr(cuda, dtype)) for one in heads(rng, 4))
    lse = cuda.empty((2, 3, 33), device="cuda")
    out = ops.attention(q, k, v, lse=lse)
    gradients = ops.attention_backward(dout, q, k, v, out, lse)
    a, b, c = (one.double().detach().requires_grad_() for one in (q, k, v))
    truth = cuda.nn.functional.scaled_dot_product_attention(
        *(one.transpose(1, 2) for one in (a, b, c)), is_causal=True
    ).transpose(1, 2)
    truth.backward(dout.double())
    allowed = {"float32": 1e-5, "bfloat16": 2e-2, "float16": 3e-3}[dtype]
    for mine, theirs in zip((out, *gradients), (truth, a.grad, b.grad, c.grad), strict=True):
        assert mine.dtype == q.dtype
        assert (mine.double() - theirs).norm() < allowed * theirs.norm()


def test_torch_graph_holds_our_kernels(cuda, rng):
    """What runs on PyTorch's stream is captured by its graphs."""
    x = cuda.from_numpy(normal(rng, 64, 32)).cuda()
    weight = cuda.from_numpy(normal(rng, 48, 32)).cuda()
    out = cuda.empty(64, 48, device="cuda")
    side = cuda.cuda.Stream()
    with cuda.cuda.stream(side):
        ops.linear(x, weight, out=out)  # loads the kernel
    side.synchronize()
    graph = cuda.cuda.CUDAGraph()
    with cuda.cuda.graph(graph, stream=side):
        ops.linear(x, weight, out=out)
    out.zero_()
    x *= 2
    graph.replay()
    cuda.cuda.synchronize()
    cuda.testing.assert_close(out, cuda.nn.functional.linear(x, weight), rtol=1e-4, atol=1e-4)


ORDERS = {
    "torch first": ("torch", "ours"),
    "torch last": ("ours", "torch"),
}
IMPORTS = {
    "torch": "import torch; t = torch.ones(4, 4, device='cuda')",
    "ours": "from hipgpt_kernels import load_backend; b = load_backend('hip'); o = b.zeros((4, 4))",
}


@pytest.mark.parametrize("order", ORDERS)
def test_either_may_be_imported_first(cuda, order):
    """Two libraries with HIP's names once met in the global scope; ours keeps to itself."""
    lines = [IMPORTS[name] for name in ORDERS[order]]
    lines += [
        "from hipgpt_kernels import ops",
        "print(float((ops.linear(t, t) + t).sum()), float((b.to_numpy(b.add(o, t))).sum()))",
        "print(float((t @ t).sum()), torch.cuda.is_available())",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["80.0", "16.0", "64.0", "True"]


def test_threads_take_turns(cuda, rng):
    """PyTorch's backward runs in a thread of its own, which has no device of ours yet."""
    x = cuda.from_numpy(normal(rng, 64, 32)).cuda()
    results = []

    def work():
        results.append(ops.linear(x, x))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cuda.cuda.synchronize()
    assert len(results) == 4
    assert all(cuda.equal(one, results[0]) for one in results)


def test_a_tensor_on_another_gpu(cuda):
    if cuda.cuda.device_count() < 2:
        pytest.skip("there is one GPU")
    near, far = (cuda.ones(4, 4, device=f"cuda:{i}") for i in range(2))
    with pytest.raises(TypeError, match="weight is on GPU 1 and x on GPU 0"):
        ops.linear(near, far)
    assert ops.linear(far, far).device.index == 1
    assert cuda.cuda.current_device() == 0
    with pytest.raises(TypeError, match="expected an array on GPU 0"):
        load_backend("hip").add(far, far)
