"""Reading a prompt and writing tokens on the CPU, ours against transformers and llama.cpp.

    python benchmarks/bench_generate.py [--prompt 512] [--tokens 64] [--rounds 5] [--threads N]
        [--weights float32|bf16|int8] [--json FILE]

One process, one set of random weights: GPT-2 124M in transformers, copied into ours and written
as a float32 GGUF file for llama.cpp (package xllamacpp). Ours and transformers must choose the same
tokens greedily before anything is timed. Rounds alternate between the peers, the figures are
medians. A peer that is not installed is left out.

The odd thing: llama.cpp times itself and is asked for its own figures; the other two are timed from
outside.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from hipgpt_cli.bench.machine import machine, versions
from hipgpt_cli.bench.result import Result, Row
from hipgpt_kernels import load_backend
from hipgpt_model import GPT, GPTConfig, Parameters, SamplingConfig
from hipgpt_model.generate import generate
from hipgpt_model.interop.gguf import NORMAL, Vocabulary, write_gguf
from hipgpt_model.interop.gpt2 import gpt2_tensors

LLAMA_TYPES = {"float32": "f32", "bf16": "bf16", "int8": "q8_0"}

CONFIG = GPTConfig(50257, 1024, 768, 12, 12, 3072, tied=True, output_bias=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--prompt", type=int, default=512, help="tokens to read (default 512)")
    parser.add_argument("--tokens", type=int, default=64, help="tokens to write (default 64)")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds (default 5)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--weights",
        choices=LLAMA_TYPES,
        default="float32",
        help="what ours writes tokens from, and llama.cpp's file; transformers stays float32",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record there")
    arguments = parser.parse_args()

    backend: Any = load_backend("cpu", threads=arguments.threads)
    parameters = Parameters(CONFIG, backend, training=False)
    parameters.initialize(1)
    prompt = np.random.default_rng(0).integers(0, CONFIG.vocab_size, arguments.prompt)
    prompt = prompt.astype(np.int32)
    peers: dict[str, Any] = {"hipgpt": Ours(GPT(CONFIG, backend, parameters))}
    for make in (Transformers, LlamaCpp):
        try:
            peers[make.name] = make(parameters, arguments.threads, arguments.weights)
        except ImportError as error:
            print(f"without {make.name}: {error}")
    if Transformers.name in peers:
        same = [peers[name].run(prompt, 8)[2] for name in ("hipgpt", Transformers.name)]
        assert same[0] == same[1], f"other tokens: {same}"
    backend.decode_weights = arguments.weights

    times: dict[str, list[tuple[float, float]]] = {name: [] for name in peers}
    memory = []
    for round_number in range(arguments.rounds + 1):
        memory.append(memory_speed(arguments.threads))
        for name, peer in peers.items():
            read, write, _ = peer.run(prompt, arguments.tokens)
            if round_number:  # the first warms up
                times[name].append((read, write))
    title = f"generation, GPT-2 124M, {arguments.weights}, {arguments.rounds} rounds"
    print(f"{backend.description}\n{title}")
    record = Result(
        title,
        backend.description,
        {
            "model": CONFIG.to_dict(),
            "weights": arguments.weights,
            "prompt": arguments.prompt,
            "tokens": arguments.tokens,
        },
        machine(),
        versions("torch", "transformers", "xllamacpp"),
    )
    ours = [statistics.median(column) for column in zip(*times["hipgpt"], strict=True)]
    for name, rows in times.items():
        read, write = (statistics.median(column) for column in zip(*rows, strict=True))
        record.rows += [
            Row("read", name, {"tokens/s": len(prompt) / read}),
            Row("write", name, {"tokens/s": arguments.tokens / write}),
        ]
        print(
            f"{name:14} read {len(prompt) / read:7.0f} tokens/s ({read / ours[0]:4.2f}×)   "
            f"write {arguments.tokens / write:6.1f} tokens/s ({write / ours[1]:4.2f}×)"
        )
    print("×: the peer's time over ours")
    speed = statistics.median(memory)
    print(
        f"plain reading of memory, same rounds: {speed / 1e9:.0f} GB/s, enough for "
        f"{speed / parameters.weights.nbytes:.0f} tokens/s of float32 weights"
    )
    record.settings["memory_gbytes_per_s"] = speed / 1e9
    if arguments.json:
        record.write(arguments.json)


def memory_speed(threads: int) -> float:
    """Bytes a second at which threads read memory that no cache holds: sums of 256 MiB."""
    from concurrent.futures import ThreadPoolExecutor

    parts = np.array_split(np.ones(1 << 26, np.float32), threads)  # views
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(np.max, parts))
        began = time.perf_counter()
        list(pool.map(np.max, parts))
        return sum(part.nbytes for part in parts) / (time.perf_counter() - began)


class Ours:
    """hipgpt: what `hipgpt generate` runs, greedily."""

    def __init__(self, model: GPT) -> None:
        self.model = model

    def run(self, prompt: np.ndarray, count: int) -> tuple[float, float, list[int]]:
        """Seconds to read the prompt and to write `count` tokens, and the tokens."""
        sampling = SamplingConfig(num_tokens=count + 1, temperature=0.0)
        began = time.perf_counter()
        tokens = generate(self.model, [int(token) for token in prompt], sampling)
        first = next(tokens)
        read = time.perf_counter() - began
        began = time.perf_counter()
        rest = list(tokens)
        return read, time.perf_counter() - began, [first, *rest]


class Transformers:
    """GPT2LMHeadModel in PyTorch, eager, with its own cache."""

    name = "transformers"

    def __init__(
        self, parameters: Parameters | None, threads: int, _weights: str = "float32"
    ) -> None:
        import torch
        from transformers import GPT2Config, GPT2LMHeadModel

        torch.set_num_threads(threads)
        self.torch = torch
        self.model = GPT2LMHeadModel(GPT2Config()).eval()
        if parameters is None:  # its own random weights
            return
        state = {}
        for tensor in gpt2_tensors(CONFIG):
            value = torch.from_numpy(parameters.backend.to_numpy(parameters[tensor.ours]))
            state[tensor.huggingface] = value.T.contiguous() if tensor.transposed else value
        missing, unexpected = self.model.load_state_dict(state, strict=False)
        assert not unexpected, unexpected
        assert set(missing) <= {"lm_head.weight"}, missing

    def run(self, prompt: np.ndarray, count: int) -> tuple[float, float, list[int]]:
        """As `Ours.run`."""
        torch = self.torch
        with torch.inference_mode():
            ids = torch.from_numpy(prompt[None].astype(np.int64))
            began = time.perf_counter()
            result = self.model(ids, use_cache=True, logits_to_keep=1)
            token = result.logits[0, -1].argmax()
            read = time.perf_counter() - began
            tokens = [int(token)]
            began = time.perf_counter()
            for _ in range(count):
                result = self.model(
                    token.view(1, 1), past_key_values=result.past_key_values, use_cache=True
                )
                token = result.logits[0, -1].argmax()
                tokens.append(int(token))
            return read, time.perf_counter() - began, tokens


class LlamaCpp:
    """llama.cpp through xllamacpp, from a GGUF file of the same weights; it times itself."""

    name = "llama.cpp"

    def __init__(self, parameters: Parameters, threads: int, weights: str) -> None:
        import xllamacpp

        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name, "model.gguf")
        with path.open("wb") as file:
            write_gguf(
                file,
                CONFIG,
                parameters.items(),
                vocabulary(CONFIG.vocab_size),
                kind=LLAMA_TYPES[weights],  # type: ignore[arg-type]
                name="x",
            )
        settings = xllamacpp.CommonParams()
        settings.model.path = str(path)
        settings.n_ctx, settings.n_parallel, settings.warmup = 1024, 1, True
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
        settings.cache_prompt = False
        self.server = xllamacpp.Server(settings)

    def run(self, prompt: np.ndarray, count: int) -> tuple[float, float, list[int]]:
        """As `Ours.run`; the tokens are not given."""
        request = {
            "prompt": [int(token) for token in prompt],
            "n_predict": count + 1,
            "temperature": 0.0,
            "cache_prompt": False,
            "ignore_eos": True,
        }
        answer = self.server.handle_completions(request)
        timings = (answer if isinstance(answer, dict) else json.loads(answer))["timings"]
        write = timings["predicted_ms"] / timings["predicted_n"] * count
        return timings["prompt_ms"] / 1e3, write / 1e3, []


def vocabulary(size: int) -> Vocabulary:
    """Made-up tokens: ids go in and come out, no text is encoded."""
    tokens = [chr(code) for code in range(33, 127)] + ["Ġ", "Ċ"]
    tokens += [f"t{number}" for number in range(size - len(tokens))]
    return Vocabulary(tokens, [NORMAL] * size, ["a b"], "gpt-2", size - 1)


if __name__ == "__main__":
    main()
