"""The model against programs that nobody here wrote: PyTorch and Hugging Face's GPT-2.

The odd thing: the PyTorch GPT below is written once and run in float32 and in float64. The float64
run is the truth; the float32 run says how large float32's rounding is, and ours may be twice that.
"""

import math

import numpy as np
import pytest

from hipgpt_model import TokenData, TrainConfig, Trainer, learning_rate, parameter_table
from hipgpt_model.config import GPTConfig

from .models import (
    VARIANTS,
    losses_and_gradients,
    make_model,
    random_batch,
    random_weights,
    tiny_config,
)

torch = pytest.importorskip("torch", reason="PyTorch is in the environment `peers` only")
F = torch.nn.functional

FLOOR = 2e-7
"""Relative to the array's size: the error of a small array is a matter of luck, a few times 6e-8.
Measured over six seeds of all shapes: ours is 0.96 (NumPy) and 1.00 (compiled) of PyTorch's in the
median, and at most twice PyTorch's plus 1.3e-7."""

SHAPES = {
    **VARIANTS,
    "head-of-7": {"embed_dim": 21, "num_heads": 3, "ff_dim": 50, "vocab_size": 101},
    "swiglu-untied": {"activation": "swiglu", "final_norm": False, "num_layers": 3},
    "relu-tied": {"activation": "relu", "tied": True, "output_bias": False},
}


def torch_weights(weights, dtype):
    return {
        name: torch.tensor(array, dtype=dtype, requires_grad=True)
        for name, array in weights.items()
    }


def torch_logits(config, w, inputs):
    """A GPT in PyTorch's own operations."""

    def norm(x, name):
        return F.layer_norm(
            x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], config.norm_epsilon
        )

    def linear(x, name):
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    B, T = inputs.shape
    x = F.embedding(inputs, w["token_embedding"]) + w["position_embedding"][:T]
    for i in range(config.num_layers):
        block = f"blocks.{i}"
        qkv = linear(norm(x, f"{block}.norm1"), f"{block}.attention.qkv")
        q, k, v = (
            part.view(B, T, config.num_heads, config.head_dim).transpose(1, 2)
            for part in qkv.split(config.embed_dim, dim=2)
        )
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + linear(heads.transpose(1, 2).reshape(B, T, -1), f"{block}.attention.output")
        up = linear(norm(x, f"{block}.norm2"), f"{block}.feed_forward.up")
        if config.activation == "gelu":
            up = F.gelu(up, approximate="tanh")
        elif config.activation == "gelu_erf":
            up = F.gelu(up)
        elif config.activation == "relu":
            up = F.relu(up)
        else:
            gate, value = up.chunk(2, dim=-1)
            up = F.silu(gate) * value
        x = x + linear(up, f"{block}.feed_forward.down")
    if config.final_norm:
        x = norm(x, "final_norm")
    output = w["token_embedding" if config.tied else "output.weight"]
    return F.linear(x, output, w["output.bias"] if config.output_bias else None)


def torch_run(config, weights, inputs, targets, dtype):
    """Logits, losses and gradients as NumPy arrays."""
    w = torch_weights(weights, dtype)
    logits = torch_logits(config, w, torch.tensor(inputs, dtype=torch.long))
    losses = F.cross_entropy(
        logits.reshape(-1, config.vocab_size),
        torch.tensor(targets.ravel(), dtype=torch.long),
        reduction="none",
    )
    losses.mean().backward()
    gradients = {name: tensor.grad.numpy() for name, tensor in w.items()}
    return logits.detach().numpy(), losses.detach().numpy(), gradients


