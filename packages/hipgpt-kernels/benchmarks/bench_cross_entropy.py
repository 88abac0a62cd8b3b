"""Times the cross-entropy of a training step against the bytes that it must move.

    python benchmarks/bench_cross_entropy.py [--rows 32768 --vocabulary 50257] [--json FILE]

The logits are read once for the loss, and once written as their gradient; the second read, for the
gradient, should come from the cache.
"""

from __future__ import annotations

from bandwidth import Bench, options


def run(bench: Bench, M: int, V: int, dtype: str) -> None:
    """Loss alone, then loss and gradient."""
    backend = bench.backend
    logits, targets = bench.normal(M, V, dtype=dtype), bench.integers(V, M)
    losses = backend.empty((M,))
    sizes = {"M": M, "V": V, "dtype": dtype}
    bench.report(
        "cross_entropy_forward",
        sizes,
        logits.nbytes,
        [lambda: backend.cross_entropy_forward(logits, targets, losses=losses)],
    )
    bench.report(
        "cross_entropy_forward_backward",
        sizes,
        2 * logits.nbytes,
        [lambda: backend.cross_entropy_forward_backward(logits, targets, 1 / M, losses=losses)],
    )


def main() -> None:
    """Print a table."""
    parser = options(__doc__)
    parser.add_argument("--rows", type=int, default=32_768)
    parser.add_argument("--vocabulary", type=int, default=50_257)
    arguments = parser.parse_args()
    bench = Bench("cross-entropy")
    for dtype in ("float32", "bfloat16"):
        run(bench, arguments.rows, arguments.vocabulary, dtype)
    bench.write(arguments.json)


if __name__ == "__main__":
    main()
