"""Matrix products of GPT-2 124M on the GPU beside PyTorch's (cuBLAS, hipBLASLt), in one run.

    python benchmarks/bench_linear.py [rows] [dtype] [--json FILE]

Each line is one product: TFLOP/s of ours and of torch.matmul into an existing array, and the
ratio. The lines of few rows, as in decoding, go around weights that no cache holds and give TB/s.
Both sides are captured in graphs, so that the host's part of a launch is not counted. The odd
thing: torch's weight gradient ends in 16 bits and starts from nothing; ours adds to float32.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hipgpt_cli.bench.machine import machine, versions
from hipgpt_cli.bench.result import Result, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SHAPES = [(768, 2304), (768, 768), (768, 3072), (3072, 768), (768, 50304), (768, 50257)]
"""K, N: attention in and out, the two of the feed-forward, the head, and the head unpadded."""
FEW = (1, 2, 8)
"""Rows of the products of decoding."""
REPEATS = 7
LAUNCHES = 10
"""Launches in a graph; the time is the median of REPEATS replays."""
ROTATED_BYTES = 400_000_000
"""Bytes of weights that the products of few rows go around."""


def milliseconds(torch: Any, work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median time of `work` on the current stream."""
    for _ in range(3):
        work()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    events[0].record()
    for event in events[1:]:
        work()
        event.record()
    torch.cuda.synchronize()
    pairs = itertools.pairwise(events)
    return statistics.median(start.elapsed_time(stop) for start, stop in pairs)


class Table:
    """Prints comparisons and keeps them for the record."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.rows: list[Row] = []
        print(f"{'':36} {'hipgpt':>8} {peer:>8} {'':9} ratio")

    def line(
        self, work: str, sizes: dict[str, int], amount: float, unit: str, times: Sequence[float]
    ) -> None:
        """One comparison: `amount` of 10¹² operations or bytes in milliseconds, ours and theirs."""
        mine, theirs = (1e3 * amount / ms for ms in times)
        name = " ".join([work, *(f"{key}{value}" for key, value in sizes.items())])
        print(f"{name:36} {mine:8.2f} {theirs:8.2f} {unit:9} {mine / theirs:5.2f}", flush=True)
        for program, rate, ms in zip(("hipgpt", self.peer), (mine, theirs), times, strict=True):
            self.rows.append(Row(work, program, {unit: rate, "us": 1e3 * ms}, sizes))


def captured(torch: Any, backend: Any, mine: Callable[[], Any], peer: Callable[[], Any]) -> Any:
    """LAUNCHES calls of each as a graph: two functions that replay them."""
    mine()  # loads the code
    with backend.capture() as graph:
        for _ in range(LAUNCHES):
            mine()
    for _ in range(3):
        peer()
    theirs = torch.cuda.CUDAGraph()
    with torch.cuda.graph(theirs):
        for _ in range(LAUNCHES):
            peer()
    return graph.launch, theirs.replay


def products(table: Table, torch: Any, backend: Any, M: int, K: int, N: int, dtype: Any) -> None:
    """Forward, input gradient and weight gradient of one shape."""
    x = torch.randn(M, K, device="cuda", dtype=dtype)
    weight = torch.randn(N, K, device="cuda", dtype=dtype) * K**-0.5
    dout = torch.randn(M, N, device="cuda", dtype=dtype)
    out, dx = torch.empty_like(dout), torch.empty_like(x)
    dweight, theirs = torch.zeros(N, K, device="cuda"), torch.empty_like(weight)
    ours = [backend.adopt(one) for one in (x, weight, dout, out, dx, dweight)]
    my_x, my_weight, my_dout, my_out, my_dx, my_dweight = ours
    work = {
        "forward": (
            lambda: backend.linear_forward(my_x, my_weight, out=my_out),
            lambda: torch.matmul(x, weight.T, out=out),
        ),
        "input": (
            lambda: backend.linear_backward_input(my_dout, my_weight, out=my_dx),
            lambda: torch.matmul(dout, weight, out=dx),
        ),
        "weight": (
            lambda: backend.linear_backward_weight(my_dout, my_x, my_dweight),
            lambda: torch.matmul(dout.T, x, out=theirs),
        ),
    }
    for name, pair in work.items():
        runs = captured(torch, backend, *pair)
        times = [milliseconds(torch, one) / LAUNCHES for one in runs]
        table.line(name, {"M": M, "K": K, "N": N}, 2e-12 * M * N * K, "TFLOP/s", times)


def few(table: Table, torch: Any, backend: Any, M: int, K: int, N: int, dtype: Any) -> None:
    """Decoding: few rows, replayed as a graph by both."""
    size = torch.empty((), dtype=dtype).element_size()
    count = max(2, ROTATED_BYTES // (N * K * size))
    weights = [torch.randn(N, K, device="cuda", dtype=dtype) for _ in range(count)]
    x = torch.randn(M, K, device="cuda", dtype=dtype)
    out = torch.empty(M, N, device="cuda", dtype=dtype)
    row, result = backend.adopt(x), backend.adopt(out)
    matrices = [backend.adopt(one) for one in weights]
    with backend.capture() as graph:
        for matrix in matrices:
            backend.linear_forward(row, matrix, out=result)
    peer = torch.cuda.CUDAGraph()
    with torch.cuda.graph(peer):
        for one in weights:
            torch.matmul(x, one.T, out=out)
    times = [milliseconds(torch, one, 5) / count for one in (graph.launch, peer.replay)]
    table.line("few rows", {"M": M, "K": K, "N": N}, 1e-12 * N * K * size, "TB/s", times)


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=int, nargs="?", default=32768)
    dtypes = ("float32", "float16", "bfloat16")
    parser.add_argument("dtype", nargs="?", default="bfloat16", choices=dtypes)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record there")
    arguments = parser.parse_args()
    import torch

    from hipgpt_kernels import load_backend

    M, dtype = arguments.rows, getattr(torch, arguments.dtype)
    backend = load_backend("hip")
    print(backend.description)
    table = Table("hipBLASLt" if torch.version.hip else "cuBLAS")
    with torch.cuda.stream(torch.cuda.ExternalStream(backend.stream.address)):
        for K, N in SHAPES:
            products(table, torch, backend, M, K, N, dtype)
        for (K, N), rows in itertools.product(SHAPES, FEW):
            few(table, torch, backend, rows, K, N, dtype)
    if arguments.json:
        Result(
            f"matrix products of GPT-2 124M, {arguments.dtype}",
            backend.description,
            {"rows": M, "dtype": arguments.dtype},
            machine(),
            versions("torch", backend=backend),
            table.rows,
        ).write(arguments.json)


if __name__ == "__main__":
    main()
