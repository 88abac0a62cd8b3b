"""Do our losses follow PyTorch's? 300 steps of two models on Tiny Shakespeare, on a GPU.

    python benchmarks/follow_torch.py [--text FILE] [--steps N] [--seeds N] [--model default|E384]
        [--json FILE]

Same weights, batches and schedule; PyTorch eager in float32, under autocast to bf16, and with a
model that is bf16 throughout beside float32 weights for the optimizer, which is our recipe; ours in
float32, bf16 and fp16. Each curve is held against PyTorch's float32 curve of the same seed.

The odd thing: after some forty steps of E384 any rounding whatever has been amplified to a
thousandth of a nat and more, up or down by chance. So two figures: the largest distance of the
first 30 steps, which shows what a precision itself adds, and the mean distance of 20-step averages
over all steps, which is noise of the same size for every 16-bit curve, PyTorch's own among them.
Both are means over the seeds.
"""

from __future__ import annotations

import argparse
from functools import partial
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
CALM = 30


def torch_losses(config, training, weights, data, low, *, throughout=False):
    """PyTorch's losses: float32, autocast to `low`, or `low` throughout, normalisations too."""
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

    def weight(name):
        return w[name].to(low) if throughout else w[name]

    def linear(x, name):
        return functional.linear(x, weight(f"{name}.weight"), weight(f"{name}.bias"))

    def norm(x, name):
        scale, offset = weight(f"{name}.weight"), weight(f"{name}.bias")
        return functional.layer_norm(x, x.shape[-1:], scale, offset)

    def forward(inputs, targets):
        B, T = inputs.shape
        x = functional.embedding(inputs, weight("token_embedding"))
        x = x + weight("position_embedding")[:T]
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
        with torch.autocast("cuda", low, enabled=low is not None and not throughout):
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
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--model", choices=MODELS, default=None)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record there")
    arguments = parser.parse_args()
    import torch

    text = arguments.text.read_text("utf-8")
    tokenizer = Tokenizer.train(text, 5000)
    ids = np.array(tokenizer.encode(text), np.uint16)
    backend = load_backend("hip")
    record = Result(
        "distance of loss curves from PyTorch's in float32, Tiny Shakespeare, 20-step averages",
        backend.description,
        {"steps": arguments.steps, "window": WINDOW, "seeds": arguments.seeds},
        machine(),
        versions("torch", backend=backend),
    )
    for name, (config, B, rate) in MODELS.items():
        if arguments.model not in (None, name):
            continue
        data = TokenData(ids, config.max_seq_len)
        options = {"batch_size": B, "steps": arguments.steps, "learning_rate": rate}
        figures: dict[str, list[tuple[float, float, float]]] = {}
        for seed in range(arguments.seeds):
            start = Parameters(config, load_backend("cpu"), training=False)
            start.initialize(seed)
            weights = start.to_dict()
            float32 = TrainConfig(**options, seed=seed)
            low = torch.bfloat16
            torch_curve = partial(torch_losses, config, float32, weights, data)
            base = torch_curve(None)
            curves = {
                "torch autocast": torch_curve(low),
                "torch bf16 throughout": torch_curve(low, throughout=True),
            }
            for dtype in ("float32", "bf16", "fp16"):
                training = TrainConfig(**options, seed=seed, dtype=dtype)
                curves[f"hipgpt {dtype}"] = our_losses(config, training, weights, data, backend)
            for label, curve in curves.items():
                distance = np.abs(curve - base)
                smooth = np.abs(np.convolve(curve - base, np.full(WINDOW, 1 / WINDOW), "valid"))
                figures.setdefault(label, []).append(
                    (distance[:CALM].max(), smooth.mean(), smooth.max())
                )
        print(f"{name}: distance from torch float32 in nats, means over {arguments.seeds} seeds")
        for label, rows in figures.items():
            first, mean, largest = (float(number) for number in np.mean(rows, axis=0))
            record.rows.append(
                Row(name, label, {"first 30": first, "mean nats": mean, "largest nats": largest})
            )
            print(
                f"  {label:22} largest of the first {CALM} steps {first:.6f}; averages: "
                f"mean {mean:.5f}, largest {largest:.5f}"
            )
    if arguments.json:
        record.write(arguments.json)


if __name__ == "__main__":
    main()
