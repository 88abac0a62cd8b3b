"""Training and generation measured, ours and the peer's in turns; they must agree beforehand."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import numpy as np

from hipgpt_cli.bench import torch_gpt
from hipgpt_cli.bench.machine import machine, versions
from hipgpt_cli.bench.ours import OursGeneration, OursTraining, first_batch
from hipgpt_cli.bench.result import Result, Row, figures
from hipgpt_cli.bench.timing import in_turns
from hipgpt_cli.bench.workload import (
    generation_flop,
    matrix_parameters,
    peak_tflops,
    training_flop,
)
from hipgpt_cli.errors import UserError

if TYPE_CHECKING:
    from hipgpt_kernels import Backend
    from hipgpt_model.config import GPTConfig, TrainConfig

AGREEMENT = {"float32": 1e-4, "bf16": 2e-2, "fp16": 5e-3}
"""How far the first losses may be apart, relatively."""
GENERATED = 8
"""Tokens that both must choose alike in float32 before they are timed."""


def device_name(backend: Backend) -> str:
    """The card's name alone, for the table of peaks."""
    return str(getattr(getattr(backend, "device", None), "name", ""))


def torch_device(backend: Backend) -> str:
    """PyTorch's name for the same kind of device.

    Raises:
        UserError: PyTorch sees no GPU, and ours is one.
    """
    if backend.name == "cpu":
        return "cpu"
    import torch

    if not torch.cuda.is_available():
        raise UserError(
            "this PyTorch sees no GPU (its CPU build, or another driver), so there is nothing to "
            "compare with; leave --against out"
        )
    return "cuda"


def bench_training(
    config: GPTConfig,
    training: TrainConfig,
    backend: Backend,
    *,
    against: str | None = None,
    graph: bool = True,
    rounds: int = 5,
    steps: int | None = None,
    threads: int | None = None,
    peak: float | None = None,
) -> Result:
    """Time training steps.

    Args:
        config: the model; its max_seq_len is the length of a row.
        training: batch, dtype and AdamW's settings.
        backend: the device.
        against: "torch", or None for ours alone.
        graph: let ours capture its steps.
        rounds: turns of each.
        steps: steps in a turn; None: as many as take a quarter of a second.
        threads: CPU threads of the peer.
        peak: TFLOP/s of the device; None looks the card up.

    Raises:
        UserError: the peer computes something else, or cannot run.
    """
    B, T = training.batch_size, config.max_seq_len
    tokens = B * T * training.grad_accum
    peak = peak or peak_tflops(device_name(backend), training.dtype)
    ours = OursTraining(config, training, backend, graph=graph)
    programs: dict[str, Any] = {"hipgpt": ours}
    losses = {"hipgpt": ours.first_loss()}
    ours.run(2)
    memory = {"hipgpt": ours.memory()}
    if against:
        batch = first_batch(ours.data, B, training.seed)
        peer = torch_gpt.TorchTraining(
            config, training, ours.weights, batch, torch_device(backend), threads
        )
        programs[peer.name] = peer
        losses[peer.name] = peer.first_loss()
        _same_losses(losses, training.dtype)
    times = in_turns({name: one.run for name, one in programs.items()}, rounds=rounds, steps=steps)
    flop = training_flop(config, T) * tokens
    result = Result(
        f"Training: {config.num_parameters() / 1e6:.3g} M parameters, B{B} T{T}, {training.dtype}",
        backend.description,
        {
            "model": config.to_dict(),
            "training": training.to_dict(),
            "graph": graph,
            "peak_tflops": peak,
            "first_losses": losses,
        },
        machine(),
        versions("torch", backend=backend),
    )
    for name, seconds in times.items():
        tflops = flop / seconds / 1e12
        result.rows.append(
            Row(
                "step",
                name,
                figures(
                    {
                        "ms": seconds * 1e3,
                        "tokens/s": tokens / seconds,
                        "TFLOP/s": tflops,
                        "of peak": tflops / peak if peak else None,
                        "bytes": memory.get(name) or programs[name].memory(),
                    }
                ),
            )
        )
    return result


