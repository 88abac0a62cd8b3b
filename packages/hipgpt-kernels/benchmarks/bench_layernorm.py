"""Times LayerNorm, forward and backward, against the bytes that it must move.

    python benchmarks/bench_layernorm.py [--rows 32768 --columns 768] [--json FILE]

Forward: x is read, out is written. Backward: dout and x are read, dx is read and written.
"""

from __future__ import annotations

from typing import Any

from bandwidth import Bench, options

SETS = 4
"""Sets of arrays used in turn: together far larger than a cache."""


def run(bench: Bench, M: int, E: int, dtype: str) -> None:
    """Both directions in one dtype."""
    backend = bench.backend
    weight, bias = bench.normal(E, dtype=dtype), bench.normal(E, dtype=dtype)
    dweight, dbias = backend.zeros((E,)), backend.zeros((E,))
    sets: list[dict[str, Any]] = [
        {name: bench.normal(M, E, dtype=dtype) for name in ("x", "dout", "dx", "out")}
        | {name: backend.zeros((M,)) for name in ("mean", "rstd")}
        for _ in range(SETS)
    ]

    def forward(s: dict[str, Any]) -> None:
        backend.layernorm_forward(
            s["x"], weight, bias, out=s["out"], mean=s["mean"], rstd=s["rstd"]
        )

    def backward(s: dict[str, Any]) -> None:
        backend.layernorm_backward(
            s["dout"], s["x"], weight, s["mean"], s["rstd"], s["dx"], dweight, dbias
        )

    array = sets[0]["x"].nbytes
    sizes = {"M": M, "E": E, "dtype": dtype}
    bench.report("layernorm_forward", sizes, 2 * array, [lambda s=s: forward(s) for s in sets])
    bench.report("layernorm_backward", sizes, 4 * array, [lambda s=s: backward(s) for s in sets])


def main() -> None:
    """Print a table."""
    parser = options(__doc__)
    parser.add_argument("--rows", type=int, default=32_768)
    parser.add_argument("--columns", type=int, default=768)
    arguments = parser.parse_args()
    bench = Bench("LayerNorm")
    for dtype in ("float32", "bfloat16", "float16"):
        run(bench, arguments.rows, arguments.columns, dtype)
    bench.write(arguments.json)


if __name__ == "__main__":
    main()
