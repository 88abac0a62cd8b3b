"""Single ops at the sizes of a model, forward and backward, ours and PyTorch's, one after another.

On a GPU both work on the same arrays in PyTorch's memory, timed by its events; without PyTorch on
our own arrays, by our events. On a CPU, by the clock. The odd thing: PyTorch's side is what its
users call (functional.linear, scaled_dot_product_attention, …), not the fastest way it could be
done.
"""

from __future__ import annotations

import contextlib
import itertools
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hipgpt_cli.bench.machine import machine, versions
from hipgpt_cli.bench.models import device_name, torch_device
from hipgpt_cli.bench.result import Result, Row, figures
from hipgpt_cli.bench.torch_gpt import torch_dtype
from hipgpt_cli.bench.workload import peak_tflops

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hipgpt_kernels import Backend
    from hipgpt_model.config import GPTConfig

REPEATS = 15
WARM_UP = 3
LOGITS_BYTES = 1 << 30
"""Most bytes of logits in the loss's line; a step takes them in pieces too."""


@dataclass(frozen=True)
class Op:
    """One op to time.

    Attributes:
        name: with its sizes.
        ours: does it once.
        peer: PyTorch's; None where it has none of the kind.
        flop: operations that it needs.
        nbytes: bytes that it must at least move.
    """

    name: str
    ours: Callable[[], object]
    peer: Callable[[], object] | None
    flop: float
    nbytes: float


def bench_ops(
    config: GPTConfig,
    backend: Backend,
    *,
    dtype: str = "float32",
    rows: int = 1,
    against: str | None = None,
    threads: int | None = None,
    peak: float | None = None,
) -> Result:
    """Time the ops of one training step, each by itself.

    Args:
        config: the model whose sizes are taken.
        backend: the device.
        dtype: "float32", "bf16" or "fp16".
        rows: B.
        against: "torch", or None for ours alone.
        threads: CPU threads of the peer.
        peak: TFLOP/s of the device; None looks the card up.

    Raises:
        UserError: PyTorch sees no such device.
    """
    peak = peak or peak_tflops(device_name(backend), dtype)
    made = _Arrays(backend, dtype, against is not None, threads)
    item = 4 if dtype == "float32" else 2
    result = Result(
        f"Ops of {config.num_parameters() / 1e6:.3g} M parameters, B{rows} T{config.max_seq_len}, "
        f"{dtype}",
        backend.description,
        {"model": config.to_dict(), "dtype": dtype, "rows": rows, "peak_tflops": peak},
        machine(),
        versions("torch", backend=backend),
    )
    with made.stream:
        for op in _ops(config, rows, item, made):
            programs = {"hipgpt": op.ours}
            if op.peer is not None and made.torch is not None:
                programs[f"torch {made.torch.__version__.partition('+')[0]}"] = op.peer
            for name, work in programs.items():
                ms = made.milliseconds(work)
                tflops = op.flop / ms / 1e9 if op.flop else None
                result.rows.append(
                    Row(
                        op.name,
                        name,
                        figures(
                            {
                                "ms": ms,
                                "TFLOP/s": tflops,
                                "of peak": tflops / peak if peak and tflops else None,
                                "GB/s": op.nbytes / ms / 1e6,
                            }
                        ),
                    )
                )
    return result


