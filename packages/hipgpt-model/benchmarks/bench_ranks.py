"""Weak scaling over a machine's GPUs, ours against PyTorch's DDP: tokens/s, efficiency, memory.

    python benchmarks/bench_ranks.py [--ranks 1 2 4] [--batch 32] [--steps 10] [--only ours]

GPT-2 124M in bf16 at T = 1024, so many rows a GPU. Every number of ranks is a job of its own: ours
is started by mpiexec (ZeRO 1), PyTorch's by torchrun (torch.compile, DistributedDataParallel, fused
AdamW). Efficiency is tokens/s over those of one GPU times the ranks; a single process of ours
replays a graph and one of PyTorch's has no DDP, so neither is flattered. `--check` first trains a
smaller model for ten steps on each number of ranks, with the same rows in all: equal losses.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from hipgpt_cli.bench.machine import machine, versions
from hipgpt_cli.bench.result import Result, Row
from hipgpt_model import GPTConfig, TokenData, TrainConfig, Trainer

CONFIG = GPTConfig(50257, 1024, 768, 12, 12, 3072, tied=True, output_bias=False)
SMALL = GPTConfig(5000, 256, 256, 8, 8, 1024)
ROUNDS = 5


def ours(arguments: argparse.Namespace) -> None:
    """One rank of ours."""
    from hipgpt_kernels import load_backend
    from hipgpt_model.distributed.ranks import Ranks
    from hipgpt_model.distributed.world import find_world

    world = find_world()
    ranks = None if world is None else Ranks(world, arguments.zero)
    size = 1 if world is None else world.size
    backend = load_backend(arguments.device, 0 if world is None else world.local_rank)
    config = SMALL if arguments.check else CONFIG
    T = config.max_seq_len
    rows = 8 if arguments.check else arguments.batch * size
    data = TokenData(np.random.default_rng(0).integers(0, 5000, 2000 * T).astype(np.uint16), T)
    dtype = arguments.dtype
    training = TrainConfig(
        batch_size=rows, steps=10**6, learning_rate=3e-4, warmup_steps=0, dtype=dtype
    )
    free, _ = backend.memory_info()
    trainer = Trainer(config, training, data, backend, ranks=ranks)
    losses = [trainer.step_report().loss for _ in range(10 if arguments.check else 3)]
    trainer.report_every = 10**9
    times = []
    for _ in range(0 if arguments.check else ROUNDS):
        backend.synchronize()
        if world:
            world.barrier()
        began = time.perf_counter()
        for _ in range(arguments.steps):
            trainer.step_report()
        backend.synchronize()
        times.append((time.perf_counter() - began) / arguments.steps)
    taken = free - backend.memory_info()[0]
    if world is None or world.leads:
        result = {"losses": losses, "memory": taken}
        if times:
            result["tokens_per_s"] = rows * T / statistics.median(times)
        print(json.dumps(result))
    if world:
        world.barrier()


def theirs(arguments: argparse.Namespace) -> None:
    """One rank of PyTorch's."""
    import torch
    from torch import nn
    from torch.nn import functional

    rank, size = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    torch.cuda.set_device(rank)
    if size > 1:
        torch.distributed.init_process_group("nccl")
    c, T = CONFIG, CONFIG.max_seq_len

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(c.embed_dim), nn.LayerNorm(c.embed_dim)
            self.qkv = nn.Linear(c.embed_dim, 3 * c.embed_dim)
            self.output = nn.Linear(c.embed_dim, c.embed_dim)
            self.up = nn.Linear(c.embed_dim, c.ff_dim)
            self.down = nn.Linear(c.ff_dim, c.embed_dim)

        def forward(self, x):
            B = x.shape[0]
            q, k, v = (
                part.view(B, T, c.num_heads, c.head_dim).transpose(1, 2)
                for part in self.qkv(self.norm1(x)).split(c.embed_dim, dim=2)
            )
            heads = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.output(heads.transpose(1, 2).reshape(x.shape))
            up = functional.gelu(self.up(self.norm2(x)), approximate="tanh")
            return x + self.down(up)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(c.vocab_size, c.embed_dim)
            self.positions = nn.Embedding(T, c.embed_dim)
            self.blocks = nn.ModuleList(Block() for _ in range(c.num_layers))
            self.norm = nn.LayerNorm(c.embed_dim)

        def forward(self, inputs, targets):
            x = self.tokens(inputs) + self.positions.weight
            for block in self.blocks:
                x = block(x)
            logits = functional.linear(self.norm(x), self.tokens.weight)
            return functional.cross_entropy(logits.view(-1, c.vocab_size).float(), targets.view(-1))

    torch.manual_seed(0)
    model = Model().cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), fused=True)
    wrapped = nn.parallel.DistributedDataParallel(model, [rank]) if size > 1 else model
    compiled = torch.compile(wrapped)
    ids = torch.randint(0, 5000, (arguments.batch, T + 1), device="cuda")

    def step():
        with torch.autocast("cuda", torch.bfloat16):
            loss = compiled(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    for _ in range(3):
        step()
    times = []
    for _ in range(ROUNDS):
        torch.cuda.synchronize()
        if size > 1:
            torch.distributed.barrier()
        began = time.perf_counter()
        for _ in range(arguments.steps):
            step()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - began) / arguments.steps)
    if rank == 0:
        speed = arguments.batch * size * T / statistics.median(times)
        print(json.dumps({"tokens_per_s": speed, "memory": torch.cuda.max_memory_reserved()}))
    if size > 1:
        torch.distributed.destroy_process_group()


