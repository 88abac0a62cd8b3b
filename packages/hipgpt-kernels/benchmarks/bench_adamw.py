"""Times the gradient norm and one AdamW step over all parameters against the bytes that they move.

    python benchmarks/bench_adamw.py [--parameters 124475904]

The norm reads the gradients. The step reads weights, gradients and both moments and writes all but
the gradients: 28 bytes a parameter, 30 with a 16-bit copy of the weights.
"""

from __future__ import annotations

import argparse

from bandwidth import Bench

OPTIONS = {
    "learning_rate": 1e-3,
    "beta1": 0.9,
    "beta2": 0.95,
    "epsilon": 1e-8,
    "weight_decay": 0.1,
    "step": 3,
    "max_norm": 1.0,
}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parameters", type=int, default=124_475_904)
    n = parser.parse_args().parameters
    bench = Bench()
    backend = bench.backend
    weights, gradients, m = (bench.normal(n) for _ in range(3))
    v, low = backend.zeros((n,)), bench.normal(n, dtype="bfloat16")
    bench.report(f"gradient_norm n={n}", 4 * n, [lambda: backend.gradient_norm(gradients)])
    options = OPTIONS | {"norm": backend.gradient_norm(gradients)}
    bench.report(
        f"adamw_step n={n}",
        28 * n,
        [lambda: backend.adamw_step(weights, gradients, m, v, **options)],
    )
    bench.report(
        f"adamw_step low n={n} bfloat16",
        30 * n,
        [lambda: backend.adamw_step(weights, gradients, m, v, low=low, **options)],
    )


if __name__ == "__main__":
    main()