class _Arrays:
    """Random arrays, each as ours and as PyTorch's over the same memory, and a clock.

    Args:
        backend: the device.
        dtype: of activations and weights.
        against: whether PyTorch's are wanted.
        threads: CPU threads of PyTorch.
    """

    def __init__(self, backend: Backend, dtype: str, against: bool, threads: int | None) -> None:
        self.backend, self.dtype = backend, dtype
        self.rng = np.random.default_rng(0)
        self.torch: Any = None
        self.stream: Any = contextlib.nullcontext()
        self.gpu = backend.name != "cpu"
        if not against:
            return
        device = torch_device(backend)
        import torch

        self.torch = torch
        if self.gpu:
            ours: Any = backend
            # PyTorch works on our stream, so that its events time both.
            cuda: Any = torch.cuda
            self.stream = cuda.stream(cuda.ExternalStream(ours.stream.address))
        elif threads is not None:
            torch.set_num_threads(threads)
        self.device = device

    def normal(self, *shape: int, scale: float = 1.0) -> tuple[Any, Any]:
        """Normal numbers of the dtype."""
        values = self.rng.standard_normal(shape, np.float32) * np.float32(scale)
        return self._both(values, low=True)

    def zeros(self, *shape: int) -> tuple[Any, Any]:
        """Zeros in float32."""
        return self._both(np.zeros(shape, np.float32), low=False)

    def empty(self, *shape: int) -> Any:
        """Ours alone, of the dtype."""
        return self.backend.empty(shape, self.backend.compute_dtype(self.dtype))

    def ids(self, limit: int, *shape: int) -> tuple[Any, Any]:
        """Whole numbers; PyTorch's are int64, as it wants them."""
        values = self.rng.integers(0, limit, shape, np.int32)
        theirs = None
        if self.torch is not None:
            theirs = self.torch.from_numpy(values.astype(np.int64)).to(self.device)
        return self.backend.from_numpy(values), theirs

    def _both(self, values: np.ndarray, *, low: bool) -> tuple[Any, Any]:
        if self.torch is not None:
            tensor = self.torch.from_numpy(values).to(self.device)
            tensor = tensor.to(torch_dtype(self.dtype)) if low else tensor
            ours: Any = self.backend
            return (ours.adopt(tensor) if self.gpu else tensor.numpy()), tensor
        array = self.backend.from_numpy(values)
        if low and self.dtype != "float32":
            array = self.backend.convert(array, self.backend.compute_dtype(self.dtype))
        return array, None

    def milliseconds(self, work: Callable[[], object]) -> float:
        """Median time of one call: by events on a GPU, without Python; else by the clock."""
        for _ in range(WARM_UP):
            work()
        if not self.gpu:
            times = []
            for _ in range(REPEATS):
                began = time.perf_counter()
                work()
                times.append((time.perf_counter() - began) * 1e3)
            return statistics.median(times)
        from hipgpt_kernels.hip.driver import Event
        from hipgpt_kernels.recorder import keep_busy

        ours: Any = self.backend
        began = time.perf_counter()
        work()
        launched_ms = (time.perf_counter() - began) * 1e3
        self.backend.synchronize()
        events = [Event() for _ in range(REPEATS + 1)]
        # Small ops end before Python has asked for the next: the GPU gets all of them at once.
        keep_busy(self.backend, 2 * REPEATS * launched_ms)
        events[0].record(ours.stream)
        for event in events[1:]:
            work()
            event.record(ours.stream)
        self.backend.synchronize()
        pairs = itertools.pairwise(events)
        return statistics.median(after.milliseconds_since(before) for before, after in pairs)


