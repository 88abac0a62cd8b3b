"""Reading a prompt and writing tokens on the CPU, ours against transformers and llama.cpp.

    python benchmarks/bench_generate.py [--prompt 512] [--tokens 64] [--rounds 5] [--threads N]

One process, one set of random weights: GPT-2 124M in transformers, copied into ours and written
as a float32 GGUF file for llama.cpp (package xllamacpp, with gguf to write the file). Ours and
transformers must choose the same tokens greedily before anything is timed. Rounds alternate between
the peers, the figures are medians. A peer that is not installed is left out.

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

from hipgpt_kernels import load_backend
from hipgpt_model import GPT, GPTConfig, Parameters, SamplingConfig
from hipgpt_model.generate import generate

CONFIG = GPTConfig(50257, 1024, 768, 12, 12, 3072, tied=True, output_bias=False)

LINEAR = {
    "attention.qkv": "attn.c_attn",
    "attention.output": "attn.c_proj",
    "feed_forward.up": "mlp.c_fc",
    "feed_forward.down": "mlp.c_proj",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--prompt", type=int, default=512, help="tokens to read (default 512)")
    parser.add_argument("--tokens", type=int, default=64, help="tokens to write (default 64)")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds (default 5)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()

    backend = load_backend("cpu", threads=arguments.threads)
    parameters = Parameters(CONFIG, backend, training=False)
    parameters.initialize(1)
    prompt = np.random.default_rng(0).integers(0, CONFIG.vocab_size, arguments.prompt)
    prompt = prompt.astype(np.int32)
    peers: dict[str, Any] = {"hipgpt": Ours(GPT(CONFIG, backend, parameters))}
    for make in (Transformers, LlamaCpp):
        try:
            peers[make.name] = make(parameters, arguments.threads)
        except ImportError as error:
            print(f"without {make.name}: {error}")
    if Transformers.name in peers:
        same = [peers[name].run(prompt, 8)[2] for name in ("hipgpt", Transformers.name)]
        assert same[0] == same[1], f"other tokens: {same}"

    times: dict[str, list[tuple[float, float]]] = {name: [] for name in peers}
    memory = []
    for round_number in range(arguments.rounds + 1):
        memory.append(memory_speed(arguments.threads))
        for name, peer in peers.items():
            read, write, _ = peer.run(prompt, arguments.tokens)
            if round_number:  # the first warms up
                times[name].append((read, write))
    print(f"{backend.description}\nGPT-2 124M, float32, {arguments.rounds} rounds")
    ours = [statistics.median(column) for column in zip(*times["hipgpt"], strict=True)]
    for name, rows in times.items():
        read, write = (statistics.median(column) for column in zip(*rows, strict=True))
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

    def __init__(self, parameters: Parameters | None, threads: int) -> None:
        import torch
        from transformers import GPT2Config, GPT2LMHeadModel

        torch.set_num_threads(threads)
        self.torch = torch
        self.model = GPT2LMHeadModel(GPT2Config()).eval()
        if parameters is None:  # its own random weights
            return
        state = {}
        for name, array in parameters.items():
            value = torch.from_numpy(array)
            state[gpt2_name(name)] = value.T.contiguous() if is_linear(name) else value
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
    """llama.cpp through xllamacpp, from a float32 GGUF file; it times itself."""

    name = "llama.cpp"

    def __init__(self, parameters: Parameters, threads: int) -> None:
        import gguf
        import xllamacpp

        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name, "model.gguf")
        write_gguf(gguf, path, parameters)
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


def is_linear(name: str) -> bool:
    """Whether a tensor is stored the other way round in GPT-2 (in × out)."""
    return name.endswith(".weight") and any(part in name for part in LINEAR)


def gpt2_name(name: str) -> str:
    """Our name of a tensor in transformers' words."""
    fixed = {"token_embedding": "wte.weight", "position_embedding": "wpe.weight"}
    if name in fixed:
        return f"transformer.{fixed[name]}"
    for ours, theirs in LINEAR.items():
        name = name.replace(ours, theirs)
    name = name.replace("norm1", "ln_1").replace("norm2", "ln_2").replace("final_norm", "ln_f")
    return f"transformer.{name.replace('blocks.', 'h.')}"


def gguf_name(name: str) -> str:
    """Our name of a tensor in llama.cpp's words."""
    fixed = {"token_embedding": "token_embd.weight", "position_embedding": "position_embd.weight"}
    if name in fixed:
        return fixed[name]
    words = {
        "attention.qkv": "attn_qkv",
        "attention.output": "attn_output",
        "feed_forward.up": "ffn_up",
        "feed_forward.down": "ffn_down",
        "norm1": "attn_norm",
        "norm2": "ffn_norm",
        "final_norm": "output_norm",
        "blocks.": "blk.",
    }
    for ours, theirs in words.items():
        name = name.replace(ours, theirs)
    return name


def write_gguf(gguf: Any, path: Path, parameters: Parameters) -> None:
    """The weights as a GGUF file with a vocabulary of made-up tokens."""
    config = parameters.config
    writer = gguf.GGUFWriter(str(path), "gpt2")
    writer.add_context_length(config.max_seq_len)
    writer.add_embedding_length(config.embed_dim)
    writer.add_block_count(config.num_layers)
    writer.add_feed_forward_length(config.ff_dim)
    writer.add_head_count(config.num_heads)
    writer.add_layer_norm_eps(config.norm_epsilon)
    writer.add_file_type(0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    letters = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256))]
    letters += [chr(256 + number) for number in range(68)]
    tokens = letters + [f"t{number}" for number in range(config.vocab_size - 256)]
    writer.add_token_list(tokens)
    writer.add_token_types([1] * len(tokens))
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(config.vocab_size - 1)
    for name, array in parameters.items():
        writer.add_tensor(gguf_name(name), array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
