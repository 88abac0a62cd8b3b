"""bf16 and fp16: every op at most twice as far from float64 as PyTorch is in the same type.

    max|ours − float64| ≤ 2 · max|PyTorch − float64| + half an ulp of the largest result

The odd thing: float64 starts from the rounded inputs, so what is measured is the op alone, and
PyTorch computes on the CPU, so the rule is the same on a GPU and in the emulator. Half an ulp is
what storing a result costs, which a few elements may be lucky enough to escape.
"""

import numpy as np
import pytest

from hipgpt_kernels.hip.dtypes import as_dtype, decode, encode

from . import reference
from .arrays import normal

torch = pytest.importorskip("torch", reason="needs PyTorch, in the environment `peers`")
functional = torch.nn.functional

ULP = {"bfloat16": 2.0**-7, "float16": 2.0**-10}
"""Of 1; rounding moves a result by half of it at most."""

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.parametrize("dtype", list(ULP)),
]


def rounded(dtype, *arrays):
    """float32 arrays whose values `dtype` has."""
    kind = as_dtype(dtype)
    return [np.asarray(decode(encode(one, kind), kind), np.float32) for one in arrays]


def device(hip, dtype, *arrays):
    """Arrays of `dtype` on the device."""
    return [None if one is None else hip.from_numpy(one, as_dtype(dtype)) for one in arrays]


def nothing(hip, shape, dtype="float32"):
    """A device array of NaN."""
    return hip.from_numpy(np.full(shape, np.nan, np.float32), as_dtype(dtype))


def host(hip, *arrays):
    return [hip.to_numpy(one).astype(np.float64) for one in arrays]


def tensors(dtype, *arrays):
    kind = getattr(torch, dtype)
    return [torch.tensor(one).to(kind).requires_grad_() for one in arrays]


def wide(*arrays):
    return [one.astype(np.float64) for one in arrays]


def plain(*tensors_):
    return [one.detach().to(torch.float64).numpy() for one in tensors_]


def hold(dtype, ours, truth, peer, magnitude=0.0):
    """The rule, for each output."""
    assert len(ours) == len(truth) == len(peer)
    for number, (a, b, c) in enumerate(zip(ours, truth, peer, strict=True)):
        assert a.shape == b.shape == c.shape
        assert np.isfinite(a).all(), f"output {number} is not finite"
        error, theirs = np.abs(a - b).max(), np.abs(c - b).max()
        floor = ULP[dtype] / 2 * max(np.abs(b).max(), magnitude)
        assert error <= 2 * theirs + floor, (
            f"output {number}: error {error:.3g}, PyTorch's {theirs:.3g}, floor {floor:.3g}"
        )


PRODUCTS = [
    (1, 64, 96),
    (8, 40, 50),
    (9, 7, 11),
    (64, 128, 64),
    (66, 72, 136),
    (300, 65, 30),
    (20, 1500, 34),
    (3, 96, 50257),
    (40, 96, 50257),
    (1030, 768, 768),
    (4096, 768, 2304),
]
"""M, K, N: rows that decode, what nothing divides, one tile, several, long sums, a vocabulary."""


@pytest.mark.parametrize(("M", "K", "N"), PRODUCTS)
@pytest.mark.parametrize("activation", [None, "gelu", "relu"])
def test_linear(hip, rng, dtype, M, K, N, activation):
    """With bias, and with an activation or a residual."""
    arrays = normal(rng, M, K), normal(rng, N, K) * K**-0.5, normal(rng, N), normal(rng, M, N)
    x, weight, bias, residual = rounded(dtype, *arrays)
    on = device(hip, dtype, x, weight, bias)
    out = nothing(hip, (M, N), dtype)
    if activation is None:
        fused = {"residual": device(hip, dtype, residual)[0]}
    else:
        fused = {"activation": activation, "preactivation": nothing(hip, (M, N), dtype)}
    hip.linear_forward(*on, out=out, **fused)
    ours = host(hip, out)
    rest = residual.astype(np.float64) if activation is None else None
    truth = reference.linear_forward(*wide(x, weight, bias), activation, rest)
    a, w, b, r = tensors(dtype, x, weight, bias, residual)
    z = functional.linear(a, w, b)
    if activation is None:
        z = z + r
    elif activation == "gelu":
        z = functional.gelu(z, approximate="tanh")
    else:
        z = functional.relu(z)
    hold(dtype, ours, [truth], plain(z))


