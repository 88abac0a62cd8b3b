"""The ops on PyTorch tensors, without a copy: on the GPU where PyTorch has one, else on the CPU.

python packages/hipgpt-kernels/examples/with_pytorch.py

`Attention` makes our causal attention an op that PyTorch differentiates; copy it into your project.
"""

from __future__ import annotations

from typing import Any

import torch

from hipgpt_kernels import ops


class Attention(torch.autograd.Function):
    """Causal attention of q, k, v (B, T, H, D) that autograd knows."""

    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Attend; the log-sum-exp of each row is all that is kept beside q, k, v and the result."""
        B, T, H, _ = q.shape
        lse = torch.empty(B, H, T, device=q.device)  # float32
        out = ops.attention(q, k, v, lse=lse)
        ctx.save_for_backward(q, k, v, out, lse)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The gradients of q, k and v."""
        (dout,) = grads
        return ops.attention_backward(dout.contiguous(), *ctx.saved_tensors)


class SelfAttention(torch.nn.Module):
    """A layer that uses it: q, k and v are views of one packed array, which is welcome."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = torch.nn.Linear(width, 3 * width)
        self.output = torch.nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, E) to (B, T, E)."""
        B, T, E = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.heads, E // self.heads).unbind(2)
        return self.output(Attention.apply(q, k, v).reshape(B, T, E))


def with_torch_attention(layer: SelfAttention, x: torch.Tensor) -> torch.Tensor:
    """The same layer with PyTorch's own attention."""
    B, T, E = x.shape
    packed = layer.qkv(x).view(B, T, 3, layer.heads, E // layer.heads)
    q, k, v = (part.transpose(1, 2) for part in packed.unbind(2))
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    return layer.output(out.transpose(1, 2).reshape(B, T, E))


def main() -> None:
    """Hold a layer with our attention to the same layer with PyTorch's, gradients included."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    layer = SelfAttention(128, 4).to(device)
    x = torch.randn(2, 64, 128, device=device, requires_grad=True)
    found = {}
    for name, run in (("hipgpt", layer), ("torch", lambda x: with_torch_attention(layer, x))):
        layer.zero_grad()
        x.grad = None
        y = run(x)
        y.square().mean().backward()
        found[name] = y.detach(), x.grad, layer.qkv.weight.grad
    for name, ours, theirs in zip(("y", "dx", "dweight"), *found.values(), strict=True):
        print(f"{name:8} differs by {(ours - theirs).abs().max():.1e} of {theirs.abs().max():.1e}")

    logits = torch.randn(128, 1000, device=device)
    targets = torch.randint(0, 1000, (128,), device=device, dtype=torch.int32)
    with torch.no_grad():
        loss = ops.cross_entropy(logits, targets).mean()
    theirs = torch.nn.functional.cross_entropy(logits, targets.long())
    print(f"loss     {loss.item():.5f} and {theirs.item():.5f}")
    print(f"computed on {device} by {ops.backend_for(logits).description}")


if __name__ == "__main__":
    main()
