"""Matrix products of GPT-2 124M on the GPU beside PyTorch's (cuBLAS, hipBLASLt), in one run.

    python packages/hipgpt-kernels/benchmarks/bench_linear.py [rows] [dtype]

Each line is one product: TFLOP/s of ours and of torch.matmul into an existing array, and the
ratio. The matrix-vector lines go around a set of weights larger than any cache and give TB/s. Both
sides are captured in graphs, so that the host's part of a launch is not counted. The odd thing:
torch's weight gradient ends in 16 bits and starts from nothing; ours adds to float32.
"""

from __future__ import annotations

import itertools
import statistics
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPES = [(768, 2304), (768, 768), (768, 3072), (3072, 768), (768, 50304), (768, 50257)]
"""K, N: attention in and out, the two of the feed-forward, the head, and the head unpadded."""
REPEATS = 7
LAUNCHES = 10
"""Launches in a graph; the time is the median of REPEATS replays."""
ROTATED_BYTES = 400_000_000
"""Bytes of weights that the matrix-vector products go around."""


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


def line(name: str, ours: float, theirs: float, unit: str) -> None:
    """Print one comparison."""
    print(f"{name:36} {ours:8.2f} {theirs:8.2f} {unit:9} {ours / theirs:5.2f}")


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


def products(torch: Any, backend: Any, M: int, K: int, N: int, dtype: Any) -> None:
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
        times = [milliseconds(torch, one) for one in captured(torch, backend, *pair)]
        line(f"{name} M{M} K{K} N{N}", *[2e-9 * LAUNCHES * M * N * K / t for t in times], "TFLOP/s")


def vector(torch: Any, backend: Any, K: int, N: int, dtype: Any) -> None:
    """Decoding: one row, replayed as a graph by both."""
    size = torch.empty((), dtype=dtype).element_size()
    count = max(2, ROTATED_BYTES // (N * K * size))
    weights = [torch.randn(N, K, device="cuda", dtype=dtype) for _ in range(count)]
    x = torch.randn(1, K, device="cuda", dtype=dtype)
    out = torch.empty(1, N, device="cuda", dtype=dtype)
    row, result = backend.adopt(x), backend.adopt(out)
    matrices = [backend.adopt(one) for one in weights]
    with backend.capture() as graph:
        for matrix in matrices:
            backend.linear_forward(row, matrix, out=result)
    peer = torch.cuda.CUDAGraph()
    with torch.cuda.graph(peer):
        for one in weights:
            torch.matmul(x, one.T, out=out)
    nbytes = count * N * K * size
    rates = [1e-9 * nbytes / milliseconds(torch, one, 5) for one in (graph.launch, peer.replay)]
    line(f"vector K{K} N{N}", *rates, "TB/s")


def main() -> None:
    """Run everything."""
    import torch

    from hipgpt_kernels import load_backend

    M = int(sys.argv[1]) if len(sys.argv) > 1 else 32768
    dtype = getattr(torch, sys.argv[2] if len(sys.argv) > 2 else "bfloat16")
    backend = load_backend("hip")
    print(backend.description)
    print(f"{'':36} {'ours':>8} {'torch':>8} {'':9} ratio")
    with torch.cuda.stream(torch.cuda.ExternalStream(backend.stream.address)):
        for K, N in SHAPES:
            products(torch, backend, M, K, N, dtype)
        for K, N in SHAPES:
            vector(torch, backend, K, N, dtype)


if __name__ == "__main__":
    main()