def assert_as_exact(ours, theirs, exact, name):
    """Our root mean square error is at most twice PyTorch's in float32, plus the floor."""
    size, error, theirs_error = (
        math.sqrt((array.astype(np.float64) ** 2).mean())
        for array in (exact, ours - exact, theirs - exact)
    )
    assert error <= 2 * theirs_error + FLOOR * size, (
        f"{name}: relative error {error / size:.1e}, PyTorch's {theirs_error / size:.1e}"
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_losses_and_every_gradient(backend, rng, shape):
    config = tiny_config(**SHAPES[shape])
    weights = random_weights(config, rng, scale=0.15)
    inputs, targets = random_batch(config, rng, 4)
    exact, theirs = (
        torch_run(config, weights, inputs, targets, dtype)
        for dtype in (torch.float64, torch.float32)
    )
    model = make_model(config, backend, weights)
    logits = backend.to_numpy(model.logits(backend.from_numpy(inputs)))
    losses, gradients = losses_and_gradients(model, inputs, targets)
    assert_as_exact(logits, theirs[0], exact[0], "logits")
    assert_as_exact(losses, theirs[1], exact[1], "losses")
    for name, gradient in gradients.items():
        assert_as_exact(gradient, theirs[2][name], exact[2][name], name)


@pytest.mark.parametrize("shape", ["default", "gpt2", "swiglu-untied", "seed", "relu-tied"])
@pytest.mark.parametrize("grad_accum", [1, 3])
def test_ten_steps_give_the_same_ten_losses(backend, shape, grad_accum):
    """torch.optim.AdamW with decay on matrices only and clip_grad_norm_, against the Trainer."""
    config = tiny_config(**SHAPES[shape])
    training = TrainConfig(
        batch_size=4,
        steps=10,
        learning_rate=0.01,
        warmup_steps=3,
        grad_accum=grad_accum,
        clip=0.5,
    )
    data = TokenData((np.arange(2000) ** 2 % config.vocab_size).astype(np.uint16), 12)
    trainer = Trainer(config, training, data, backend)
    w = torch_weights(trainer.model.parameters.to_dict(), torch.float32)
    optimizer = torch.optim.AdamW(
        [
            {"params": [tensor for tensor in w.values() if tensor.ndim == 2]},
            {"params": [tensor for tensor in w.values() if tensor.ndim != 2], "weight_decay": 0.0},
        ],
        betas=(training.beta1, training.beta2),
        eps=training.epsilon,
        weight_decay=training.weight_decay,
    )
    position = 0
    clipped = 0
    for step in range(training.steps):
        total = 0.0
        for _ in range(grad_accum):
            starts = data.train_batch(position, 4, training.seed)
            position += 4
            rows = np.stack([data.tokens[start : start + 13] for start in starts]).astype(np.int64)
            logits = torch_logits(config, w, torch.tensor(rows[:, :-1]))
            loss = F.cross_entropy(
                logits.reshape(-1, config.vocab_size), torch.tensor(rows[:, 1:]).reshape(-1)
            )
            (loss / grad_accum).backward()
            total += loss.item() / grad_accum
        norm = torch.nn.utils.clip_grad_norm_(w.values(), training.clip).item()
        clipped += norm > training.clip
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, training)
        optimizer.step()
        optimizer.zero_grad()
        report = trainer.step_report()
        assert report.loss == pytest.approx(total, rel=2e-6)
        assert report.norm == pytest.approx(norm, rel=2e-5)
    assert clipped, "no step was clipped, so clipping was not tested"
    for name, tensor in w.items():
        ours = backend.to_numpy(trainer.model.parameters[name])
        if name.endswith("qkv.bias"):  # the keys' part has gradient 0: AdamW makes it noise
            ours = np.delete(ours, np.s_[config.embed_dim : 2 * config.embed_dim])
            tensor = torch.cat([tensor[: config.embed_dim], tensor[2 * config.embed_dim :]])  # noqa: PLW2901
        assert np.abs(ours - tensor.detach().numpy()).max() < 2e-4, name


def test_transformers_gpt2_gives_the_same_logits(backend, rng):
    transformers = pytest.importorskip(
        "transformers", reason="transformers is in the environment `peers` only"
    )
    config = GPTConfig(
        101, max_seq_len=20, embed_dim=48, num_layers=3, num_heads=4, ff_dim=192,
        tied=True, output_bias=False,
    )  # fmt: skip
    theirs = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=101, n_positions=20, n_embd=48, n_layer=3, n_head=4,
            attn_implementation="eager",
        )
    ).eval()  # fmt: skip
    with torch.no_grad():
        for tensor in theirs.parameters():
            values = rng.standard_normal(tuple(tensor.shape)) * 0.15
            tensor.copy_(torch.tensor(values) + (1.0 if tensor.ndim == 1 else 0.0))
    state = theirs.state_dict()
    weights = {name: np.ascontiguousarray(gpt2_tensor(state, name)) for name in names_of(config)}
    model = make_model(config, backend, weights, training=False)
    inputs, _ = random_batch(config, rng, 3)
    tokens = torch.tensor(inputs, dtype=torch.long)
    with torch.no_grad():
        expected = theirs(tokens).logits.numpy()
        exact = theirs.double()(tokens).logits.numpy()
    logits = backend.to_numpy(model.logits(backend.from_numpy(inputs)))
    assert_as_exact(logits, expected, exact, "logits")
    assert math.isclose(np.abs(exact).max(), np.abs(logits).max(), rel_tol=1e-5)


def names_of(config):
    return [spec.name for spec in parameter_table(config)]


def gpt2_tensor(state, name):
    """Our tensor of that name out of GPT-2's: its Conv1D weights are (in, out), ours (out, in)."""
    parts = {
        "token_embedding": "wte.weight",
        "position_embedding": "wpe.weight",
        "final_norm": "ln_f",
        "blocks": "h",
        "norm1": "ln_1",
        "norm2": "ln_2",
        "qkv": "c_attn",
        "attention": "attn",
        "output": "c_proj",
        "feed_forward": "mlp",
        "up": "c_fc",
        "down": "c_proj",
    }
    theirs = "transformer." + ".".join(parts.get(part, part) for part in name.split("."))
    array = state[theirs].numpy()
    return array.T if array.ndim == 2 and "embedding" not in name else array
