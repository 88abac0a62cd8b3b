"""The ops against programs that nobody here wrote: PyTorch, and the filters of transformers.

The odd thing: PyTorch in float64 takes the place of the reference, and PyTorch in float32 that of
plain float32 NumPy, so the rule of exactness is the same: at most twice as far from the truth.
"""

import numpy as np
import pytest

from .arrays import normal, on_device
from .chi_square import assert_follows
from .exactness import assert_exact

torch = pytest.importorskip("torch", reason="needs PyTorch, in the environment `peers`")
functional = torch.nn.functional


def of_torch(function, *, inputs):
    """A formula for `assert_exact`: out, then the gradients of the first `inputs` arguments.

    The last argument is dout. Everything is in the dtype of what comes in.
    """

    def formula(*arrays):
        tensors = [torch.tensor(array) for array in arrays]
        for tensor in tensors[:inputs]:
            tensor.requires_grad_()
        out = function(*tensors[:-1])
        out.backward(tensors[-1])
        return (out.detach().numpy(), *(tensor.grad.numpy() for tensor in tensors[:inputs]))

    return formula


@pytest.mark.parametrize("activation", [None, "gelu", "gelu_erf", "relu"])
def test_linear(backend, rng, activation):
    x, weight, bias, dout = (
        normal(rng, 4, 33, 65),
        normal(rng, 50, 65),
        normal(rng, 50),
        normal(rng, 4, 33, 50),
    )
    device_x, device_weight, device_bias, device_dout = on_device(backend, x, weight, bias, dout)
    before = backend.empty(dout.shape)
    kept = {} if activation is None else {"preactivation": before}
    out = backend.linear_forward(
        device_x, device_weight, device_bias, activation=activation, **kept
    )
    dz = device_dout
    if activation is not None:
        dz = backend.activation_backward(device_dout, before, activation)
    dx = backend.linear_backward_input(dz, device_weight)
    dweight, dbias = backend.zeros(weight.shape), backend.zeros(bias.shape)
    backend.linear_backward_weight(dz, device_x, dweight, dbias)

    def layer(x, weight, bias):
        z = functional.linear(x, weight, bias)
        if activation == "gelu":
            return functional.gelu(z, approximate="tanh")
        if activation == "gelu_erf":
            return functional.gelu(z)
        return functional.relu(z) if activation == "relu" else z

    ours = tuple(map(backend.to_numpy, (out, dx, dweight, dbias)))
    assert_exact(ours, of_torch(layer, inputs=3), x, weight, bias, dout)


def test_gelu_and_silu(backend, rng):
    """swiglu is PyTorch's silu of one half times the other."""
    for activation, function in (
        ("gelu", lambda x: functional.gelu(x, approximate="tanh")),
        ("gelu_erf", functional.gelu),
        ("relu", functional.relu),
        ("swiglu", lambda x: functional.silu(x.chunk(2, dim=-1)[0]) * x.chunk(2, dim=-1)[1]),
    ):
        x = 4 * normal(rng, 33, 130)
        dout = normal(rng, 33, 65 if activation == "swiglu" else 130)
        device_x, device_dout = on_device(backend, x, dout)
        out = backend.activation_forward(device_x, activation)
        dx = backend.activation_backward(device_dout, device_x, activation)
        ours = backend.to_numpy(out), backend.to_numpy(dx)
        assert_exact(ours, of_torch(function, inputs=1), x, dout)


def test_layernorm(backend, rng):
    x, weight, bias, dout = (
        2 + 3 * normal(rng, 3, 21, 96),
        normal(rng, 96),
        normal(rng, 96),
        normal(rng, 3, 21, 96),
    )
    device = on_device(backend, x, weight, bias)
    mean, rstd = backend.empty((3, 21)), backend.empty((3, 21))
    out = backend.layernorm_forward(*device, mean=mean, rstd=rstd)
    gradients = backend.zeros(x.shape), backend.zeros((96,)), backend.zeros((96,))
    (device_dout,) = on_device(backend, dout)
    backend.layernorm_backward(device_dout, *device[:2], mean, rstd, *gradients)

    def layer(x, weight, bias):
        return functional.layer_norm(x, (96,), weight, bias, eps=1e-5)

    ours = tuple(map(backend.to_numpy, (out, *gradients)))
    assert_exact(ours, of_torch(layer, inputs=3), x, weight, bias, dout)


