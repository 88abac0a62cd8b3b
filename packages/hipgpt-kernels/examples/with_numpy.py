"""The ops on NumPy arrays: computed on the CPU, nothing else needed.

python packages/hipgpt-kernels/examples/with_numpy.py
"""

from __future__ import annotations

import numpy as np

from hipgpt_kernels import ops


def main() -> None:
    """Forward and backward of attention, a linear layer and the loss."""
    rng = np.random.default_rng(0)
    B, T, H, D, V = 2, 64, 4, 32, 1000
    q, k, v = (rng.standard_normal((B, T, H, D), np.float32) for _ in range(3))

    lse = np.empty((B, H, T), np.float32)  # what the backward needs
    out = ops.attention(q, k, v, lse=lse)  # (B, T, H, D), causal
    dq, _, _ = ops.attention_backward(np.ones_like(out), q, k, v, out, lse)
    print(f"attention        out {out.shape}, dq {dq.shape}")

    x = out.reshape(B, T, H * D)
    weight = rng.standard_normal((V, H * D), np.float32) / np.float32(np.sqrt(H * D))
    logits = ops.linear(x, weight)  # (B, T, V)
    targets = rng.integers(0, V, (B, T), np.int32)

    losses = ops.cross_entropy(logits, targets)  # (B, T)
    print(f"cross_entropy    mean {losses.mean():.4f}, ln V is {np.log(V):.4f}")

    ops.cross_entropy_gradient(logits, targets)  # logits is now the gradient of the mean loss
    dx, dweight, _ = ops.linear_backward(logits, x, weight, bias=False)
    print(f"linear_backward  dx {dx.shape}, dweight {dweight.shape}")


if __name__ == "__main__":
    main()
