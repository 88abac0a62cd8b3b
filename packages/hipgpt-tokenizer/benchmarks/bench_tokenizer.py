"""Time this tokenizer beside tiktoken and Hugging Face tokenizers, in one process.

    python packages/hipgpt-tokenizer/benchmarks/bench_tokenizer.py --data ../shared/data

Each row is checked first (same ids, same text, same merges) and then timed in turns, ours and
theirs. Printed are the medians of the processor's seconds, so that other programs on the machine
count as little as they can, and the ratio of speeds (above 1: ours is faster). "Empty cache" rows
begin with an empty cache each time. --big adds training on so many MB, each trainer in a process of
its own; there the seconds are the clock's, and the largest memory of the processes is printed.
--json writes the record of all benchmarks.

Odd thing: the mixed-script text is made up (a Zipf-like vocabulary of random words in nine
scripts), because no such corpus is at hand; the 100 MB are the data files many times over with
every twelfth word changed, so that words repeat as in a real corpus but new ones keep coming.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# One row compares single threads: must be set before tokenizers is imported.
THREADS = os.environ.setdefault("RAYON_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true" if THREADS != "1" else "false")

from hipgpt_tokenizer import Tokenizer, text_blocks  # noqa: E402

FILES = ("tinyshakespeare.txt", "wikitext2-valid.txt", "wikitext2-test.txt")
# Nine alphabets: Cyrillic, Greek, Arabic, Devanagari, Hangul, Han, Hiragana, Thai, accented Latin.
SCRIPTS = (
    (0x430, 0x44F), (0x3B1, 0x3C9), (0x627, 0x64A), (0x905, 0x939), (0xAC00, 0xD7A3),
    (0x4E00, 0x9FFF), (0x3041, 0x3096), (0xE01, 0xE30), (0xE0, 0xFF),
)  # fmt: skip
WITHOUT_SPACES = ((0x4E00, 0x9FFF), (0x3041, 0x3096), (0xE01, 0xE30))


def mixed_text(size: int) -> str:
    source = random.Random(1)
    words = {
        script: [
            "".join(chr(source.randint(*script)) for _ in range(max(1, round(source.gauss(6, 3)))))
            for _ in range(3000)
        ]
        for script in SCRIPTS
    }
    parts: list[str] = []
    length = 0
    while length < size:
        script = source.choice(SCRIPTS)
        chosen = [
            words[script][min(int(source.paretovariate(0.6)) - 1, 2999)]
            for _ in range(source.randint(5, 20))
        ]
        gap = "" if script in WITHOUT_SPACES else " "
        parts.append(
            gap.join(chosen) + source.choice(["。", "! ", ". ", "? ", "\n", " 👍 ", " 12 "])
        )
        length += len(parts[-1])
    return "".join(parts)


def big_file(data: Path, target: Path, size: int) -> None:
    source = random.Random(2)
    words = "".join((data / name).read_bytes().decode() for name in FILES).split(" ")
    letters = "etaoinshrdlu"
    written = 0
    with target.open("w", encoding="utf-8", newline="") as file:
        while written < size:
            copy = words[:]
            for place in source.sample(range(len(copy)), len(copy) // 12):
                word = copy[place]
                cut = source.randint(0, len(word))
                copy[place] = word[:cut] + "".join(source.choices(letters, k=2)) + word[cut:]
            written += file.write(" ".join(copy) + " ")


def timed(calls: dict[str, object], repeat: int) -> dict[str, float]:
    """Call each in turns and return the median processor seconds of each."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeat):
        for name, call in calls.items():
            start = time.process_time()
            call()  # type: ignore[operator]
            seconds[name].append(time.process_time() - start)
    return {name: statistics.median(found) for name, found in seconds.items()}


class Cold:
    """Encodes with a new cache each time; making the tokenizer is not timed."""

    def __init__(self, tok: Tokenizer, text: str, repeat: int) -> None:
        self.fresh = [Tokenizer(tok.model) for _ in range(repeat)]
        self.text = text

    def __call__(self) -> list[int]:
        """Encode with the next tokenizer, which has seen nothing."""
        return self.fresh.pop().encode(self.text)