@pytest.mark.parametrize(("M", "K", "N"), PRODUCTS)
def test_linear_backward(hip, rng, dtype, M, K, N):
    """dweight and dbias are float32 and added to."""
    arrays = normal(rng, M, K), normal(rng, N, K) * K**-0.5, normal(rng, M, N)
    x, weight, dout = rounded(dtype, *arrays)
    device_x, device_weight, device_dout = device(hip, dtype, x, weight, dout)
    dx = nothing(hip, (M, K), dtype)
    hip.linear_backward_input(device_dout, device_weight, out=dx)
    dweight, dbias = hip.from_numpy(np.ones((N, K), np.float32)), hip.zeros((N,))
    hip.linear_backward_weight(device_dout, device_x, dweight, dbias)
    dx, dweight, dbias = host(hip, dx, dweight, dbias)
    truth = [
        reference.linear_backward_input(*wide(dout, weight)),
        *reference.linear_backward_weight(*wide(dout, x)),
    ]
    a, w = tensors(dtype, x, weight)
    b = torch.zeros(N, dtype=a.dtype, requires_grad=True)
    functional.linear(a, w, b).backward(torch.tensor(dout).to(a.dtype))
    hold(dtype, [dx, dweight - 1, dbias], truth, plain(a.grad, w.grad, b.grad))


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_the_slope_on_the_way_out(hip, rng, dtype, activation):
    """dz = (dout · weight) · f'(z), which PyTorch rounds in between."""
    dout, weight, z = rounded(
        dtype, normal(rng, 70, 40), normal(rng, 40, 96) / 6, normal(rng, 70, 96)
    )
    on = device(hip, dtype, dout, weight)
    (before,) = device(hip, dtype, z)
    dz = hip.linear_backward_input(*on, activation=activation, preactivation=before)
    truth = reference.linear_backward_input(*wide(dout, weight), activation, z.astype(np.float64))
    (t,) = tensors(dtype, z)
    made = functional.gelu(t, approximate="tanh") if activation == "gelu" else functional.relu(t)
    d, w = (torch.tensor(one).to(t.dtype) for one in (dout, weight))
    made.backward(d @ w)
    hold(dtype, host(hip, dz), [truth], plain(t.grad))


