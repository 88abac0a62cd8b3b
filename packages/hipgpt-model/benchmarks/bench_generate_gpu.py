"""Writing tokens on a GPU: GPT-2 124M, ours against PyTorch's best setting, in one process.

    python benchmarks/bench_generate_gpu.py [--batch 1,64] [--dtype bf16] [--prompt 64]
        [--tokens 448] [--top-k 0] [--rounds 3] [--without-torch] [--json FILE]

The peer is the same model in PyTorch: weights of the same sizes, scaled_dot_product_attention over
a static cache of just prompt + tokens positions, compiled, one step captured in a CUDA graph that
is replayed without looking at what it drew. Both take the likeliest id; ours does so through its
public `BatchGenerator`, with every id handed to Python. Rounds alternate, figures are medians.

Then the matrix-vector product alone, for each matrix of the model: launches in a graph, each with
weights of its own so that no cache holds them, and what share of a plain copy's bandwidth it gets.

The odd thing: "device" is how fast our graph runs when nothing but launches is done between tokens.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from hipgpt_cli.bench.machine import machine, versions
from hipgpt_cli.bench.result import Result, Row
from hipgpt_kernels import load_backend
from hipgpt_kernels.decode_loop import RowSampling
from hipgpt_model import GPT, GPTConfig, Parameters, SamplingConfig
from hipgpt_model.batch import BatchGenerator

CONFIG = GPTConfig(50257, 1024, 768, 12, 12, 3072, tied=True, output_bias=False)
BYTES = {"float32": 4, "bf16": 2, "fp16": 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batch", default="1,64", help="texts at once, a list (default 1,64)")
    parser.add_argument("--dtype", default="bf16", choices=list(BYTES))
    parser.add_argument("--prompt", type=int, default=64, help="tokens to read (default 64)")
    parser.add_argument("--tokens", type=int, default=448, help="tokens to write (default 448)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--top-k", type=int, default=0, help="draw with top-k; 0: greedy")
    parser.add_argument("--without-torch", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record there")
    arguments = parser.parse_args()

    backend = load_backend("hip")
    title = (
        f"generation, GPT-2 124M, {arguments.dtype}, {arguments.prompt} + {arguments.tokens} "
        f"tokens, {arguments.rounds} rounds"
    )
    print(f"{backend.description}\n{title}")
    record = Result(
        title,
        backend.description,
        {
            "model": CONFIG.to_dict(),
            "dtype": arguments.dtype,
            "prompt": arguments.prompt,
            "tokens": arguments.tokens,
            "top_k": arguments.top_k,
        },
        machine(),
        versions("torch", backend=backend),
        notes=["device tokens/s: our graph alone, nothing but launches between tokens"],
    )
    parameters = Parameters(CONFIG, backend, training=False, dtype=arguments.dtype)
    parameters.initialize(1)
    model = GPT(CONFIG, backend, parameters)
    for B in [int(one) for one in arguments.batch.split(",")]:
        ours = Ours(model, B, arguments.prompt, arguments.top_k)
        peer = None if arguments.without_torch else Torch(arguments.dtype, B, arguments)
        times: dict[str, list[float]] = {"ours": [], "torch": []}
        reads: list[float] = []
        for round_number in range(arguments.rounds + 1):
            read, write = ours.run(arguments.tokens)
            theirs = peer.run(arguments.prompt, arguments.tokens) if peer else float("nan")
            if round_number:  # the first warms up
                times["ours"].append(write)
                times["torch"].append(theirs)
                reads.append(read)
        speed = {name: B / statistics.median(column) for name, column in times.items()}
        device = ours.device(arguments.prompt + arguments.tokens // 2)
        weights = CONFIG.num_parameters() * BYTES[arguments.dtype]
        row = {
            "batch": B,
            "dtype": arguments.dtype,
            "tokens/s": round(speed["ours"]),
            "device tokens/s": round(B / device),
            "torch tokens/s": round(speed["torch"]) if peer else None,
            "ratio": round(speed["ours"] / speed["torch"], 2) if peer else None,
            "weights TB/s": round(weights / device / 1e12, 2),
            "read ms": round(1000 * statistics.median(reads), 2),
        }
        print(json.dumps(row), flush=True)
        sizes = {"B": B}
        written = {"tokens/s": speed["ours"], "device tokens/s": B / device}
        record.rows += [
            Row("write", "hipgpt", written, sizes),
            Row("read", "hipgpt", {"ms": 1e3 * statistics.median(reads)}, sizes),
        ]
        if peer:
            record.rows.append(Row("write", peer.name, {"tokens/s": speed["torch"]}, sizes))
    for product, measured, shape in matrix_vector(backend, model.dtype):
        print(json.dumps({"decode matrix-vector, batch 1": product, **shape, **measured}))
        record.rows.append(Row(f"decode matrix-vector {product}", "hipgpt", measured, shape))
    if arguments.json:
        record.write(arguments.json)


class Ours:
    """hipgpt's batch of B texts."""

    def __init__(self, model: GPT, B: int, prompt: int, top_k: int) -> None:
        rng = np.random.default_rng(0)
        self.model, self.B = model, B
        self.prompts = rng.integers(0, CONFIG.vocab_size, (B, prompt)).tolist()
        self.batch = BatchGenerator(model, slots=B)
        self.choice = {"temperature": 1.0, "top_k": top_k} if top_k else {"temperature": 0.0}

    def run(self, tokens: int) -> tuple[float, float]:
        """Seconds until the first token of every text, and for each further one."""
        began = time.perf_counter()
        for prompt in self.prompts:
            self.batch.add(prompt, SamplingConfig(num_tokens=tokens, **self.choice))  # type: ignore[arg-type]
        count = len(self.batch.step())
        first = time.perf_counter()
        while self.batch.texts:
            count += len(self.batch.step())
        assert count == self.B * tokens, count
        return first - began, (time.perf_counter() - first) / (tokens - 1)

    def device(self, length: int, launches: int = 200) -> float:
        """Seconds a token where the caches hold about `length` tokens."""
        loop: Any = self.batch._loop  # noqa: SLF001  # what users do not see is timed here
        for row in range(self.B):
            loop.begin(row, length - launches // 2, RowSampling(temperature=0, remaining=10**6))
        for turn in range(2):
            self.model.backend.synchronize()
            began = time.perf_counter()
            for _ in range(20 if turn == 0 else launches):
                loop._graph.launch()  # noqa: SLF001
                loop._launches += 1  # noqa: SLF001
            self.model.backend.synchronize()
            seconds = (time.perf_counter() - began) / launches
        for row in range(self.B):
            loop.end(row)
        return seconds


def matrix_vector(
    backend: Any, dtype: Any, rotating: int = 400 << 20
) -> list[tuple[str, dict[str, float], dict[str, int]]]:
    """The bandwidth of `linear_forward` with one row, and its share of that of a copy."""
    source, target = (backend.empty((rotating,), np.uint8) for _ in range(2))
    copy = 2 * rotating / graph_seconds(backend, lambda: backend.copy(target, source))
    E, F, V = CONFIG.embed_dim, CONFIG.ff_dim, CONFIG.vocab_size
    rows = []
    for name, N, K in (
        *(("qkv", 3 * E, E), ("output", E, E), ("up", F, E), ("down", E, F)),
        ("head", V, E),
    ):
        x, out = backend.zeros((1, K), dtype), backend.empty((1, N), dtype)
        count = -(-rotating // (N * K * dtype.itemsize))
        weights = [backend.zeros((N, K), dtype) for _ in range(count)]

        def products(x: Any = x, out: Any = out, weights: Any = weights) -> None:
            for weight in weights:
                backend.linear_forward(x, weight, out=out)

        seconds = graph_seconds(backend, products) / count
        speed = N * K * dtype.itemsize / seconds
        values = {"microseconds": 1e6 * seconds, "TB/s": speed / 1e12, "of a copy": speed / copy}
        rows.append(
            (name, {key: round(one, 2) for key, one in values.items()}, {"B": 1, "N": N, "K": K})
        )
    return rows


def graph_seconds(backend: Any, work: Any, rounds: int = 5) -> float:
    """Seconds of a graph of some work, the median."""
    work()
    with backend.capture() as graph:
        work()
    times = []
    for _ in range(rounds + 1):
        backend.synchronize()
        began = time.perf_counter()
        graph.launch()
        backend.synchronize()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


class Torch:
    """The same model in PyTorch, one step compiled and captured."""

    def __init__(self, dtype: str, B: int, arguments: argparse.Namespace) -> None:
        import torch

        self.torch = torch
        version = torch.__version__.partition("+")[0]
        self.name = f"torch {version} compiled, static cache, one CUDA graph a token"
        kind = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[dtype]
        E, H, L, V = 768, 12, 12, 50257
        S = arguments.prompt + arguments.tokens
        device = torch.device("cuda")
        torch.manual_seed(0)
        functional = torch.nn.functional

        def weight(*shape: int) -> Any:
            return (0.02 * torch.randn(*shape, device=device)).to(kind)

        table, places = weight(V, E), weight(1024, E)
        layers = [
            (
                *(weight(E) + 1, weight(E), weight(3 * E, E), weight(3 * E), weight(E, E)),
                *(weight(E), weight(E) + 1, weight(E), weight(4 * E, E), weight(4 * E)),
                *(weight(E, 4 * E), weight(E)),
            )
            for _ in range(L)
        ]
        gain, offset = weight(E) + 1, weight(E)
        self.keys = [torch.zeros(B, H, S, E // H, dtype=kind, device=device) for _ in range(L)]
        self.values = [torch.zeros_like(one) for one in self.keys]
        self.token = torch.zeros(B, 1, dtype=torch.long, device=device)
        self.position = torch.zeros(1, dtype=torch.long, device=device)
        columns = torch.arange(S, device=device)

        def step(token: Any, position: Any) -> Any:
            x = table[token] + places[position]
            mask = (columns <= position)[None, None, None]
            for number, (g1, b1, wq, bq, wo, bo, g2, b2, wu, bu, wd, bd) in enumerate(layers):
                norm = functional.layer_norm(x, (E,), g1, b1)
                qkv = functional.linear(norm, wq, bq).view(B, 1, 3, H, E // H)
                q, k, v = (qkv[:, :, part].transpose(1, 2) for part in range(3))
                self.keys[number].index_copy_(2, position, k)
                self.values[number].index_copy_(2, position, v)
                y = functional.scaled_dot_product_attention(
                    q, self.keys[number], self.values[number], attn_mask=mask
                )
                x = x + functional.linear(y.transpose(1, 2).reshape(B, 1, E), wo, bo)
                norm = functional.layer_norm(x, (E,), g2, b2)
                up = functional.gelu(functional.linear(norm, wu, bu), approximate="tanh")
                x = x + functional.linear(up, wd, bd)
            x = functional.layer_norm(x, (E,), gain, offset)
            return functional.linear(x, table).argmax(-1)

        with torch.inference_mode():
            compiled = torch.compile(step, fullgraph=True)
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            with torch.cuda.stream(stream):
                for _ in range(3):
                    compiled(self.token, self.position)
            torch.cuda.synchronize()
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.token.copy_(compiled(self.token, self.position))
                self.position.add_(1)

    def run(self, prompt: int, tokens: int) -> float:
        """Seconds a token, from a cache that holds the prompt."""
        self.position.fill_(prompt)
        self.torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(tokens - 1):
            self.graph.replay()
        self.torch.cuda.synchronize()
        return (time.perf_counter() - began) / (tokens - 1)


if __name__ == "__main__":
    main()
