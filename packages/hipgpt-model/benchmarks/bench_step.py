"""One training step, ours against PyTorch's eager float32, in one process: ms, tokens/s, ratio.

    python benchmarks/bench_step.py [--size default|E256L8|124M] [--steps N] [--json FILE] …

Both get the same weights and the same batch, and must agree on the loss before anything is timed.
Rounds of steps alternate between the two, so that a machine that slows down slows both; the figure
is the median after a warm-up. Without PyTorch only ours is measured.

The odd thing: GFLOP/s are of the model's arithmetic, 6 · matrix parameters · tokens (Kaplan et al.
2020, section 2.1) plus attention's 6 · L · E · T · tokens, so that they can be held against what a
plain matrix product reaches on the same machine.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import time
from pathlib import Path

import numpy as np

from hipgpt_cli.bench.machine import machine, versions
from hipgpt_cli.bench.result import Result, Row
from hipgpt_cli.bench.torch_gpt import TorchTraining
from hipgpt_cli.bench.workload import SIZES as WORKLOADS
from hipgpt_kernels import load_backend
from hipgpt_model import GPTConfig, Parameters, TokenData, TrainConfig, Trainer

SIZES = {name: (size.config, size.batch_cpu) for name, size in WORKLOADS.items()}


def torch_step(config: GPTConfig, training: TrainConfig, weights, threads):
    """A function (inputs, targets) -> loss that does one whole step in PyTorch."""
    training = dataclasses.replace(training, learning_rate=1e-6)
    nothing = np.zeros((1, 1), np.int32)
    peer = TorchTraining(config, training, weights, (nothing, nothing), "cpu", threads)

    def step(inputs, targets):
        peer.set_batch(inputs, targets)
        return peer.first_loss()

    return step


PAUSE_S = 0.5
"""Before each round: the other's threads may still be waiting actively for more work."""


def median_ms(functions, steps, clock, rounds=5):
    """Median time of each function, in rounds; the first step of a round is not counted.

    Not step by step: threads of the one that has just run still spin when the other begins.
    """
    rounds = min(rounds, steps)
    times = [[] for _ in functions]
    for number in range(rounds + 1):  # round 0 warms up
        for function, taken in zip(functions, times, strict=True):
            time.sleep(PAUSE_S)
            for step in range(1 + -(-steps // rounds)):
                began = clock()
                function()
                if number > 0 and step > 0:
                    taken.append((clock() - began) * 1e3)
    return [statistics.median(taken) for taken in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="default")
    parser.add_argument("--steps", type=int, default=None, help="timed steps (default by size)")
    parser.add_argument("--threads", type=int, default=None, help="of both (default: all cores)")
    parser.add_argument("--numpy", action="store_true", help="NumPy alone, no compiled code")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="one thread, timed by the processor's time: for a machine that others use too",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record there")
    arguments = parser.parse_args()
    if arguments.cpu_time:
        arguments.threads = 1
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    config, B = SIZES[arguments.size]
    steps = arguments.steps or {"default": 50, "E256L8": 10, "124M": 3}[arguments.size]
    T = config.max_seq_len

    backend = load_backend(
        "cpu", threads=arguments.threads, native=False if arguments.numpy else None
    )
    training = TrainConfig(batch_size=B, steps=10**9, learning_rate=1e-6, warmup_steps=0)
    ids = np.random.default_rng(0).integers(0, config.vocab_size, 200 * T).astype(np.uint16)
    data = TokenData(ids, T)
    parameters = Parameters(config, backend, training=True)
    parameters.initialize(0)
    weights = parameters.to_dict()
    trainer = Trainer(config, training, data, backend, parameters)
    starts = data.train_batch(0, B, training.seed)
    rows = np.stack([ids[start : start + T + 1] for start in starts]).astype(np.int32)
    inputs, targets = (np.ascontiguousarray(part) for part in (rows[:, :-1], rows[:, 1:]))

    title = (
        f"training step, {arguments.size}: {config.num_parameters() / 1e6:.2f} M parameters, "
        f"E{config.embed_dim} L{config.num_layers} H{config.num_heads} F{config.ff_dim} "
        f"S{T} B{B} V{config.vocab_size}, median of {steps} steps"
    )
    print(f"{backend.description}\n{title}")
    functions = {"hipgpt": trainer.step_report}
    try:
        import torch
    except ImportError:
        print("PyTorch is not installed; only hipgpt is measured")
    else:
        threads = arguments.threads or len(os.sched_getaffinity(0))
        theirs = torch_step(config, training, weights, threads)
        functions[f"torch {torch.__version__} eager"] = lambda: theirs(inputs, targets)
        ours_loss, theirs_loss = trainer.step_report().loss, theirs(inputs, targets)
        assert abs(ours_loss / theirs_loss - 1) < 1e-4, (ours_loss, theirs_loss)

    tokens = B * T
    matrices = config.num_parameters() - config.parameters_by_part()["position embedding"]
    if not config.tied:
        matrices -= config.parameters_by_part()["token embedding"]
    flop = (6 * matrices + 6 * config.num_layers * config.embed_dim * T) * tokens
    medians = median_ms(list(functions.values()), steps, clock)
    settings = {"size": arguments.size, "model": config.to_dict(), "batch": B, "dtype": "float32"}
    record = Result(title, backend.description, settings, machine(), versions("torch"))
    for name, ms in zip(functions, medians, strict=True):
        speed, rate = tokens / ms * 1e3, flop / ms / 1e6
        record.rows.append(Row("step", name, {"ms": ms, "tokens/s": speed, "GFLOP/s": rate}))
        print(
            f"{name:24} {ms:10.2f} ms/step {speed:10,.0f} tokens/s {rate:8.1f} GFLOP/s  "
            f"{medians[-1] / ms:.2f}×"
        )
    if arguments.json:
        record.write(arguments.json)


if __name__ == "__main__":
    main()