@pytest.mark.parametrize("activation", ["gelu", "relu", "swiglu"])
def test_activation(hip, rng, dtype, activation):
    N = 130
    x, dout = rounded(
        dtype, 3 * normal(rng, 33, N), normal(rng, 33, N // 2 if activation == "swiglu" else N)
    )
    device_x, device_dout = device(hip, dtype, x, dout)
    out = hip.activation_forward(device_x, activation)
    dx = hip.activation_backward(device_dout, device_x, activation)
    truth = [
        reference.activation_forward(x.astype(np.float64), activation),
        reference.activation_backward(*wide(dout, x), activation),
    ]
    (t,) = tensors(dtype, x)
    functions = {
        "gelu": lambda: functional.gelu(t, approximate="tanh"),
        "relu": lambda: functional.relu(t),
        "swiglu": lambda: functional.silu(t.chunk(2, -1)[0]) * t.chunk(2, -1)[1],
    }
    made = functions[activation]()
    made.backward(torch.tensor(dout).to(t.dtype))
    hold(dtype, host(hip, out, dx), truth, plain(made, t.grad))


ATTENTION = [
    (1, 1, 1, 64),
    (2, 3, 2, 5),
    (1, 33, 2, 16),
    (1, 70, 1, 24),
    (1, 65, 2, 32),
    (2, 64, 1, 64),
    (1, 150, 2, 64),
    (1, 66, 1, 128),
    (1, 40, 1, 256),
    (3, 1000, 2, 64),
    (1, 1024, 2, 128),
    (1, 515, 2, 256),
    (1, 4096, 1, 64),
]
"""B, T, H, D: one token, D that is padded, each D, T that no tile divides, long rows."""


@pytest.mark.parametrize(("B", "T", "H", "D"), ATTENTION)
def test_attention(hip, rng, dtype, B, T, H, D):
    arrays = rounded(dtype, *(normal(rng, B, T, H, D) for _ in range(4)))
    q, k, v, dout = arrays
    on = device(hip, dtype, *arrays)
    out, lse = nothing(hip, (B, T, H, D), dtype), nothing(hip, (B, H, T))
    gradients = [nothing(hip, (B, T, H, D), dtype) for _ in range(3)]
    hip.attention_forward(*on[:3], out=out, lse=lse)
    hip.attention_backward(on[3], *on[:3], out, lse, *gradients)
    ours = host(hip, out, lse, *gradients)
    truth = [
        reference.attention_forward(*wide(q, k, v)),
        reference.attention_lse(*wide(q, k)),
        *reference.attention_backward(*wide(dout, q, k, v)),
    ]
    np.testing.assert_allclose(ours.pop(1), truth.pop(1), rtol=1e-5, atol=1e-5)
    t = tensors(dtype, q, k, v)
    by_head = [one.transpose(1, 2) for one in t]
    made = functional.scaled_dot_product_attention(*by_head, is_causal=True).transpose(1, 2)
    made.backward(torch.tensor(dout).to(made.dtype))
    peer = plain(made, *(one.grad for one in t))
    # dq and dk are differences whose terms may cancel: where they do, the terms' size counts.
    terms = float(np.abs(np.einsum("bthd,bthd->bth", dout, v)).max() * np.abs(q).max() / D**0.5)
    hold(dtype, ours[:1] + ours[3:], truth[:1] + truth[3:], peer[:1] + peer[3:])
    hold(dtype, ours[1:3], truth[1:3], peer[1:3], magnitude=terms if T == 1 else 0.0)


@pytest.mark.parametrize(("T", "position"), [(1, 0), (1, 37), (5, 20), (70, 3)])
def test_attention_over_a_cache(hip, rng, dtype, T, position):
    """Equal to attention over all tokens so far; the caches hold what came, bit for bit."""
    B, H, S, D = 2, 2, 96, 64
    q, k, v = rounded(dtype, *(normal(rng, B, T, H, D) for _ in range(3)))
    caches = rounded(dtype, *(normal(rng, B, H, S, D) for _ in range(2)))
    on, kept = device(hip, dtype, q, k, v), device(hip, dtype, *caches)
    ours = host(hip, hip.attention_cached(*on, *kept, position))
    truth, *after = reference.attention_cached(*wide(q, k, v, *caches), position)
    for one, other in zip(host(hip, *kept), after, strict=True):
        np.testing.assert_array_equal(one, other)
    t, *keys = tensors(dtype, q, *(one.astype(np.float32)[:, :, : position + T] for one in after))
    mask = torch.ones(T, position + T, dtype=torch.bool).tril(position)
    made = functional.scaled_dot_product_attention(t.transpose(1, 2), *keys, attn_mask=mask)
    hold(dtype, ours, [truth], plain(made.transpose(1, 2)))


@pytest.mark.parametrize(
    ("M", "E"),
    [(1, 1), (5, 37), (33, 768), (9, 1024), (4, 1600), (3, 2056), (2, 5000), (4096, 768)],
)
def test_layernorm(hip, rng, dtype, M, E):
    """dx, dweight and dbias are added to."""
    x, weight, bias, dout, dx = rounded(
        dtype,
        *(1 + 2 * normal(rng, M, E), 1 + normal(rng, E), normal(rng, E)),
        *(normal(rng, M, E), normal(rng, M, E)),
    )
    on = device(hip, dtype, x, weight, bias, dout, dx)
    out, mean, rstd = nothing(hip, (M, E), dtype), nothing(hip, (M,)), nothing(hip, (M,))
    hip.layernorm_forward(*on[:3], out=out, mean=mean, rstd=rstd)
    dweight, dbias = hip.zeros((E,)), hip.zeros((E,))
    hip.layernorm_backward(on[3], on[0], on[1], mean, rstd, on[4], dweight, dbias)
    ours = host(hip, out, on[4], dweight, dbias)
    made = reference.layernorm_forward(*wide(x, weight, bias))[0]
    gradients = list(reference.layernorm_backward(*wide(dout, x, weight)))
    gradients[0] += dx
    t = tensors(dtype, x, weight, bias)
    peer = functional.layer_norm(t[0], (E,), t[1], t[2])
    peer.backward(torch.tensor(dout).to(peer.dtype))
    theirs = [peer, t[0].grad + torch.tensor(dx).to(peer.dtype), t[1].grad, t[2].grad]
    hold(dtype, ours, [made, *gradients], plain(*theirs))


@pytest.mark.parametrize(
    ("B", "T", "V", "E"), [(1, 1, 5, 8), (2, 33, 7, 37), (3, 20, 300, 64), (8, 512, 50257, 768)]
)
def test_embedding(hip, rng, dtype, B, T, V, E):
    table, positions, dout = rounded(
        dtype, normal(rng, V, E), normal(rng, T, E), normal(rng, B, T, E)
    )
    tokens = rng.integers(0, V, (B, T), np.int32)
    on, ids = device(hip, dtype, table, positions, dout), hip.from_numpy(tokens)
    out = hip.embedding_forward(ids, *on[:2])
    dtable, dpositions = hip.zeros((V, E)), hip.zeros((T, E))
    hip.embedding_backward(on[2], ids, dtable, dpositions)
    ours = host(hip, out, dtable, dpositions)
    truth = [
        reference.embedding_forward(tokens, *wide(table, positions)),
        *reference.embedding_backward(dout.astype(np.float64), tokens, V, T),
    ]
    t, p = tensors(dtype, table, positions)
    peer = t[torch.tensor(tokens, dtype=torch.long)] + p
    peer.backward(torch.tensor(dout).to(peer.dtype))
    hold(dtype, ours, truth, plain(peer, t.grad, p.grad))


@pytest.mark.parametrize(("M", "V"), [(1, 5), (7, 37), (33, 1000), (2, 50257), (300, 50257)])
def test_cross_entropy(hip, rng, dtype, M, V):
    """The gradient takes the place of the logits; losses are float32."""
    (logits,) = rounded(dtype, 4 * normal(rng, M, V))
    targets = rng.integers(0, V, M, np.int32)
    (on,) = device(hip, dtype, logits)
    losses = nothing(hip, (M,))
    hip.cross_entropy_forward_backward(on, hip.from_numpy(targets), 1.0, losses=losses)
    ours = host(hip, losses, on)
    truth = [
        reference.cross_entropy_forward(logits.astype(np.float64), targets),
        reference.cross_entropy_backward(logits.astype(np.float64), targets, 1.0),
    ]
    (t,) = tensors(dtype, logits)
    peer = functional.cross_entropy(t, torch.tensor(targets, dtype=torch.long), reduction="none")
    peer.sum().backward()
    hold(dtype, ours, truth, plain(peer, t.grad))


def test_dropout(hip, rng, dtype):
    """What is kept is scaled and rounded once; the float32 op says what is kept."""
    (x,) = rounded(dtype, 1 + np.abs(normal(rng, 40, 33)))
    (on,) = device(hip, dtype, x)
    (ours,) = host(hip, hip.dropout_forward(on, 0.25, 7, 3))
    (full,) = host(hip, hip.dropout_forward(hip.from_numpy(x), 0.25, 7, 3))
    kept = full != 0
    np.testing.assert_array_equal(ours != 0, kept)
    (expected,) = rounded(dtype, (x.astype(np.float64) / 0.75 * kept).astype(np.float32))
    np.testing.assert_allclose(ours, expected, rtol=ULP[dtype])


def test_the_same_bits_twice(hip, rng, dtype):
    """Every reduction has one order."""
    x, dout = device(hip, dtype, normal(rng, 70, 64), normal(rng, 70, 96))
    (weight,) = device(hip, dtype, normal(rng, 96, 64))

    def once():
        dweight, dbias = hip.zeros((96, 64)), hip.zeros((96,))
        hip.linear_backward_weight(dout, x, dweight, dbias)
        out = hip.linear_forward(x, weight)
        q = x.reshape(1, 70, 1, 64)
        made, lse = nothing(hip, (1, 70, 1, 64), dtype), nothing(hip, (1, 1, 70))
        hip.attention_forward(q, q, q, out=made, lse=lse)
        gradients = [nothing(hip, (1, 70, 1, 64), dtype) for _ in range(3)]
        hip.attention_backward(q, q, q, q, made, lse, *gradients)
        return [one.tobytes() for one in host(hip, dweight, dbias, out, made, lse, *gradients)]

    assert once() == once()
