"""One training step on a GPU, ours against PyTorch's best setting, in one process: ms, tokens/s.

    python benchmarks/bench_step_gpu.py [--size default|E256L8|124M] [--dtype bf16] [--no-torch]
                                        [--profile FILE] [--batch B] [--checkpoint-activations]
                                        [--json FILE]

Both get the same weights and the same windows, and must agree on the first loss. PyTorch's side is
compiled by torch.compile, with fused AdamW, and its whole step captured as one CUDA graph, which is
faster than torch.compile's own graphs (mode "reduce-overhead") at every size here. Rounds of steps
alternate between the two; the figure is the median round. `--profile` adds our time by kernel.

The odd thing: peak memory is what the driver says is gone while one side alone is there, so ours
is measured before PyTorch is imported; it includes the code of the kernels.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from hipgpt_cli.bench.machine import machine, versions
from hipgpt_cli.bench.result import Result, Row
from hipgpt_kernels import load_backend
from hipgpt_model import GPTConfig, TokenData, TrainConfig, Trainer

SIZES = {  # configuration, B, steps of a round
    "default": (GPTConfig(5000, 32, 128, 2, 4, 256), 32, 400),
    "E256L8": (GPTConfig(5000, 256, 256, 8, 8, 1024), 32, 100),
    "124M": (GPTConfig(50257, 1024, 768, 12, 12, 3072, tied=True, output_bias=False), 32, 8),
}
ROUNDS = 5
DTYPES = {"float32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def flop_of(config, B, T):
    """Of the model's arithmetic in a step: Kaplan et al. 2020, section 2.1, and the attention."""
    parts = config.parameters_by_part()
    matrices = config.num_parameters() - parts["position embedding"]
    if not config.tied:
        matrices -= parts["token embedding"]
    return (6 * matrices + 6 * config.num_layers * config.embed_dim * T) * B * T


class Ours:
    """Our trainer, and how much of the device's memory it takes."""

    def __init__(self, config, training, data, *, graph):
        self.backend = load_backend("hip")
        before, _ = self.backend.memory_info()
        self.trainer = Trainer(
            config, training, data, self.backend, report_every=10**9, graph=graph
        )
        self.weights = None
        self.first_loss = None
        self.trainer.report_every = 1
        self.weights = self.trainer.model.parameters.to_dict()
        self.first_loss = self.trainer.step_report().loss
        self.trainer.report_every = 10**9
        self.run(3)
        after, _ = self.backend.memory_info()
        self.memory = before - after

    def run(self, steps):
        """Seconds a step."""
        self.backend.synchronize()
        began = time.perf_counter()
        for _ in range(steps):
            self.trainer.step_report()
        self.backend.synchronize()
        return (time.perf_counter() - began) / steps