@pytest.mark.parametrize(("B", "T", "H", "D"), [(2, 33, 3, 16), (1, 150, 2, 64), (2, 1, 2, 8)])
def test_attention(backend, rng, B, T, H, D):
    q, k, v, dout = (normal(rng, B, T, H, D) for _ in range(4))
    device = on_device(backend, q, k, v)
    out, lse = backend.empty(q.shape), backend.empty((B, H, T))
    backend.attention_forward(*device, out=out, lse=lse)
    gradients = [backend.empty(q.shape) for _ in range(3)]
    (device_dout,) = on_device(backend, dout)
    backend.attention_backward(device_dout, *device, out, lse, *gradients)

    def layer(q, k, v):
        heads_first = (one.transpose(1, 2) for one in (q, k, v))
        out = functional.scaled_dot_product_attention(*heads_first, is_causal=True)
        return out.transpose(1, 2)

    terms = float(np.abs(np.einsum("bthd,bshd->bhts", dout, v)).max() * np.abs(k).max())
    ours = tuple(map(backend.to_numpy, (out, *gradients)))
    formula = of_torch(layer, inputs=3)
    assert_exact(ours[::3], lambda *a: formula(*a)[::3], q, k, v, dout)  # out and dv
    assert_exact(  # dq and dk, whose two terms cancel: for T = 1 to nothing
        ours[1:3], lambda *a: formula(*a)[1:3], q, k, v, dout, magnitude=terms / D**0.5
    )


def test_cross_entropy(backend, rng):
    """ignore_index is our −1; the mean over the rows that count is the scale 1 / rows."""
    M, V = 37, 1003
    logits, targets = 3 * normal(rng, M, V), rng.integers(0, V, M, np.int32)
    targets[::5] = -1
    count = int((targets >= 0).sum())
    device_logits, device_targets = on_device(backend, logits, targets)
    losses = backend.cross_entropy_forward_backward(device_logits, device_targets, 1 / count)

    def formula(logits):
        tensor = torch.tensor(logits, requires_grad=True)
        losses = functional.cross_entropy(
            tensor, torch.tensor(targets).long(), ignore_index=-1, reduction="none"
        )
        (losses.sum() / count).backward()
        return losses.detach().numpy(), tensor.grad.numpy()

    ours = backend.to_numpy(losses), backend.to_numpy(device_logits)
    assert_exact(ours, formula, logits)


def test_embedding(backend, rng):
    """PyTorch's two embeddings, added; repeated ids add up."""
    B, T, V, S, E = 4, 17, 23, 32, 40
    tokens = rng.integers(0, V, (B, T), np.int32)
    token_table, position_table, dout = normal(rng, V, E), normal(rng, S, E), normal(rng, B, T, E)
    device_tokens, device_dout = on_device(backend, tokens, dout)
    tables = on_device(backend, token_table, position_table)
    out = backend.embedding_forward(device_tokens, *tables)
    gradients = backend.zeros((V, E)), backend.zeros((S, E))
    backend.embedding_backward(device_dout, device_tokens, *gradients)

    def layer(token_table, position_table):
        ids = torch.tensor(tokens).long()
        return functional.embedding(ids, token_table) + functional.embedding(
            torch.arange(T), position_table
        )

    ours = tuple(map(backend.to_numpy, (out, *gradients)))
    assert_exact(ours, of_torch(layer, inputs=2), token_table, position_table, dout)


