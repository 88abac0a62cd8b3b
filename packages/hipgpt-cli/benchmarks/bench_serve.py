"""Many clients against `hipgpt serve`: throughput, and whether every text is the one it gets alone.

    python bench_serve.py                              # a small random model, 64 clients, 60 s
    python bench_serve.py --seconds 10 --clients 8 --dim 256 --layers 4 --seq 256
    python bench_serve.py -- --checkpoint model.msgpack  # what follows goes to `hipgpt serve`

Most clients read texts, streamed or whole; some leave in the middle, some send garbage, some
prompts are too long. The odd thing: it measures and proves in one go, because a server that is fast
and wrong is no result; status 1 says that something was lost, mixed up, or never given back.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from hipgpt_cli.bench.machine import machine, versions
from hipgpt_cli.bench.result import Result, Row

SEEDS = 40  # different requests; each is asked for once alone, before the others come
HOST = "127.0.0.1"


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        serve = options.serve or ["--checkpoint", str(save_model(Path(folder), options))]
        with serving(serve) as (port, process):
            result = run(port, process.pid, options)
    print(json.dumps(result, indent=2))
    if options.json:
        record(result, options).write(options.json)
    sys.exit(bool(result["problems"]))


def arguments(words=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--seq", type=int, default=128)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record there")
    parser.add_argument("serve", nargs="*", help="options of hipgpt serve, after --")
    return parser.parse_args(words)


def record(result, options):
    """What all benchmarks write."""
    here = machine()
    figures = {
        "tokens/s": result["tokens_per_second"],
        "requests/s": result["requests_per_second"],
        **{f"{name} s": seconds for name, seconds in result["latency_s"].items()},
    }
    sizes = {name: getattr(options, name) for name in ("clients", "seq", "dim", "layers", "heads")}
    rows = [Row("serve", "hipgpt", figures)]
    return Result("serving, many clients", here["processor"], sizes, here, versions(), rows)


def run(port, pid, options):
    """What 64 clients, or as many as asked for, have seen."""
    return asyncio.run(measure(port, pid, options))


def save_model(folder, options):
    """A checkpoint of random weights, and its tokenizer beside it."""
    from hipgpt_kernels import load_backend
    from hipgpt_model import GPT, GPTConfig, Parameters, save_weights
    from hipgpt_tokenizer import Tokenizer

    text = Path(__file__).read_text(encoding="utf-8")
    tokenizer = Tokenizer.train(text, 512, special_tokens=["<|endoftext|>"])
    tokenizer.save(folder / "tokenizer.json")
    config = GPTConfig(
        vocab_size=tokenizer.vocab_size, max_seq_len=options.seq, embed_dim=options.dim,
        num_layers=options.layers, num_heads=options.heads, ff_dim=4 * options.dim,
    )  # fmt: skip
    parameters = Parameters(config, load_backend("cpu"), training=False)
    parameters.initialize(seed=1)
    larger = {name: array * (10 if array.ndim == 2 else 1) for name, array in parameters.items()}
    parameters.load(larger)  # so that what is written depends on what stands before
    model = GPT(config, parameters.backend, parameters)
    save_weights(folder / "model.msgpack", model, tokenizer.fingerprint)
    return folder / "model.msgpack"


@contextlib.contextmanager
def serving(options):
    """(port, process) of a server of its own."""
    command = [sys.executable, "-m", "hipgpt_cli", "serve", "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            print(line, end="", file=sys.stderr)
            if found := re.search(r"API .*:(\d+)/v1", line):
                break
        else:
            sys.exit("the server did not start")
        yield int(found[1]), process
        process.terminate()
        if process.wait(timeout=60) != 0:
            sys.exit(f"the server ended with status {process.returncode}")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def exchange(port, body, *, path="/v1/completions", leave_after=None):
    """(status, bytes of the body) of one request on a connection of its own.

    With `leave_after` the connection is closed after so many bytes of the body.
    """
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        method = "GET" if body is None else "POST"
        data = body or b""
        writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode()
            + data
        )
        status = int((await reader.readline()).split()[1])
        headers = await reader.readuntil(b"\r\n\r\n")
        if leave_after is not None:
            await reader.read(leave_after)
            return status, b""
        rest = await reader.read()
        return status, unchunked(rest) if b"chunked" in headers.lower() else rest
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def unchunked(data):
    """The body of a chunked response."""
    parts = []
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        parts.append(data[:length])
        data = data[length + 2 :]
    return b"".join(parts)


def fields(seed, options):
    """A request that is always the same for a seed, of any kind."""
    chance = random.Random(seed)
    return {
        "prompt": [chance.randrange(256) for _ in range(chance.randint(1, options.seq // 2))],
        "max_tokens": chance.randint(1, options.max_tokens),
        "seed": seed,
        "temperature": chance.choice([0, 0.7, 1.0]),
        "top_k": chance.choice([0, 40]),
        "echo": chance.random() < 0.2,
        **({"logprobs": 2} if chance.random() < 0.2 else {}),
    }


def text_of(body, *, streamed):
    """The text of a response."""
    if not streamed:
        return json.loads(body)["choices"][0]["text"]
    events = [line for line in body.decode().split("\n\n") if line.startswith("data: {")]
    assert body.endswith(b"data: [DONE]\n\n")
    return "".join(json.loads(event[6:])["choices"][0]["text"] for event in events)


async def metrics(port):
    """name -> number."""
    _, body = await exchange(port, None, path="/metrics")
    lines = [line for line in body.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.split() for line in lines)}


def memory_mb(pid):
    """Resident memory of a process, or None where the system does not say."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return None
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1000