def job(who: str, ranks: int, arguments: argparse.Namespace, *more: str) -> dict | None:
    """What a job of so many ranks prints; None where it fails."""
    own = [
        __file__, "--worker", who, "--batch", arguments.batch, "--steps", arguments.steps,
        "--device", arguments.device, "--dtype", arguments.dtype, "--zero", arguments.zero, *more,
    ]  # fmt: skip
    command = [sys.executable]
    if ranks > 1 and who == "ours":
        command = ["mpiexec", "-n", str(ranks), sys.executable]
    elif ranks > 1:
        command = ["torchrun", "--standalone", f"--nproc-per-node={ranks}"]
    done = subprocess.run(
        [*command, *map(str, own)], capture_output=True, text=True, check=False, timeout=400
    )
    if done.returncode:
        print(f"{who} on {ranks}: {done.stderr.strip()[-1500:]}")
        return None
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return json.loads(lines[-1])


def description(device: str) -> str:
    """What the ranks compute on, asked in a process of its own, so that no memory is held here."""
    words = f"from hipgpt_kernels import load_backend; print(load_backend({device!r}).description)"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--batch", type=int, default=32, help="rows a GPU")
    parser.add_argument("--steps", type=int, default=10, help="of a round")
    parser.add_argument("--device", default="hip")
    parser.add_argument("--dtype", default="bf16")
    parser.add_argument("--zero", type=int, default=1)
    parser.add_argument("--only", choices=["ours", "torch"], help="default: both")
    parser.add_argument("--check", action="store_true", help="compare the losses of ten steps")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record there")
    parser.add_argument("--worker", choices=["ours", "torch"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        {"ours": ours, "torch": theirs}[arguments.worker](arguments)
        return
    found: dict[str, dict] = {}
    record = Result(
        f"weak scaling, GPT-2 124M, {arguments.dtype}, {arguments.batch} rows a GPU",
        f"{max(arguments.ranks)} × {description(arguments.device)}",
        {"batch": arguments.batch, "dtype": arguments.dtype, "zero": arguments.zero},
        machine(),
        versions("torch"),
    )
    if arguments.check:
        for ranks in arguments.ranks:
            result = job("ours", ranks, arguments, "--check")
            if result:
                found[f"losses {ranks}"] = result
                print(f"{ranks} ranks: " + " ".join(f"{loss:.6f}" for loss in result["losses"]))
    for who in (arguments.only,) if arguments.only else ("ours", "torch"):
        for ranks in arguments.ranks:
            result = job(who, ranks, arguments)
            if result is None:
                continue
            found[f"{who} {ranks}"] = result
            program = (
                "hipgpt" if who == "ours" else f"torch {record.versions.get('torch', '')}, DDP"
            )
            figures = {"tokens/s": result["tokens_per_s"], "bytes": result["memory"]}
            record.rows.append(Row("train", program, figures, {"ranks": ranks}))
            alone = found.get(f"{who} 1", result)["tokens_per_s"]
            print(
                f"{who:6} {ranks} ranks {result['tokens_per_s']:12,.0f} tokens/s  "
                f"{result['tokens_per_s'] / alone:5.2f} of one  "
                f"{result['memory'] / 2**30:6.1f} GiB a rank"
            )
    if arguments.json:
        record.write(arguments.json)


if __name__ == "__main__":
    main()