@pytest.mark.parametrize("max_norm", [0.0, 1.0, 1e6])
def test_ten_steps_of_adamw(backend, rng, max_norm):
    """torch.optim.AdamW with two groups, one decayed, and clip_grad_norm_ over both."""
    n, cut = 2000, 1200
    weights = normal(rng, n)
    every_gradient = normal(rng, 10, n)
    options = {"learning_rate": 3e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
    device, m, v = backend.from_numpy(weights), backend.zeros((n,)), backend.zeros((n,))
    norms = []
    for step, gradients in enumerate(every_gradient, start=1):
        (device_gradients,) = on_device(backend, gradients)
        norm = backend.gradient_norm(device_gradients)
        norms.append(backend.to_numpy(norm))
        for part, decay in ((slice(0, cut), 0.1), (slice(cut, n), 0.0)):
            backend.adamw_step(
                device[part],
                device_gradients[part],
                m[part],
                v[part],
                **options,
                weight_decay=decay,
                step=step,
                norm=norm,
                max_norm=max_norm,
            )

    def formula(weights, every_gradient):
        decayed = torch.nn.Parameter(torch.tensor(weights[:cut]))
        others = torch.nn.Parameter(torch.tensor(weights[cut:]))
        optimizer = torch.optim.AdamW(
            [{"params": [decayed], "weight_decay": 0.1}, {"params": [others], "weight_decay": 0}],
            lr=3e-3,
            betas=(0.9, 0.999),
            eps=1e-8,
        )
        norms = []
        for gradients in every_gradient:
            decayed.grad = torch.tensor(gradients[:cut])
            others.grad = torch.tensor(gradients[cut:])
            limit = max_norm or float("inf")
            norms.append(torch.nn.utils.clip_grad_norm_([decayed, others], limit).numpy())
            optimizer.step()
        after = np.concatenate([decayed.detach().numpy(), others.detach().numpy()])
        return after, np.array(norms)

    ours = backend.to_numpy(device), np.array(norms)
    assert_exact(ours, formula, weights, every_gradient)


# --- sampling -------------------------------------------------------------------------------------

FILTERS = [
    {},
    {"temperature": 0.6},
    {"top_k": 7},
    {"top_p": 0.7},
    {"min_p": 0.15},
    {"repetition_penalty": 1.4},
    {"repetition_penalty": 1.2, "temperature": 0.9, "top_k": 15, "top_p": 0.8, "min_p": 0.1},
    {"repetition_penalty": 0.8, "temperature": 2.0, "top_k": 9, "top_p": 0.95, "min_p": 0.05},
]


def probabilities_of_transformers(z, seen, filters):
    """softmax after transformers' processors in the contract's order; (V,) float64."""
    transformers = pytest.importorskip(
        "transformers", reason="needs transformers, in the environment `peers`"
    )
    processors = [
        ("repetition_penalty", transformers.RepetitionPenaltyLogitsProcessor),
        ("temperature", transformers.TemperatureLogitsWarper),
        ("top_k", transformers.TopKLogitsWarper),
        ("top_p", transformers.TopPLogitsWarper),
        ("min_p", transformers.MinPLogitsWarper),
    ]
    ids = torch.tensor(np.flatnonzero(seen))[None]  # (1, ids that have occurred)
    scores = torch.tensor(z.astype(np.float64))[None]  # (1, V)
    for name, processor in processors:
        if name in filters:
            scores = processor(filters[name])(ids, scores)
    return torch.softmax(scores, dim=-1)[0].numpy()


@pytest.mark.parametrize("filters", FILTERS, ids=lambda f: ",".join(f) or "none")
def test_sampling_filters(backend, rng, filters):
    """The ids that can be drawn are the same set, and each comes as often as it should."""
    V, draws = 30, 3000
    z = 2 * normal(rng, V)
    seen = rng.integers(0, 2, V, np.uint8)
    p = probabilities_of_transformers(z, seen, filters)
    logits, device_seen = on_device(backend, np.tile(z, (draws, 1)), np.tile(seen, (draws, 1)))
    drawn = backend.to_numpy(
        backend.sample(logits, seed=7, position=3, seen=device_seen, **filters)
    )
    assert_follows(drawn, p)
    often = np.flatnonzero(p * draws > 20)  # which so many draws cannot miss
    assert set(often) <= set(drawn)
