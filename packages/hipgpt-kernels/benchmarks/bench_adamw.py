"""Times the gradient norm and one AdamW step over all parameters against the bytes that they move.

    python benchmarks/bench_adamw.py [--parameters 124475904] [--json FILE]

The norm reads the gradients. The step reads weights, gradients and both moments and writes all but
the gradients: 28 bytes a parameter, 30 with a 16-bit copy of the weights.
"""

from __future__ import annotations

from bandwidth import Bench, options

SETTINGS = {
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
    parser = options(__doc__)
    parser.add_argument("--parameters", type=int, default=124_475_904)
    arguments = parser.parse_args()
    n = arguments.parameters
    bench = Bench("gradient norm and AdamW")
    backend = bench.backend
    weights, gradients, m = (bench.normal(n) for _ in range(3))
    v, low = backend.zeros((n,)), bench.normal(n, dtype="bfloat16")
    sizes = {"n": n, "dtype": "float32"}
    bench.report("gradient_norm", sizes, 4 * n, [lambda: backend.gradient_norm(gradients)])
    settings = SETTINGS | {"norm": backend.gradient_norm(gradients)}
    bench.report(
        "adamw_step",
        sizes,
        28 * n,
        [lambda: backend.adamw_step(weights, gradients, m, v, **settings)],
    )
    bench.report(
        "adamw_step",
        sizes | {"dtype": "bfloat16"},  # that the weights are written in too
        30 * n,
        [lambda: backend.adamw_step(weights, gradients, m, v, low=low, **settings)],
    )
    bench.write(arguments.json)


if __name__ == "__main__":
    main()
