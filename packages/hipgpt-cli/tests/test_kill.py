"""SIGKILL at 50 random instants: what is left in the end is the undisturbed run, bit for bit."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hipgpt_model.checkpoint import verify_checkpoint

KILLS = 50

OPTIONS = [
    "--steps", "600", "--grad-accum", "2", "--dropout", "0.1", "--ema", "0.99", "--schedule", "wsd",
    "--skip-outliers", "10", "--patience", "1000", "--warmup-steps", "5", "--lr", "0.003",
    "--log-every", "10", "--eval-every", "35", "--eval-batches", "1", "--sample-every", "90",
    "--ckpt-every", "5", "--keep-last", "2", "--keep-best", "2", "--keep-every", "150",
    "--device", "cpu", "--threads", "1",
]  # fmt: skip


def figures(path):
    """The lines of metrics.jsonl without what a clock says."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    clocks = {"elapsed_s", "tokens_per_s"}
    return [{name: line[name] for name in line.keys() - clocks} for line in lines]


@pytest.mark.skipif(sys.platform != "linux", reason="forks lives of a process that uses BLAS")
def test_killed_fifty_times_it_is_the_undisturbed_run(text, tmp_path, sizes):
    """Losses, figures, samples, which checkpoints are kept, and every byte of them."""
    folder = tmp_path / "runs"
    folder.mkdir()
    made = subprocess.run(
        [sys.executable, Path(__file__).with_name("kill_loop.py"), folder, str(KILLS), "7",
         "--data", text, *sizes, *OPTIONS],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    log = (tmp_path / "log").read_text(errors="replace")[-3000:]
    assert made.returncode == 0, made.stderr + log
    outcome = json.loads(made.stdout.splitlines()[-1])
    assert outcome["kills"] == KILLS
    assert outcome["while"].get("training", 0) > 5, outcome
    whole = folder / "whole"
    assert len(figures(whole / "metrics.jsonl")) == 60 + 18
    for name in outcome["runs"]:
        run = folder / name
        assert figures(run / "metrics.jsonl") == figures(whole / "metrics.jsonl")
        kept = sorted(path.name for path in (run / "checkpoints").iterdir())
        assert kept == sorted(path.name for path in (whole / "checkpoints").iterdir())
        for path in (run / "checkpoints").iterdir():
            verify_checkpoint(path)
            assert path.read_bytes() == (whole / "checkpoints" / path.name).read_bytes(), path
        for plain in ("samples.jsonl", "latest", "best", "tokenizer.json", "tokens.bin"):
            assert (run / plain).read_bytes() == (whole / plain).read_bytes(), plain
        assert not [path for path in run.rglob("*") if path.name.endswith((".part", "lock"))]
