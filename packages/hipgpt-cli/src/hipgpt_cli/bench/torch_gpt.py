"""PyTorch's side of a benchmark: the same model from the same weights, at its best setting.

On a GPU that is torch.compile with the whole step (or token) as one CUDA graph, fused AdamW, and
autocast over float32 weights; on a CPU, eager. The odd thing: it is written with PyTorch's own
functions and nothing of ours but the names of the weights, so an agreement of the two says
something.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hipgpt_model.config import GPTConfig, TrainConfig

WARM_UP = 3
"""Steps before a capture, as PyTorch's page on CUDA graphs has it."""


def is_installed() -> bool:
    """Is there a PyTorch to compare with?"""
    import importlib.util

    return importlib.util.find_spec("torch") is not None


def torch_dtype(name: str) -> Any:
    """PyTorch's dtype for "float32", "bf16" or "fp16"."""
    import torch

    return {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


class Model:
    """The forward pass as a function of a dictionary of tensors.

    Args:
        config: the model.
        weights: tensors by our names.
    """

    def __init__(self, config: GPTConfig, weights: Mapping[str, Any]) -> None:
        self.config, self.w = config, weights

    def linear(self, x: Any, name: str) -> Any:
        """x · weightᵀ + bias, by the layer's name."""
        from torch.nn import functional

        return functional.linear(x, self.w[f"{name}.weight"], self.w.get(f"{name}.bias"))

    def norm(self, x: Any, name: str) -> Any:
        """LayerNorm, by the layer's name."""
        from torch.nn import functional

        weight, bias = self.w[f"{name}.weight"], self.w[f"{name}.bias"]
        return functional.layer_norm(x, x.shape[-1:], weight, bias, self.config.norm_epsilon)

    def activation(self, x: Any) -> Any:
        """The feed-forward's nonlinearity."""
        from torch.nn import functional

        match self.config.activation:
            case "gelu":
                return functional.gelu(x, approximate="tanh")
            case "gelu_erf":
                return functional.gelu(x)
            case "relu":
                return functional.relu(x)
        gate, up = x.chunk(2, dim=-1)
        return functional.silu(gate) * up

    def block(self, i: int, x: Any, attend: Callable[[int, Any, Any, Any], Any]) -> Any:
        """One block; `attend` gets and gives (B, H, T, D)."""
        B, T, E = x.shape
        heads, name = self.config.num_heads, f"blocks.{i}"
        qkv = self.linear(self.norm(x, f"{name}.norm1"), f"{name}.attention.qkv")
        q, k, v = (
            part.view(B, T, heads, E // heads).transpose(1, 2) for part in qkv.split(E, dim=2)
        )
        attended = attend(i, q, k, v).transpose(1, 2).reshape(B, T, E)
        x = x + self.linear(attended, f"{name}.attention.output")
        up = self.linear(self.norm(x, f"{name}.norm2"), f"{name}.feed_forward.up")
        return x + self.linear(self.activation(up), f"{name}.feed_forward.down")

    def hidden(self, inputs: Any, placed: Any, attend: Any) -> Any:
        """(B, T) ids and the (T, E) of their positions to (B, T, E) after the final norm."""
        from torch.nn import functional

        x = functional.embedding(inputs, self.w["token_embedding"]) + placed
        for i in range(self.config.num_layers):
            x = self.block(i, x, attend)
        return self.norm(x, "final_norm") if self.config.final_norm else x

    def logits(self, x: Any) -> Any:
        """(B, T, E) to (B, T, V)."""
        from torch.nn import functional

        output = self.w["token_embedding" if self.config.tied else "output.weight"]
        return functional.linear(x, output, self.w.get("output.bias"))

    def loss(self, inputs: Any, targets: Any) -> Any:
        """Mean cross-entropy of (B, T) ids."""
        from torch.nn import functional

        def attend(_: int, q: Any, k: Any, v: Any) -> Any:
            return functional.scaled_dot_product_attention(q, k, v, is_causal=True)

        placed = self.w["position_embedding"][: inputs.shape[1]]
        logits = self.logits(self.hidden(inputs, placed, attend))
        return functional.cross_entropy(
            logits.reshape(-1, self.config.vocab_size).float(), targets.reshape(-1)
        )


class TorchTraining:
    """Whole training steps in PyTorch on one batch.

    Args:
        config: the model.
        training: AdamW's settings, clipping and dtype.
        weights: NumPy arrays by our names.
        batch: inputs and targets, (B, T) int32.
        device: "cpu" or "cuda".
        threads: of the CPU; None leaves PyTorch's own choice.
    """

    def __init__(
        self,
        config: GPTConfig,
        training: TrainConfig,
        weights: Mapping[str, np.ndarray],
        batch: tuple[np.ndarray, np.ndarray],
        device: str,
        threads: int | None = None,
    ) -> None:
        import torch

        if threads is not None:
            torch.set_num_threads(threads)
        gpu = device == "cuda"
        if gpu:
            torch.cuda.reset_peak_memory_stats()
        self.torch, self.gpu = torch, gpu
        w = {
            name: torch.tensor(np.asarray(array, np.float32), device=device, requires_grad=True)
            for name, array in weights.items()
        }
        self.device = device
        self.set_batch(*batch)
        self.parameters, self.clip = list(w.values()), training.clip
        options: dict[str, Any] = {"fused": True, "capturable": True} if gpu else {"foreach": True}
        groups: Any = [
            {"params": [t for t in w.values() if t.ndim == 2]},
            {"params": [t for t in w.values() if t.ndim != 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            groups,
            lr=torch.tensor(training.learning_rate) if gpu else training.learning_rate,
            betas=(training.beta1, training.beta2),
            eps=training.epsilon,
            weight_decay=training.weight_decay,
            **options,
        )
        self.dtype = training.dtype
        self.forward = Model(config, w).loss
        self.graph: Any = None
        self.last: Any = None
        # One stream for every step: autograd remembers the one that a gradient was first made on.
        self.side: Any = contextlib.nullcontext()
        if gpu:
            torch.cuda.synchronize()
            cuda: Any = torch.cuda
            self.side = cuda.stream(cuda.Stream())
            torch.set_float32_matmul_precision("highest")
            self.forward = torch.compile(self.forward, dynamic=False)
        how = "compiled, one CUDA graph" if gpu else "eager"
        self.name = f"torch {torch.__version__.partition('+')[0]} {how}"

    def set_batch(self, inputs: np.ndarray, targets: np.ndarray) -> None:
        """Train on these (B, T) ids from now on; not once a step was captured."""
        self.inputs, self.targets = (
            self.torch.from_numpy(part.astype(np.int64)).to(self.device)
            for part in (inputs, targets)
        )

    def _cast(self) -> Any:
        if self.dtype == "float32":
            return contextlib.nullcontext()
        # The cache of casted weights must not outlive a captured step.
        return self.torch.autocast("cuda", torch_dtype(self.dtype), cache_enabled=False)

    def _step(self) -> None:
        """One step. fp16 goes without a loss scale here, which costs PyTorch nothing."""
        with self._cast():
            loss = self.forward(self.inputs, self.targets)
        loss.backward()
        self.last = loss.detach()  # with its graph alive the next step could not be captured
        if self.clip:
            self.torch.nn.utils.clip_grad_norm_(self.parameters, self.clip, foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def first_loss(self) -> float:
        """Do the first step and give its loss."""
        with self.side:
            self._step()
            return float(self.last.item())

    def run(self, steps: int) -> None:
        """Do steps, and wait."""
        if self.gpu and self.graph is None:
            self._capture()
        with self.side:
            for _ in range(steps):
                if self.graph is None:
                    self._step()
                else:
                    self.graph.replay()
        if self.gpu:
            self.torch.cuda.synchronize()

    def _capture(self) -> None:
        cuda = self.torch.cuda
        with self.side:
            for _ in range(WARM_UP):
                self._step()
        cuda.synchronize()
        graph = cuda.CUDAGraph()
        with cuda.graph(graph, stream=self.side.stream):
            self._step()
        self.graph = graph

    def memory(self) -> int | None:
        """Most bytes that PyTorch's allocator held; None on the CPU."""
        return int(self.torch.cuda.max_memory_reserved()) if self.gpu else None


class TorchGeneration:
    """Greedy text in PyTorch with a static KV cache.

    Args:
        config: the model.
        dtype: of the weights and the cache.
        weights: NumPy arrays by our names.
        rows: B.
        length: tokens of a prompt and of what is written to it: the positions of the cache.
        device: "cpu" or "cuda".
        threads: of the CPU; None leaves PyTorch's own choice.
    """

    def __init__(
        self,
        config: GPTConfig,
        dtype: str,
        weights: Mapping[str, np.ndarray],
        rows: int,
        length: int,
        device: str,
        threads: int | None = None,
    ) -> None:
        import torch

        if threads is not None:
            torch.set_num_threads(threads)
        self.torch, self.gpu, self.config = torch, device == "cuda", config
        if self.gpu:
            torch.cuda.reset_peak_memory_stats()
        kind = torch_dtype(dtype)
        w = {
            name: torch.tensor(np.asarray(array, np.float32), device=device, dtype=kind)
            for name, array in weights.items()
        }
        self.model = Model(config, w)
        H = config.num_heads
        # A tensor for each layer: of a view of one, the compiler would copy the whole to write it.
        self.keys, self.values = (
            [
                torch.zeros(rows, H, length, config.head_dim, device=device, dtype=kind)
                for _ in range(config.num_layers)
            ]
            for _ in range(2)
        )
        self.places = torch.arange(length, device=device)
        self.drawn = torch.zeros(rows, length, device=device, dtype=torch.int64)
        self.token = torch.zeros(rows, 1, device=device, dtype=torch.int64)
        self.position = torch.zeros(1, device=device, dtype=torch.int64)
        self.graph: Any = None
        self.decode = self._decode
        if self.gpu:
            self.decode = torch.compile(self._decode, dynamic=False, fullgraph=True)
        how = "compiled, static cache, one CUDA graph a token" if self.gpu else "eager"
        self.name = f"torch {torch.__version__.partition('+')[0]} {how}"

    def _read(self, prompts: Any) -> Any:
        """The first token after the prompts (B, n)."""
        from torch.nn import functional

        def attend(i: int, q: Any, k: Any, v: Any) -> Any:
            self.keys[i][:, :, : k.shape[2]] = k
            self.values[i][:, :, : v.shape[2]] = v
            return functional.scaled_dot_product_attention(q, k, v, is_causal=True)

        placed = self.model.w["position_embedding"][: prompts.shape[1]]
        hidden = self.model.hidden(prompts, placed, attend)[:, -1:]
        return self.model.logits(hidden).argmax(dim=-1)

    def _decode(self, token: Any, position: Any) -> Any:
        """The token after `token` (B, 1), which stands at `position`."""
        from torch.nn import functional

        seen = (self.places <= position)[None, None, None]

        def attend(i: int, q: Any, k: Any, v: Any) -> Any:
            keys, values = self.keys[i], self.values[i]
            keys.index_copy_(2, position, k)
            values.index_copy_(2, position, v)
            return functional.scaled_dot_product_attention(q, keys, values, attn_mask=seen)

        placed = self.model.w["position_embedding"][position]
        return self.model.logits(self.model.hidden(token, placed, attend)).argmax(dim=-1)

    def _next(self) -> None:
        self.token.copy_(self.decode(self.token, self.position))
        self.position += 1
        self.drawn.index_copy_(1, self.position, self.token)

    def run(self, prompts: np.ndarray, count: int) -> tuple[float, float, list[list[int]]]:
        """As `ours.OursGeneration.run`."""
        torch = self.torch
        with torch.inference_mode():
            ids = torch.from_numpy(prompts.astype(np.int64)).to(self.token.device)
            if self.gpu and self.graph is None:
                self._capture(ids)
            if self.gpu:
                torch.cuda.synchronize()
            began = time.perf_counter()
            self.token.copy_(self._read(ids))
            n = prompts.shape[1]
            self.position.fill_(n)
            self.drawn[:, n : n + 1] = self.token
            if self.gpu:
                torch.cuda.synchronize()
            first = time.perf_counter()
            for _ in range(1, count):
                if self.graph is None:
                    self._next()
                else:
                    self.graph.replay()
            rows = self.drawn[:, n : n + count].tolist()  # waits
            return first - began, time.perf_counter() - first, rows

    def _capture(self, ids: Any) -> None:
        cuda = self.torch.cuda
        side = cuda.Stream()
        side.wait_stream(cuda.current_stream())
        with cuda.stream(side):
            self.token.copy_(self._read(ids))
            for _ in range(WARM_UP):
                self.position.fill_(ids.shape[1])  # the cache may have room for one more only
                self._next()
        cuda.current_stream().wait_stream(side)
        self.graph = cuda.CUDAGraph()
        with cuda.graph(self.graph):
            self._next()

    def memory(self) -> int | None:
        """Most bytes that PyTorch's allocator held; None on the CPU."""
        return int(self.torch.cuda.max_memory_reserved()) if self.gpu else None