def _ops(config: GPTConfig, B: int, item: int, arrays: _Arrays) -> Iterator[Op]:
    """The ops of a step, in its order; arrays are made when an op's turn has come."""
    V, T, E, F, H = (
        config.vocab_size,
        config.max_seq_len,
        config.embed_dim,
        config.ff_dim,
        config.num_heads,
    )
    M = B * T
    for K, N in dict.fromkeys([(E, 3 * E), (E, E), (E, F), (F, E), (E, V)]):
        yield from _linear(arrays, M, K, N, item)
    yield from _attention(arrays, B, T, H, E // H, item)
    yield from _norm(arrays, M, E, item)
    yield _loss(arrays, M, V, item)
    yield _embedding(arrays, B, T, V, E, item)
    yield _adamw(arrays, config.num_parameters())


def _linear(arrays: _Arrays, M: int, K: int, N: int, item: int) -> Iterator[Op]:
    backend, torch = arrays.backend, arrays.torch
    (x, tx), (w, tw), (d, td) = (
        arrays.normal(M, K), arrays.normal(N, K, scale=K**-0.5), arrays.normal(M, N),
    )  # fmt: skip
    out, dx = arrays.empty(M, N), arrays.empty(M, K)
    dw, _ = arrays.zeros(N, K)
    flop, size = 2.0 * M * N * K, f"{M}×{K}×{N}"
    moved = item * (M * K + N * K + M * N)
    peer = torch is not None
    yield Op(f"linear_forward {size}",
             lambda: backend.linear_forward(x, w, out=out),
             (lambda: torch.nn.functional.linear(tx, tw)) if peer else None, flop,
             moved)  # fmt: skip
    yield Op(f"linear_backward_input {size}",
             lambda: backend.linear_backward_input(d, w, out=dx),
             (lambda: torch.matmul(td, tw)) if peer else None, flop, moved)  # fmt: skip
    yield Op(f"linear_backward_weight {size}",
             lambda: backend.linear_backward_weight(d, x, dw),
             (lambda: torch.matmul(td.T, tx)) if peer else None, flop,
             item * (M * K + M * N) + 8 * N * K)  # fmt: skip


def _attention(arrays: _Arrays, B: int, T: int, H: int, D: int, item: int) -> Iterator[Op]:
    backend, torch = arrays.backend, arrays.torch
    (q, tq), (k, tk), (v, tv), (d, td) = (arrays.normal(B, T, H, D) for _ in range(4))
    out, (lse, _) = arrays.empty(B, T, H, D), arrays.zeros(B, H, T)
    gradients = [arrays.empty(B, T, H, D) for _ in range(3)]
    forward = backward = None
    if torch is not None:
        turned = [one.transpose(1, 2).detach().requires_grad_() for one in (tq, tk, tv)]
        attend = torch.nn.functional.scaled_dot_product_attention
        kept = attend(*turned, is_causal=True)
        dout = td.transpose(1, 2)

        def forward() -> object:
            with torch.no_grad():
                return attend(*turned, is_causal=True)

        def backward() -> object:
            return torch.autograd.grad(kept, turned, dout, retain_graph=True)

    backend.attention_forward(q, k, v, out=out, lse=lse)
    size, flop, moved = f"B{B} T{T} H{H} D{D}", 2.0 * B * H * T * T * D, item * B * T * H * D
    yield Op(f"attention_forward {size}",
             lambda: backend.attention_forward(q, k, v, out=out, lse=lse), forward, flop,
             4 * moved)  # fmt: skip
    yield Op(f"attention_backward {size}",
             lambda: backend.attention_backward(d, q, k, v, out, lse, *gradients), backward,
             2.5 * flop, 8 * moved)  # fmt: skip


def _norm(arrays: _Arrays, M: int, E: int, item: int) -> Iterator[Op]:
    backend, torch = arrays.backend, arrays.torch
    (x, tx), (w, tw), (b, tb), (d, td) = (
        arrays.normal(M, E), arrays.normal(E), arrays.normal(E), arrays.normal(M, E),
    )  # fmt: skip
    out, dx = arrays.empty(M, E), arrays.empty(M, E)
    backend.fill(dx, 0.0)
    (mean, _), (rstd, _), (dw, _), (db, _) = (
        arrays.zeros(M), arrays.zeros(M), arrays.zeros(E), arrays.zeros(E),
    )  # fmt: skip
    norm = norm_back = None
    if torch is not None:
        leaves = [one.detach().clone().requires_grad_() for one in (tx, tw, tb)]
        kept = torch.nn.functional.layer_norm(leaves[0], (E,), leaves[1], leaves[2])

        def norm() -> object:
            return torch.nn.functional.layer_norm(tx, (E,), tw, tb)

        def norm_back() -> object:
            return torch.autograd.grad(kept, leaves, td, retain_graph=True)

    yield Op(f"layernorm_forward {M}×{E}",
             lambda: backend.layernorm_forward(x, w, b, out=out, mean=mean, rstd=rstd), norm,
             0.0, 2 * item * M * E)  # fmt: skip
    yield Op(f"layernorm_backward {M}×{E}",
             lambda: backend.layernorm_backward(d, x, w, mean, rstd, dx, dw, db), norm_back,
             0.0, 4 * item * M * E)  # fmt: skip


def _loss(arrays: _Arrays, M: int, V: int, item: int) -> Op:
    backend, torch = arrays.backend, arrays.torch
    rows = max(1, min(M, LOGITS_BYTES // (4 * V)))
    (z, tz), (targets, ttargets) = arrays.normal(rows, V), arrays.ids(V, rows)
    loss = None
    if torch is not None:
        logits = tz.detach().clone().requires_grad_()

        def loss() -> object:
            found = torch.nn.functional.cross_entropy(logits.float(), ttargets)
            return torch.autograd.grad(found, logits)

    return Op(f"cross_entropy {rows}×{V}",
             lambda: backend.cross_entropy_forward_backward(z, targets, 1.0), loss,
             0.0, 2 * item * rows * V)  # fmt: skip


def _embedding(arrays: _Arrays, B: int, T: int, V: int, E: int, item: int) -> Op:
    backend, torch = arrays.backend, arrays.torch
    (tokens, ttokens), (d, td) = arrays.ids(V, B, T), arrays.normal(B, T, E)
    dtable, _ = arrays.zeros(V, E)
    peer = None
    if torch is not None:

        def peer() -> object:
            return torch.ops.aten.embedding_dense_backward(td, ttokens, V, -1, False)

    return Op(f"embedding_backward {B * T}×{E}, V {V}",
              lambda: backend.embedding_backward(d, tokens, dtable), peer, 0.0,
              item * B * T * E + 8 * min(V, B * T) * E)  # fmt: skip


def _adamw(arrays: _Arrays, n: int) -> Op:
    backend, torch = arrays.backend, arrays.torch
    (w, tw), (g, tg), (m, _), (v, _) = (arrays.zeros(n) for _ in range(4))
    backend.fill(g, 1e-3)
    peer = None
    if torch is not None:
        weight = tw.detach().clone().requires_grad_()
        weight.grad = tg
        fused = {"fused": True} if arrays.gpu else {}
        peer = torch.optim.AdamW([weight], lr=1e-6, **fused).step
    return Op(f"adamw_step {n}",
              lambda: backend.adamw_step(w, g, m, v, learning_rate=1e-6, beta1=0.9, beta2=0.95,
                                         epsilon=1e-8, weight_decay=0.1, step=1),
              peer, 0.0, 28 * n)  # fmt: skip
