"""The ops on CuPy arrays, without a copy, on CuPy's current stream.

python packages/hipgpt-kernels/examples/with_cupy.py
"""

from __future__ import annotations

import cupy

from hipgpt_kernels import ops


def main() -> None:
    """Attention, a linear layer and the loss on the GPU."""
    rng = cupy.random.default_rng(0)
    B, T, H, D, V = 2, 64, 4, 32, 1000
    q, k, v = (rng.standard_normal((B, T, H, D), dtype=cupy.float32) for _ in range(3))

    out = ops.attention(q, k, v)  # a CuPy array, (B, T, H, D)
    scores = cupy.einsum("bthd,bshd->bhts", q, k) / D**0.5
    scores += cupy.triu(cupy.full((T, T), -cupy.inf, cupy.float32), 1)
    weights = cupy.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    expected = cupy.einsum("bhts,bshd->bthd", weights, v)
    print(f"attention differs by {float(cupy.abs(out - expected).max()):.1e}")

    with cupy.cuda.Stream():  # on a stream of your own, in its order
        weight = rng.standard_normal((V, H * D), dtype=cupy.float32) / 16
        logits = ops.linear(out.reshape(B * T, H * D), weight)
        targets = cupy.zeros(B * T, cupy.int32)
        losses = ops.cross_entropy(logits, targets)
        print(f"mean loss {float(losses.mean()):.4f}")


if __name__ == "__main__":
    main()