def _same_losses(losses: dict[str, float], dtype: str) -> None:
    (ours, mine), (peer, theirs) = losses.items()
    if abs(mine / theirs - 1) > AGREEMENT[dtype]:
        raise UserError(
            f"the first losses differ, {ours} {mine:.5f} and {peer} {theirs:.5f}: they do not "
            "compute the same, so times say nothing; see hipgpt doctor"
        )


def bench_generation(
    config: GPTConfig,
    backend: Backend,
    *,
    dtype: str = "float32",
    rows: int = 1,
    prompt: int = 32,
    count: int = 128,
    against: str | None = None,
    rounds: int = 5,
    threads: int | None = None,
    peak: float | None = None,
) -> Result:
    """Time reading prompts and writing tokens, greedily, from random weights.

    Args:
        config: the model.
        backend: the device.
        dtype: "float32", "bf16" or "fp16".
        rows: texts at once.
        prompt: tokens of each prompt.
        count: tokens written to each; prompt + count must fit max_seq_len.
        against: "torch", or None for ours alone.
        rounds: turns of each.
        threads: CPU threads of the peer.
        peak: TFLOP/s of the device; None looks the card up.

    Raises:
        UserError: the tokens do not fit, or the peer writes others, or cannot run.
    """
    if prompt + count > config.max_seq_len:
        raise UserError(
            f"a prompt of {prompt} and {count} tokens more do not fit {config.max_seq_len} "
            "positions; a smaller --prompt or --tokens, or a larger --seq does"
        )
    if count < 2:
        raise UserError("--tokens must be at least 2, so that writing can be timed by itself")
    peak = peak or peak_tflops(device_name(backend), dtype)
    rng = np.random.default_rng(0)
    prompts = rng.integers(0, config.vocab_size, (rows, prompt)).astype(np.int32)
    ours = OursGeneration(config, dtype, rows, backend)
    programs: dict[str, Any] = {"hipgpt": ours}
    first = {"hipgpt": ours.run(prompts, count)[2]}
    memory = {"hipgpt": ours.memory()}
    if against:
        peer = torch_gpt.TorchGeneration(
            config, dtype, ours.weights, rows, prompt + count, torch_device(backend), threads
        )
        programs[peer.name] = peer
        first[peer.name] = peer.run(prompts, count)[2]
        starts = [[row[:GENERATED] for row in found] for found in first.values()]
        if dtype == "float32" and starts[0] != starts[1]:
            raise UserError("hipgpt and PyTorch write other tokens, so times say nothing")
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
    for number in range(rounds + 1):
        for name, one in programs.items():
            read, write, _ = one.run(prompts, count)
            if number:
                taken[name].append((read, write))
    result = Result(
        f"Generation: {config.num_parameters() / 1e6:.3g} M parameters, {rows} text"
        f"{'s' * (rows > 1)}, prompt {prompt}, {count} tokens, {dtype}",
        backend.description,
        {
            "model": config.to_dict(),
            "dtype": dtype,
            "rows": rows,
            "prompt": prompt,
            "tokens": count,
            "peak_tflops": peak,
        },
        machine(),
        versions("torch", backend=backend),
        notes=["read: the prompts and the first token; write: each further token of every row"],
    )
    read_flop = rows * prompt * generation_flop(config, prompt / 2)
    write_flop = rows * generation_flop(config, prompt + count / 2)
    item = 4 if dtype == "float32" else 2
    cached = 2 * config.num_layers * config.embed_dim * (prompt + count / 2) * rows
    write_bytes = item * (matrix_parameters(config) + cached)
    works = (
        ("read", 0, rows * prompt, read_flop, 0.0),
        ("write", 1, rows, write_flop, write_bytes),
    )
    for work, column, tokens, flop, moved in works:
        for name, times in taken.items():
            seconds = statistics.median(row[column] for row in times)
            seconds /= count - 1 if work == "write" else 1
            tflops = flop / seconds / 1e12
            result.rows.append(
                Row(
                    work,
                    name,
                    figures(
                        {
                            "ms": seconds * 1e3,
                            "tokens/s": tokens / seconds,
                            "TFLOP/s": tflops,
                            "of peak": tflops / peak if peak else None,
                            "GB/s": moved / seconds / 1e9 if moved else None,
                            "bytes": memory.get(name) or programs[name].memory(),
                        }
                    ),
                )
            )
    return result
