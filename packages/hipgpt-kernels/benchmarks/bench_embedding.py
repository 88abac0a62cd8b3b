"""Times the embedding and its gradient against the bytes that they must move.

    python benchmarks/bench_embedding.py [--batch 32 --tokens 1024 --vocabulary 50257 --columns 768]
        [--json FILE]

Forward: each row of the table that occurs is read, out is written. Backward: dout is read twice (in
the order of the ids, and of the positions), each row that occurs is read and written. Ids are drawn
evenly, and as text has them: a few very often.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from bandwidth import Bench, options

SETS = 3
"""Sets of arrays used in turn: together far larger than a cache."""
SKEW = 4.0
"""id = V · u⁴ for u even in [0, 1): the commonest of 50,257 ids is 7% of all."""


def run(bench: Bench, B: int, T: int, V: int, E: int, dtype: str, *, skewed: bool) -> None:
    """Both directions."""
    backend = bench.backend
    rng = np.random.default_rng(0)
    draws = [rng.random((B, T)) ** (SKEW if skewed else 1.0) for _ in range(SETS)]
    ids = [(draw * V).astype(np.int32) for draw in draws]
    sets = [(backend.from_numpy(one), bench.normal(B, T, E, dtype=dtype)) for one in ids]
    table, positions = bench.normal(V, E, dtype=dtype), bench.normal(T, E, dtype=dtype)
    dtable, dpositions = backend.zeros((V, E)), backend.zeros((T, E))
    different = sum(len(np.unique(one)) for one in ids) // SETS

    def forward(s: Any) -> None:
        backend.embedding_forward(s[0], table, positions, out=s[1])

    def backward(s: Any) -> None:
        backend.embedding_backward(s[1], s[0], dtable, dpositions)

    size = table.dtype.itemsize
    sizes = {"B": B, "T": T, "V": V, "E": E, "dtype": dtype, "skewed": skewed, "ids": different}
    bench.report(
        "embedding_backward",
        sizes,
        2 * B * T * E * size + 2 * (different + T) * E * 4,
        [lambda s=s: backward(s) for s in sets],
    )
    bench.report(
        "embedding_forward",
        sizes,
        (B * T + different + T) * E * size,
        [lambda s=s: forward(s) for s in sets],
    )


def main() -> None:
    """Print a table."""
    parser = options(__doc__)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--vocabulary", type=int, default=50_257)
    parser.add_argument("--columns", type=int, default=768)
    a = parser.parse_args()
    bench = Bench("embedding")
    for dtype in ("float32", "bfloat16"):
        for skewed in (False, True):
            run(bench, a.batch, a.tokens, a.vocabulary, a.columns, dtype, skewed=skewed)
    bench.write(a.json)


if __name__ == "__main__":
    main()
