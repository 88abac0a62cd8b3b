"""Do our losses follow PyTorch's? 300 steps of two models on Tiny Shakespeare, on a GPU.

    python benchmarks/follow_torch.py [--text FILE] [--steps N] [--model default|E384]
        [--json FILE]

Same weights, same batches, same schedule; PyTorch eager in float32 and in bf16 (autocast, float32
weights), ours in float32, bf16 and fp16. A loss curve is held against PyTorch's float32 curve by
the mean and the largest distance of its 20-step averages. PyTorch's own bf16 curve gives the
measure: ours should be about as near.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from hipgpt_cli.bench.machine import machine, versions
from hipgpt_cli.bench.result import Result, Row
from hipgpt_kernels import load_backend
from hipgpt_model import GPTConfig, Parameters, TokenData, TrainConfig, Trainer, learning_rate
from hipgpt_tokenizer import Tokenizer

MODELS = {  # configuration, B, highest learning rate
    "default": (GPTConfig(5000), 32, 1e-3),
    "E384": (GPTConfig(5000, 256, 384, 6, 6, 1536), 32, 1e-3),
}
WINDOW = 20


def torch_losses(config, training, weights, data, low):
    """PyTorch's losses, in float32 or under autocast to `low`."""
    import torch
    from torch.nn import functional

    w = {name: torch.tensor(a, device="cuda", requires_grad=True) for name, a in weights.items()}
    optimizer = torch.optim.AdamW(
        [
            {"params": [t for t in w.values() if t.ndim == 2]},
            {"params": [t for t in w.values() if t.ndim != 2], "weight_decay": 0.0},
        ],
        betas=(training.beta1, training.beta2),
        eps=training.epsilon,
        weight_decay=training.weight_decay,
        fused=True,
    )

    def linear(x, name):
        return functional.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def norm(x, name):
        return functional.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])

    def forward(inputs, targets):
        B, T = inputs.shape
        x = functional.embedding(inputs, w["token_embedding"]) + w["position_embedding"][:T]
        for i in range(config.num_layers):
            block = f"blocks.{i}"
            qkv = linear(norm(x, f"{block}.norm1"), f"{block}.attention.qkv")
            q, k, v = (
                part.view(B, T, config.num_heads, config.head_dim).transpose(1, 2)
                for part in qkv.split(config.embed_dim, dim=2)
            )
            heads = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            heads = heads.transpose(1, 2).reshape(B, T, config.embed_dim)
            x = x + linear(heads, f"{block}.attention.output")
            up = linear(norm(x, f"{block}.norm2"), f"{block}.feed_forward.up")
            up = functional.gelu(up, approximate="tanh")
            x = x + linear(up, f"{block}.feed_forward.down")
        logits = linear(norm(x, "final_norm"), "output")
        return functional.cross_entropy(
            logits.reshape(-1, config.vocab_size).float(), targets.reshape(-1)
        )

    corpus = torch.tensor(data.tokens.astype(np.int64), device="cuda")
    reach = torch.arange(data.T, device="cuda")
    losses = []
    for step in range(training.steps):
        B = training.batch_size
        starts = torch.tensor(data.train_batch(step * B, B, training.seed), device="cuda")
        at = starts[:, None] + reach
        with torch.autocast("cuda", low, enabled=low is not None):
            loss = forward(corpus[at], corpus[at + 1])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(w.values(), training.clip)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, training)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.detach())
    return torch.stack(losses).cpu().numpy()


def our_losses(config, training, weights, data, backend):
    """Our losses in the precision of `training`."""
    parameters = Parameters(config, backend, training=True, dtype=training.dtype)
    parameters.load(weights)
    trainer = Trainer(config, training, data, backend, parameters)
    return np.array([report.loss for report in trainer.run()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    beside = Path(__file__).parents[3].parent / "shared" / "data" / "tinyshakespeare.txt"
    parser.add_argument("--text", type=Path, default=beside)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--model", choices=MODELS, default=None)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record there")
    arguments = parser.parse_args()
    import torch

    text = arguments.text.read_text("utf-8")
    tokenizer = Tokenizer.train(text, 5000)
    ids = np.array(tokenizer.encode(text), np.uint16)
    backend = load_backend("hip")
    record = Result(
        "Distance of loss curves from PyTorch's in float32, Tiny Shakespeare, 20-step averages",
        backend.description,
        {"steps": arguments.steps, "window": WINDOW},
        machine(),
        versions("torch", backend=backend),
    )
    for name, (config, B, rate) in MODELS.items():
        if arguments.model not in (None, name):
            continue
        data = TokenData(ids, config.max_seq_len)
        options = {"batch_size": B, "steps": arguments.steps, "learning_rate": rate}
        start = Parameters(config, load_backend("cpu"), training=False)
        start.initialize(0)
        weights = start.to_dict()
        float32 = TrainConfig(**options)
        curves = {
            "torch float32": torch_losses(config, float32, weights, data, None),
            "torch bf16": torch_losses(config, float32, weights, data, torch.bfloat16),
        }
        for dtype in ("float32", "bf16", "fp16"):
            training = TrainConfig(**options, dtype=dtype)
            curves[f"hipgpt {dtype}"] = our_losses(config, training, weights, data, backend)
        smooth = {
            label: np.convolve(curve, np.full(WINDOW, 1 / WINDOW), "valid")
            for label, curve in curves.items()
        }
        print(f"{name}: {arguments.steps} steps; distance from torch float32, in nats")
        for label, curve in smooth.items():
            distance = np.abs(curve - smooth["torch float32"])
            figures = {
                "mean nats": float(distance.mean()),
                "largest nats": float(distance.max()),
                "last loss": float(curve[-1]),
            }
            record.rows.append(Row(name, label, figures))
            print(
                f"  {label:16} first {curves[label][0]:.5f}  last {WINDOW}: {curve[-1]:.5f}  "
                f"mean {distance.mean():.5f}  largest {distance.max():.5f}"
            )
    if arguments.json:
        record.write(arguments.json)


if __name__ == "__main__":
    main()