def small_rows(data: Path, repeat: int) -> list[dict[str, object]]:
    import tiktoken

    tok = Tokenizer.from_gpt2(data / "gpt2/vocab.json", data / "gpt2/merges.txt")
    twin = tiktoken.Encoding(
        "gpt2",
        pat_str=tiktoken_pattern(),
        mergeable_ranks={tok.token_bytes(id_): id_ for id_ in range(50256)},
        special_tokens=dict(tok.special_tokens),
    )
    shakespeare = (data / FILES[0]).read_bytes().decode()
    mixed = mixed_text(400_000)
    rows = []
    for name, text in (("encode Tiny Shakespeare", shakespeare), ("encode mixed scripts", mixed)):
        ids = tok.encode(text)
        assert ids == twin.encode(text), name
        size = len(text.encode())
        for suffix, call in (
            ("", lambda t=text: tok.encode(t)),
            (", empty cache", Cold(tok, text, repeat)),
        ):
            found = timed({"ours": call, "theirs": lambda t=text: twin.encode(t)}, repeat)
            rows.append(row(name + suffix, "tiktoken", found, size))
    ids = tok.encode(shakespeare)
    assert tok.decode(ids) == twin.decode(ids) == shakespeare
    found = timed({"ours": lambda: tok.decode(ids), "theirs": lambda: twin.decode(ids)}, repeat)
    rows.append(row("decode Tiny Shakespeare", "tiktoken", found, len(shakespeare)))

    assert ours_merges(Tokenizer.train(shakespeare, 5000)) == train_theirs([shakespeare], 5000)
    calls = {
        "ours": lambda: Tokenizer.train(shakespeare, 5000),
        "theirs": lambda: train_theirs([shakespeare], 5000),
    }
    found = timed(calls, max(3, repeat // 3))
    rows.append(row("train 5,000 ids on Tiny Shakespeare", "tokenizers", found, len(shakespeare)))
    return rows


def tiktoken_pattern() -> str:
    """Return GPT-2's pattern as tiktoken 0.14 writes it, the fastest form for tiktoken."""
    return r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"


def train_theirs(texts: object, size: int) -> list[tuple[str, str]]:
    import tokenizers

    pre = tokenizers.pre_tokenizers
    other = tokenizers.Tokenizer(tokenizers.models.BPE())
    other.pre_tokenizer = pre.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=pre.ByteLevel.alphabet(),
    )
    other.train_from_iterator(texts, trainer)
    return [tuple(pair) for pair in json.loads(other.to_str())["model"]["merges"]]


def ours_merges(tok: Tokenizer) -> list[tuple[str, str]]:
    return [(tok.id_to_token(left), tok.id_to_token(right)) for left, right in tok.merges]


def row(work: str, peer: str, found: dict[str, float], size: int) -> dict[str, object]:
    return {
        "work": work,
        "peer": peer,
        "ours_s": found["ours"],
        "theirs_s": found["theirs"],
        "ours_mb_per_s": size / found["ours"] / 1e6,
        "theirs_mb_per_s": size / found["theirs"] / 1e6,
        "ratio": found["theirs"] / found["ours"],
    }


def big_rows(data: Path, size: int, workers: int) -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "big.txt"
        big_file(data, path, size)
        found: dict[str, dict[str, object]] = {}
        for who in ("ours", "theirs"):
            command = [sys.executable, __file__, "--child", who, str(path), str(workers)]
            environment = os.environ | {
                "RAYON_NUM_THREADS": str(workers),
                "TOKENIZERS_PARALLELISM": "true",
            }
            done = subprocess.run(command, check=True, capture_output=True, env=environment)
            found[who] = json.loads(done.stdout)
        assert found["ours"]["merges"] == found["theirs"]["merges"]
        seconds = {who: float(str(found[who]["seconds"])) for who in found}
        name = f"train 32,000 ids on {size / 1e6:.0f} MB, {workers} cores"
        result = row(name, "tokenizers", seconds, path.stat().st_size)
        result["ours_memory_mb"] = found["ours"]["memory_mb"]
        result["theirs_memory_mb"] = found["theirs"]["memory_mb"]
        return [result]


def child(who: str, path: str, workers: int) -> None:
    """Train in this process and print the seconds, the memory and a digest of the merges."""
    import hashlib

    start = time.perf_counter()
    if who == "ours":
        merges = ours_merges(Tokenizer.train(text_blocks(path), 32_000, workers=workers))
    else:
        merges = train_theirs(text_blocks(path), 32_000)
    seconds = time.perf_counter() - start
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    others = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (
        workers if who == "ours" else 0
    )
    digest = hashlib.sha256(repr(merges).encode()).hexdigest()
    memory_mb = (own + others) * 1024 / 1e6
    print(json.dumps({"seconds": seconds, "memory_mb": memory_mb, "merges": digest}))


def write_record(path: Path, rows: list[dict[str, object]], *, big: bool) -> None:
    """Write the record of all benchmarks; only this needs more than the tokenizer's own package."""
    from hipgpt_cli.bench.machine import machine, versions
    from hipgpt_cli.bench.result import Result, Row

    here, found = machine(), versions("tiktoken", "tokenizers")
    title = "tokenizer, much text" if big else "tokenizer"
    record = Result(title, here["processor"], {"big": big}, here, found)
    if big:
        record.notes.append("seconds of the clock; bytes: the largest memory of all processes")
    for one in rows:
        peer = f"{one['peer']} {found[str(one['peer'])]}"
        for program, side in (("hipgpt", "ours"), (peer, "theirs")):
            figures = {"s": one[f"{side}_s"], "MB/s": one[f"{side}_mb_per_s"]}
            if f"{side}_memory_mb" in one:
                figures["bytes"] = 1e6 * one[f"{side}_memory_mb"]  # type: ignore[operator]
            record.rows.append(Row(str(one["work"]), program, figures))  # type: ignore[arg-type]
    record.write(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("HIPGPT_DATA", "../shared/data")
    )
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--big", type=float, default=0, metavar="MB", help="train on this much too")
    parser.add_argument("--only-big", action="store_true")
    parser.add_argument("--workers", type=int, default=2, help="cores for --big")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record there")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        who, path, workers = options.child
        child(who, path, int(workers))
        return
    data = Path(options.data)
    rows = [] if options.only_big else small_rows(data, options.repeat)
    if options.big:
        rows += big_rows(data, int(options.big * 1e6), options.workers)
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, one thread each")
    print(f"{'work':42} {'peer':10} {'ours':>10} {'theirs':>10} {'ratio':>6}")
    for found in rows:
        memory = (
            f"   memory {found['ours_memory_mb']:.0f} MB, theirs {found['theirs_memory_mb']:.0f} MB"
            if "ours_memory_mb" in found
            else ""
        )
        print(
            f"{found['work']:42} {found['peer']:10} {found['ours_s']:8.3f} s "
            f"{found['theirs_s']:8.3f} s {found['ratio']:6.2f}{memory}"
        )
    if options.json:
        write_record(options.json, rows, big=bool(options.big))


if __name__ == "__main__":
    main()
