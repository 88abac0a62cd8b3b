"""What the tests of the command line share: a runner, a tiny text, and a run trained once.

The odd thing: commands run in this process wherever that proves the same; a process of its own
takes half a second, and is for what only it can show: signals, pipes, terminals, start-up.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from hipgpt_cli.main import cli
from hipgpt_cli.runs import Run

if TYPE_CHECKING:
    from pathlib import Path

SIZES = [
    "--vocab-size", "300", "--seq", "8", "--dim", "16", "--heads", "2", "--layers", "1",
    "--ff", "16", "--batch", "4",
]  # fmt: skip

TINY = [*SIZES, "--steps", "12", "--log-every", "2", "--ckpt-every", "4", "--eval-every", "6",
        "--eval-batches", "2",
        "--warmup-steps", "2"]  # fmt: skip

WORDS = "the quick brown fox jumps over a lazy dog and then it sleeps in the sun until noon"


def make_text(lines: int = 200) -> str:
    """Lines of the same words in changing order: something to learn in few steps."""
    words = WORDS.split()
    return "".join(
        " ".join(words[(7 * line + place * (1 + line % 3)) % len(words)] for place in range(9))
        + ".\n"
        for line in range(lines)
    )


@pytest.fixture(scope="session")
def words() -> str:
    """The text that is learnt from."""
    return make_text()


@pytest.fixture
def sizes() -> list[str]:
    """Options of a model that trains a step in about a millisecond."""
    return SIZES


@pytest.fixture
def tiny() -> list[str]:
    """Options of a whole training of 12 steps."""
    return TINY


@pytest.fixture(autouse=True)
def _own_place(tmp_path, monkeypatch):
    """Each test works in an empty folder, with its own environment and cache."""
    before = dict(os.environ)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HIPGPT_CACHE", str(tmp_path / "cache"))
    for name in ("HIPGPT_DEBUG", "NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def run():
    """run("train", …) -> click's Result, with stdout and stderr apart."""

    def invoke(*args: str, **kwargs):
        return CliRunner().invoke(cli, [str(arg) for arg in args], prog_name="hipgpt", **kwargs)

    return invoke


@pytest.fixture
def text(tmp_path) -> Path:
    """A small text file."""
    path = tmp_path / "words.txt"
    path.write_text(make_text(), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def _trained_once(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    (folder / "words.txt").write_text(make_text(), encoding="utf-8")
    arguments = ["train", "--data", str(folder / "words.txt"), "--runs-dir", str(folder / "runs"),
                 "--run-name", "tiny", *TINY]  # fmt: skip
    result = CliRunner().invoke(cli, arguments, prog_name="hipgpt")
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def trained(_trained_once, tmp_path) -> Path:
    """The folder of the run "tiny", 12 steps, in ./runs, with ./words.txt; this test's own copy."""
    shutil.copytree(_trained_once / "runs", tmp_path / "runs")
    shutil.copy(_trained_once / "words.txt", tmp_path / "words.txt")
    return tmp_path / "runs" / "tiny"


@pytest.fixture
def process():
    """process("train", …) -> a Popen of a real `hipgpt`."""
    started: list[subprocess.Popen] = []

    def start(*args: str, **kwargs) -> subprocess.Popen:
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
                   "stderr": subprocess.PIPE, **kwargs}  # fmt: skip
        made = subprocess.Popen([sys.executable, "-m", "hipgpt_cli", *map(str, args)], **options)
        started.append(made)
        return made

    yield start
    for made in started:
        if made.poll() is None:
            made.kill()
        made.communicate()


@pytest.fixture
def on_a_terminal():
    """on_a_terminal("train", …) -> (everything shown, exit status), on a pseudo-terminal.

    What is typed is given as pairs (wait for this text, then type that), so that no test depends
    on how fast the program is.
    """
    return _on_a_terminal


def _on_a_terminal(*args, columns=100, typed=()):
    pty = pytest.importorskip("pty", reason="pseudo-terminals are a Unix thing")
    fcntl = pytest.importorskip("fcntl", reason="pseudo-terminals are a Unix thing")
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {"TERM": "xterm-256color", **os.environ}
    process = subprocess.Popen(
        [sys.executable, "-m", "hipgpt_cli", *map(str, args)],
        stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - Ctrl-C needs it
    )  # fmt: skip
    os.close(slave)
    shown, seen = b"", 0
    waiting = list(typed)
    deadline = time.monotonic() + 45
    try:
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([master], [], [], left)[0]:
                break  # nothing for so long: the assertion below tells what was there
            try:
                data = os.read(master, 65536)
            except OSError:  # the other end is closed
                break
            if not data:
                break
            shown += data
            if waiting and waiting[0][0].encode() in shown[seen:]:
                seen = len(shown)
                # A person's pause: between showing its prompt and waiting for a key, CPython's
                # readline misses a Ctrl-C for some microseconds.
                time.sleep(0.3)
                os.write(master, waiting.pop(0)[1].encode())
        status = process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        pytest.fail(f"still running after showing {shown.decode(errors='replace')!r}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(master)
    assert not waiting, f"never saw {waiting[0][0]!r} in {shown.decode(errors='replace')}"
    return shown.decode(errors="replace"), status


def _make_run(folder, steps=100, *, level=6.0, name="one"):
    """A run with made-up figures: loss level / step, and an evaluation every ten steps."""
    path = folder / "runs" / name
    path.mkdir(parents=True)
    config = {
        "format": "hipgpt-run", "version": 1, "updated": f"2026-11-2{len(name)}",
        "model": {"vocab_size": 300, "max_seq_len": 8, "embed_dim": 16, "num_layers": 1,
                  "num_heads": 2, "ff_dim": 16},
        "training": {"batch_size": 4, "grad_accum": 2, "steps": steps, "learning_rate": 0.01},
        "options": {"data": "a<b>.txt", "device": "auto"},
        "text": {"tokens": 9000, "train_tokens": 6400, "bytes": 20000},
        "machine": {"device": "cpu: <test>", "NumPy": "2"},
    }  # fmt: skip
    (path / "config.json").write_text(json.dumps(config))
    with (path / "metrics.jsonl").open("w") as file:
        for step in range(1, steps + 1):
            line = {"step": step, "loss": 1 + level / step, "accuracy": step / 200,
                    "norm": 1 / step, "learning_rate": 0.01, "tokens_per_s": 2e4,
                    "elapsed_s": float(step)}  # fmt: skip
            file.write(json.dumps(line) + "\n")
            if step % 10 == 0:
                file.write(json.dumps({"step": step, "validation_loss": 2 + level / step}) + "\n")
    return Run(path)


@pytest.fixture
def make_run():
    """make_run(folder, …) -> a run in folder/runs with made-up figures, as a `Run`."""
    return _make_run