class Theirs:
    """The same model in PyTorch; the whole step is one CUDA graph."""

    def __init__(self, config, training, weights, windows, dtype):
        import torch
        from torch.nn import functional

        torch.set_float32_matmul_precision("high" if dtype == "tf32" else "highest")
        torch.cuda.reset_peak_memory_stats()
        self.torch = torch
        low = getattr(torch, DTYPES.get(dtype, "float32"))
        w = {
            name: torch.tensor(a, device="cuda", requires_grad=True) for name, a in weights.items()
        }
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [t for t in w.values() if t.ndim == 2]},
                {"params": [t for t in w.values() if t.ndim != 2], "weight_decay": 0.0},
            ],
            lr=torch.tensor(training.learning_rate, device="cuda"),
            betas=(training.beta1, training.beta2),
            weight_decay=training.weight_decay,
            fused=True,
            capturable=True,
        )
        T = windows.shape[1] - 1
        self.inputs = torch.tensor(windows[:, :-1].astype(np.int64), device="cuda")
        self.targets = torch.tensor(windows[:, 1:].astype(np.int64), device="cuda")

        def forward(inputs, targets):
            def linear(x, name):
                return functional.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

            def norm(x, name):
                return functional.layer_norm(
                    x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"]
                )

            B = inputs.shape[0]
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
            x = norm(x, "final_norm")
            output = w["token_embedding" if config.tied else "output.weight"]
            logits = functional.linear(x, output, w.get("output.bias"))
            return functional.cross_entropy(
                logits.reshape(-1, config.vocab_size).float(), targets.reshape(-1)
            )

        compiled = torch.compile(forward)

        def step():
            with torch.autocast("cuda", low, enabled=low != torch.float32):
                loss = compiled(self.inputs, self.targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(w.values(), training.clip, foreach=True)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            return loss

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self.first_loss = step().item()
            for _ in range(2):
                step()
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.loss = step()
        self.run(3)
        self.memory = torch.cuda.max_memory_reserved()
        self.name = f"torch {torch.__version__}, compiled, one graph"

    def run(self, steps):
        """Seconds a step."""
        self.torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(steps):
            self.graph.replay()
        self.torch.cuda.synchronize()
        return (time.perf_counter() - began) / steps


def profile(ours, steps, path):
    """Our device time by kernel, in µs a step, largest first; CUPTI counts it for PyTorch."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    ours.run(1)
    with record(activities=[ProfilerActivity.CUDA]) as recorded:
        ours.run(steps)
    rows = [
        (event.self_device_time_total / steps, event.count / steps, event.key)
        for event in recorded.key_averages()
    ]
    rows.sort(reverse=True)
    total = sum(us for us, _, _ in rows)
    lines = [f"{total:12.1f} µs in all, {sum(count for _, count, _ in rows):.0f} launches a step"]
    lines += [
        f"{us:12.1f} µs {100 * us / total:5.1f}% {count:7.1f}×  {name[:70]}"
        for us, count, name in rows[:40]
    ]
    Path(path).write_text("\n".join(lines) + "\n", "utf-8")
    print("\n".join(lines[:28]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="default")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    parser.add_argument("--batch", type=int, default=None)
    parser.add_argument("--steps", type=int, default=None, help="of a round")
    parser.add_argument("--no-graph", action="store_true")
    parser.add_argument("--no-torch", action="store_true")
    parser.add_argument("--checkpoint-activations", action="store_true")
    parser.add_argument("--profile", metavar="FILE", help="write our time by kernel there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record there")
    arguments = parser.parse_args()
    config, B, steps = SIZES[arguments.size]
    B, steps = arguments.batch or B, arguments.steps or steps
    T = config.max_seq_len

    training = TrainConfig(
        batch_size=B,
        steps=10**9,
        learning_rate=1e-5,
        warmup_steps=0,
        schedule="constant",
        dtype=arguments.dtype,
        checkpoint_activations=arguments.checkpoint_activations,
    )
    ids = np.random.default_rng(0).integers(0, config.vocab_size, 400 * T).astype(np.uint16)
    data = TokenData(ids, T)
    ours = Ours(config, training, data, graph=not arguments.no_graph)
    title = (
        f"training step, {arguments.size}: {config.num_parameters() / 1e6:.2f} M parameters, "
        f"B{B} T{T}, {arguments.dtype}, "
        f"{'recomputed activations, ' * arguments.checkpoint_activations}"
        f"median of {ROUNDS} rounds of {steps} steps"
    )
    print(f"{ours.backend.description}\n{title}")
    sides = {"hipgpt": ours}
    if not arguments.no_torch:
        starts = data.train_batch(0, B, training.seed)
        windows = np.stack([ids[start : start + T + 1] for start in starts])
        theirs = Theirs(config, training, ours.weights, windows, arguments.dtype)
        sides[theirs.name] = theirs
        difference = abs(ours.first_loss / theirs.first_loss - 1)
        assert difference < 2e-3, (ours.first_loss, theirs.first_loss)
    times = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, side in sides.items():
            times[name].append(side.run(steps))
    record = Result(
        title,
        ours.backend.description,
        {
            "size": arguments.size,
            "model": config.to_dict(),
            "training": training.to_dict(),
            "graph": not arguments.no_graph,
        },
        machine(),
        versions("torch", backend=ours.backend),
    )
    base = statistics.median(times[list(sides)[-1]])
    for name, side in sides.items():
        seconds = statistics.median(times[name])
        row = {
            "ms": seconds * 1e3,
            "tokens/s": B * T / seconds,
            "TFLOP/s": flop_of(config, B, T) / seconds / 1e12,
            "bytes": side.memory,
        }
        record.rows.append(Row("step", name, row))
        print(
            f"{name:44} {row['ms']:9.3f} ms/step {row['tokens/s']:12,.0f} tokens/s "
            f"{row['TFLOP/s']:6.1f} TFLOP/s {row['bytes'] / 1e9:6.2f} GB  {base / seconds:.2f}×"
        )
    if arguments.json:
        record.write(arguments.json)
    if arguments.profile:
        profile(ours, max(steps // 20, 3), arguments.profile)


if __name__ == "__main__":
    main()