def descriptors(pid):
    """Open files and sockets of a process, or None."""
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return None


async def measure(port, pid, options):
    """Run the clients; everything that was seen."""
    alone = {}
    for seed in range(SEEDS):
        status, body = await exchange(port, json.dumps(fields(seed, options)).encode())
        assert status == 200, body
        alone[seed] = text_of(body, streamed=False)

    seen, latencies = Counter(), []
    end = time.monotonic() + options.seconds
    memory = []

    async def client(number):
        chance = random.Random(1000 + number)
        while time.monotonic() < end:
            kind = chance.choices(
                ["whole", "stream", "leave", "garbage", "long"], [40, 40, 10, 5, 5]
            )[0]
            seed = chance.randrange(SEEDS)
            asked = {**fields(seed, options), "stream": kind in {"stream", "leave"}}
            began = time.monotonic()
            if kind == "garbage":
                status, _ = await exchange(port, chance.randbytes(chance.randint(0, 2000)))
                seen["garbage refused" if status == 400 else f"garbage got {status}"] += 1
            elif kind == "long":
                asked["prompt"] = [1] * (options.seq + 1)
                status, _ = await exchange(port, json.dumps(asked).encode())
                seen["long refused" if status == 400 else f"long got {status}"] += 1
            elif kind == "leave":
                asked |= {"max_tokens": 1000, "ignore_eos": True}
                await exchange(port, json.dumps(asked).encode(), leave_after=200)
                seen["left"] += 1
            else:
                status, body = await exchange(port, json.dumps(asked).encode())
                if status == 200:
                    right = text_of(body, streamed=kind == "stream") == alone[seed]
                    seen["right" if right else "wrong text"] += 1
                    latencies.append(time.monotonic() - began)
                else:
                    seen[f"status {status}"] += 1

    async def watch():
        while time.monotonic() < end:
            memory.append(memory_mb(pid))
            await asyncio.sleep(max(options.seconds / 20, 0.1))

    before, began = await metrics(port), time.monotonic()
    await asyncio.gather(watch(), *(client(number) for number in range(options.clients)))
    after, took = await metrics(port), time.monotonic() - began
    for _ in range(100):
        idle = await metrics(port)
        if idle["hipgpt_rows_running"] == idle["hipgpt_rows_waiting"] == 0:
            break
        await asyncio.sleep(0.1)
    await asyncio.sleep(0.5)

    def rate(name):
        return round((after[f"hipgpt_{name}_total"] - before[f"hipgpt_{name}_total"]) / took, 1)

    latencies.sort()
    good = {"right", "left", "garbage refused", "long refused"}
    problems = [f"{count} × {what}" for what, count in seen.items() if what not in good]
    if idle["hipgpt_rows_running"] or idle["hipgpt_rows_waiting"]:
        problems.append("rows were not given back")
    status, body = await exchange(port, json.dumps(fields(0, options)).encode())
    if status != 200 or text_of(body, streamed=False) != alone[0]:
        problems.append("the server is not what it was")
    known = [value for value in memory if value is not None]
    return {
        "clients": options.clients,
        "seconds": round(took, 1),
        "requests": dict(seen),
        "requests_per_second": round(sum(seen.values()) / took, 1),
        "tokens_per_second": rate("tokens"),
        "prompt_tokens_per_second": rate("prompt_tokens"),
        "steps_per_second": rate("steps"),
        "busy": rate("busy_seconds"),
        "latency_s": {
            name: round(latencies[int(part * (len(latencies) - 1))], 3)
            for name, part in (("median", 0.5), ("p95", 0.95), ("worst", 1))
        } if latencies else {},
        "memory_mb": {
            "after a quarter": round(known[len(known) // 4]), "most": round(max(known)),
            "at the end": round(memory_mb(pid)),
        } if known else {},
        "open_files_at_the_end": descriptors(pid),
        "problems": problems,
    }  # fmt: skip


if __name__ == "__main__":
    main()
