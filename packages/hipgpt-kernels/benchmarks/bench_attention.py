"""Times causal attention, forward and backward, beside PyTorch's FlashAttention-2 and cuDNN.

    python benchmarks/bench_attention.py [--batch 32 --heads 12 --tokens 1024 --size 64]
        [--dtype bfloat16] [--alone] [--json FILE]

Needs a GPU; the peers need torch with the same GPU. The odd thing: times are of many launches in a
row between two events, ours and theirs alike, so that no launch's cost on the host is counted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import hipgpt_kernels
from hipgpt_cli.bench.machine import machine, versions
from hipgpt_cli.bench.result import Result, Row
from hipgpt_kernels.hip.driver import Event
from hipgpt_kernels.hip.dtypes import as_dtype

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS = 7
LAUNCHES = 20
"""Launches between two events; the time is the median of ROUNDS such means."""
BACKWARD = 2.5
"""The backward's share of operations by convention: five products where the forward has two."""

Times = tuple[str, float, float]
"""Who, milliseconds forward, milliseconds backward."""


def median_time(work: Callable[[], Any], elapsed: Callable[[Callable[[], None]], float]) -> float:
    """Milliseconds of one call, the median over rounds."""

    def several() -> None:
        for _ in range(LAUNCHES):
            work()

    elapsed(several)
    return sorted(elapsed(several) for _ in range(ROUNDS))[ROUNDS // 2] / LAUNCHES


def ours(backend: Any, B: int, T: int, H: int, D: int, dtype: str) -> Times:
    """hipgpt: q, k, v are views of one packed array, as the model has them."""
    rng = np.random.default_rng(0)
    kind = as_dtype(dtype)

    def normal(*shape: int) -> Any:
        return backend.from_numpy(rng.standard_normal(shape, np.float32), kind)

    packed, dout = normal(B, T, 3, H, D), normal(B, T, H, D)
    dpacked, out = backend.empty((B, T, 3, H, D), kind), backend.empty((B, T, H, D), kind)
    lse = backend.empty((B, H, T))
    q, k, v = (packed[:, :, i] for i in range(3))
    gradients = [dpacked[:, :, i] for i in range(3)]

    def elapsed(several: Callable[[], None]) -> float:
        before, after = Event(), Event()
        before.record(backend.stream)
        several()
        after.record(backend.stream)
        after.synchronize()
        return after.milliseconds_since(before)

    forward = median_time(lambda: backend.attention_forward(q, k, v, out=out, lse=lse), elapsed)
    backward = median_time(
        lambda: backend.attention_backward(dout, q, k, v, out, lse, *gradients), elapsed
    )
    return "hipgpt", forward, backward


def peers(B: int, T: int, H: int, D: int, dtype: str) -> Iterator[Times]:
    """PyTorch's two fused kernels, where torch and the GPU have them."""
    import torch  # a peer, not a dependency
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    kind = getattr(torch, dtype)
    packed = torch.randn(B, T, 3, H, D, device="cuda").to(kind)
    dout = torch.randn(B, T, H, D, device="cuda").to(kind).transpose(1, 2)
    q, k, v = (packed[:, :, i].transpose(1, 2).detach().requires_grad_() for i in range(3))

    def elapsed(several: Callable[[], None]) -> float:
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        several()
        after.record()
        after.synchronize()
        return float(before.elapsed_time(after))

    choices = {
        "FlashAttention-2": SDPBackend.FLASH_ATTENTION,
        "cuDNN": SDPBackend.CUDNN_ATTENTION,
    }
    for name, choice in choices.items():
        with sdpa_kernel(choice):
            try:
                out = scaled_dot_product_attention(q, k, v, is_causal=True)
            except RuntimeError:
                continue  # this build or this dtype has it not
            with torch.no_grad():
                forward = median_time(
                    lambda: scaled_dot_product_attention(q, k, v, is_causal=True), elapsed
                )
            backward = median_time(
                lambda out=out: torch.autograd.grad(out, (q, k, v), dout, retain_graph=True),
                elapsed,
            )
        yield name, forward, backward


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--size", type=int, default=64, help="head size D")
    choices = ("float32", "float16", "bfloat16")
    parser.add_argument("--dtype", default="bfloat16", choices=choices)
    parser.add_argument("--alone", action="store_true", help="without the peers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record there")
    options = parser.parse_args()
    B, T, H, D = options.batch, options.tokens, options.heads, options.size
    backend: Any = hipgpt_kernels.load_backend("hip")
    results = [ours(backend, B, T, H, D, options.dtype)]
    if not options.alone:
        results += peers(B, T, H, D, options.dtype)
    operations = 4 * B * H * T * T * D / 2  # causal: half of the scores
    title = f"attention B{B} H{H} T{T} D{D} {options.dtype}, causal"
    lines = [title]
    sizes = {"B": B, "H": H, "T": T, "D": D, "dtype": options.dtype}
    record = Result(
        title, backend.description, sizes, machine(), versions("torch", backend=backend)
    )
    for name, forward, backward in results:
        rates = operations / forward / 1e9, BACKWARD * operations / backward / 1e9
        for work, rate, ms in zip(("forward", "backward"), rates, (forward, backward), strict=True):
            record.rows.append(Row(work, name, {"TFLOP/s": rate, "ms": ms}))
        lines.append(
            f"{name:18s} forward {forward:7.3f} ms {rates[0]:5.0f} TFLOP/s   "
            f"backward {backward:7.3f} ms {rates[1]:5.0f} TFLOP/s"
        )
    sys.stdout.write("\n".join(lines) + "\n")
    if options.json:
        record.write(options.json)


if __name__ == "__main__":
    main()
