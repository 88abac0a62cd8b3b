"""Peak memory of training and generation on the CPU, ours against PyTorch, each in its own process.

    python benchmarks/bench_memory.py [--size default|E256L8|124M|generate …] [--threads N]
        [--json FILE]

"process" is the most memory that the process ever held (its resident set, as the system counts it);
"work" is what of that came after the imports: weights, gradients, moments, activations, scratch.
"generate" reads a prompt of 512 tokens with GPT-2 124M and writes 32 more.

The odd thing: a peak cannot be taken back, so every measurement is a child process of its own that
makes its own weights; PyTorch's child makes them without our help.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from bench_generate import CONFIG, Ours, Transformers
from bench_step import SIZES, torch_step

from hipgpt_cli.bench.machine import machine, versions
from hipgpt_cli.bench.result import Result, Row
from hipgpt_kernels import load_backend
from hipgpt_model import GPT, Parameters, TokenData, TrainConfig, Trainer
from hipgpt_model.parameter_specs import parameter_table

STEPS = 3
PROMPT, WRITTEN = 512, 32
MIB = 2**20


def peak_bytes() -> int:
    """The most memory that this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def train_ours(size: str, threads: int) -> None:
    config, B = SIZES[size]
    backend = load_backend("cpu", threads=threads)
    ids = np.random.default_rng(0).integers(0, config.vocab_size, 200 * config.max_seq_len)
    data = TokenData(ids.astype(np.uint16), config.max_seq_len)
    training = TrainConfig(batch_size=B, steps=STEPS, warmup_steps=0)
    for _ in Trainer(config, training, data, backend).run():
        pass


def train_torch(size: str, threads: int) -> None:
    config, B = SIZES[size]
    rng = np.random.default_rng(0)
    weights = {
        spec.name: rng.normal(0, 0.02, spec.shape).astype(np.float32)
        if spec.initial == "normal"
        else np.full(spec.shape, spec.initial == "ones", np.float32)
        for spec in parameter_table(config)
    }
    step = torch_step(config, TrainConfig(batch_size=B), weights, threads)
    del weights
    ids = rng.integers(0, config.vocab_size, (2, B, config.max_seq_len)).astype(np.int32)
    for _ in range(STEPS):
        step(ids[0], ids[1])


def generate_ours(_size: str, threads: int) -> None:
    parameters = Parameters(CONFIG, load_backend("cpu", threads=threads), training=False)
    parameters.initialize(1)
    Ours(GPT(CONFIG, parameters.backend, parameters)).run(prompt(), WRITTEN)


def generate_torch(_size: str, threads: int) -> None:
    Transformers(None, threads).run(prompt(), WRITTEN)


def prompt() -> np.ndarray:
    return np.random.default_rng(0).integers(0, CONFIG.vocab_size, PROMPT).astype(np.int32)


def child(who: str, size: str, threads: int) -> None:
    """Measure in this process and print the two figures."""
    if who == "torch":
        import torch  # noqa: F401  # what importing takes belongs to "process" alone

        if size == "generate":
            import transformers  # noqa: F401
    before = peak_bytes()
    functions = {
        ("hipgpt", True): generate_ours, ("hipgpt", False): train_ours,
        ("torch", True): generate_torch, ("torch", False): train_torch,
    }  # fmt: skip
    functions[who, size == "generate"](size, threads)
    print(json.dumps({"process": peak_bytes(), "work": peak_bytes() - before}))


def measure(who: str, size: str, threads: int) -> dict[str, Any] | None:
    """What a child says, None where it cannot run."""
    command = [sys.executable, __file__, "--child", who, "--size", size, "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{size}: without {who}: {done.stderr.strip().splitlines()[-1]}")
        return None
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    sizes = [*SIZES, "generate"]
    parser.add_argument("--size", choices=sizes, action="append", help="default: all")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--child", choices=["hipgpt", "torch"], help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record there")
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.size[0], arguments.threads)
        return
    record = Result(
        "peak memory, float32",
        load_backend("cpu", threads=arguments.threads).description,
        {"steps": STEPS, "prompt": PROMPT, "tokens": WRITTEN},
        machine(),
        versions("torch", "transformers"),
        notes=["bytes: the resident set; work bytes: what of it came after the imports"],
    )
    print(f"{'':10} {'':8} {'process':>12} {'work':>12}")
    for size in arguments.size or sizes:
        ours = measure("hipgpt", size, arguments.threads)
        theirs = measure("torch", size, arguments.threads)
        for name, figures in (("hipgpt", ours), ("PyTorch", theirs)):
            if figures:
                program = name if name == "hipgpt" else f"torch {record.versions['torch']}"
                found = {"bytes": figures["process"], "work bytes": figures["work"]}
                record.rows.append(Row(size, program, found))
                print(
                    f"{size:10} {name:8} {figures['process'] / MIB:8,.0f} MiB "
                    f"{figures['work'] / MIB:8,.0f} MiB"
                )
        if ours and theirs:
            ratios = [theirs[key] / ours[key] for key in ("process", "work")]
            print(f"{size:10} {'ratio':8} {ratios[0]:11.2f}× {ratios[1]:11.2f}×")
    if arguments.json:
        record.write(arguments.json)


if __name__ == "__main__":
    main()
