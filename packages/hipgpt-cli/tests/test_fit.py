"""What happens around the steps: keeping the best, stopping early, samples, skips, locks."""

import json
import re
import shutil
import signal
import sys

import numpy as np
import pytest

from hipgpt_cli.retention import Keep
from hipgpt_cli.runs import Run
from hipgpt_cli.sample import read_samples
from hipgpt_model.checkpoint import load_checkpoint, read_header
from hipgpt_model.train import Trainer

SKIPPED = "Updates skipped: 2 with a norm above 2 times its mean"


@pytest.fixture
def train(run, text, tiny):
    """train("--patience", "2") -> click's Result; the run is runs/r."""

    def start(*options, resume=False):
        words = ["--resume"] if resume else ["--data", text, "--run-name", "r", *tiny]
        result = run("train", *words, *options)
        assert result.exit_code == 0, result.output
        return result

    return start


@pytest.fixture
def folder(tmp_path):
    return Run(tmp_path / "runs" / "r")


@pytest.fixture
def losses(monkeypatch):
    """losses(3.0, 2.0, …): what the next evaluations find."""
    from hipgpt_model.evaluate import EvalReport

    def plan(*values):
        left = list(values)
        monkeypatch.setattr(
            Trainer, "evaluate", lambda _: EvalReport.from_sums(left.pop(0) * 10, 1, 10)
        )

    return plan


def steps_of(run):
    return [step for step, _ in run.checkpoints()]


def figures(path):
    clocks = {"elapsed_s", "tokens_per_s"}
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: line[name] for name in line.keys() - clocks} for line in lines]


# --- which checkpoints stay ---------------------------------------------------------------------


def test_the_best_checkpoints_stay(train, folder, losses):
    losses(3.0, 1.0, 2.0, 1.5, 4.0, 5.0)
    train("--eval-every", "2", "--ckpt-every", "1", "--keep-last", "1", "--keep-best", "2")
    assert steps_of(folder) == [4, 8, 12]
    assert folder.best.read_text() == "step-00000004.msgpack\n"
    assert folder.latest.read_text() == "step-00000012.msgpack\n"


def test_the_best_is_saved_even_where_no_checkpoint_is_due(train, folder, losses):
    losses(3.0, 1.0, 2.0, 1.5, 4.0, 5.0)
    train("--eval-every", "2", "--ckpt-every", "0", "--keep-last", "1", "--keep-best", "1")
    assert steps_of(folder) == [4, 12]


def test_every_so_many_steps_one_stays(train, folder):
    train("--ckpt-every", "1", "--keep-last", "2", "--keep-every", "5")
    assert steps_of(folder) == [5, 10, 11, 12]


def test_a_damaged_checkpoint_is_not_the_best(train, folder, losses):
    losses(1.0, 2.0)
    train("--keep-best", "1")
    found = folder.checkpoints()
    assert Keep(1, 1).best_of(found) == [12] or Keep(1, 1).best_of(found) == [6]
    folder.checkpoint(6).write_bytes(b"nothing")
    assert Keep(1, 1).best_of(folder.checkpoints()) == [12]


# --- stopping early -----------------------------------------------------------------------------


def test_patience_ends_a_run_and_says_which_model_was_best(train, run, folder, losses):
    losses(3.0, 2.0, 2.5, 2.4, 1.0, 1.0)
    result = train("--eval-every", "2", "--patience", "2", "--ckpt-every", "0")
    assert read_header(folder.newest_checkpoint()).step == 8
    assert "early: no evaluation since step 4 was better" in result.stdout
    assert steps_of(folder) == [2, 4, 8]  # the best are saved for --patience, too
    again = run("train", "--resume")
    assert again.exit_code == 1
    assert "ended early: none of 2 evaluations was better than that of step 4" in again.stderr
    losses(1.0, 1.0)
    train("--patience", "0", resume=True)
    assert read_header(folder.newest_checkpoint()).step == 12


def test_patience_survives_a_resume(train, folder, losses):
    losses(3.0, 2.0, 2.5)
    train("--eval-every", "2", "--patience", "2", "--steps", "6", "--ckpt-every", "0")
    header = read_header(folder.newest_checkpoint())
    assert header.metrics["evaluations_since_best"] == 1
    losses(2.4, 1.0, 1.0)
    train("--steps", "12", resume=True)
    assert read_header(folder.newest_checkpoint()).step == 8


# --- samples and skips --------------------------------------------------------------------------


def test_samples_are_shown_and_kept(train, folder):
    result = train("--sample-every", "4")
    samples = read_samples(folder.samples)
    assert [step for step, _ in samples] == [4, 8, 12]
    assert len({sample.prompt for _, sample in samples}) == 1
    assert result.stdout.count("[Sample ") == 3
    for path in (folder.checkpoint(8), folder.checkpoint(12)):
        path.unlink()
    train(resume=True)
    assert read_samples(folder.samples) == samples


def test_skipped_updates_are_told_counted_and_recorded(train, folder, monkeypatch):
    """Outliers are made by an impossible standard: any norm is above it."""
    from hipgpt_kernels.backend import Control
    from hipgpt_model.optim import AdamW

    step = AdamW.step

    def strict(self, *args):
        control = self.control
        control[Control.NORM_STEPS], control[Control.NORM_MEAN] = 50, 1e-9
        return step(self, *args)

    monkeypatch.setattr(AdamW, "step", strict)
    result = train("--skip-outliers", "2", "--steps", "4", "--ckpt-every", "3")
    assert f"[Skip 2] {SKIPPED}; 2 so far" in result.stdout
    assert f"[Skip 4] {SKIPPED}; 4 so far" in result.stdout
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert [line["outliers"] for line in lines if "loss" in line] == [2, 4]
    assert load_checkpoint(folder.checkpoint(3))[1]["step_control"][Control.OUTLIERS] == 3
    # The third was never told before the run ends there and goes on.
    folder.checkpoint(4).unlink()
    result = train(resume=True)
    assert f"[Skip 4] {SKIPPED}; 4 so far" in result.stdout


def test_updates_skipped_after_the_last_report_are_told_at_the_end(
    train, folder, losses, monkeypatch
):
    from hipgpt_kernels.backend import Control
    from hipgpt_model.optim import AdamW

    step = AdamW.step

    def strict(self, *args):
        self.control[Control.NORM_STEPS], self.control[Control.NORM_MEAN] = 50, 1e-9
        return step(self, *args)

    monkeypatch.setattr(AdamW, "step", strict)
    losses(1.0, 2.0)
    result = train("--skip-outliers", "2", "--eval-every", "1", "--patience", "1",
                   "--log-every", "12")  # fmt: skip
    assert f"[Skip 2] {SKIPPED}; 2 so far" in result.stdout
    assert read_header(folder.newest_checkpoint()).metrics["outliers"] == 2


def test_saves_are_told_with_their_speed(train):
    result = train("--ckpt-every", "6")
    saves = re.findall(r"\[Save (\d+)\] .* kB in .* MB/s\), beside training", result.stdout)
    assert saves == ["6", "12"]


def test_the_average_is_what_generates(run, train, folder):
    train("--ema", "0.9")
    header, tensors = load_checkpoint(folder.newest_checkpoint())
    assert header.has_ema
    assert not np.array_equal(tensors["ema/output.weight"], tensors["output.weight"])
    options = ("--prompt", "the quick", "--seed", "1", "--num-tokens", "20")
    texts = [run("generate", *options).stdout]
    for weights in ("ema", "model"):
        run("checkpoint", "convert", "r", f"{weights}.msgpack", "--weights", weights)
        texts.append(run("generate", "--checkpoint", f"{weights}.msgpack", *options).stdout)
    assert texts[0] == texts[1]


# --- going on -----------------------------------------------------------------------------------


def test_a_run_without_a_checkpoint_begins_anew(train, folder, tmp_path):
    train()
    shutil.copytree(folder.path, tmp_path / "whole")
    shutil.rmtree(folder.checkpoint_folder)
    folder.latest.unlink()
    result = train(resume=True)
    assert "has no checkpoint yet, so it begins anew" in result.stdout
    final = "checkpoints/step-00000012.msgpack"
    assert (folder.path / final).read_bytes() == (tmp_path / "whole" / final).read_bytes()
    assert figures(folder.metrics) == figures(tmp_path / "whole" / "metrics.jsonl")


def test_what_a_killed_process_left_is_swept_away(train, folder):
    train("--steps", "4")
    left = [folder.path / ".latest.abc.part", folder.checkpoint_folder / ".step-1.msgpack.77.part"]
    kept = folder.checkpoint_folder / "mine.part"
    for path in (*left, kept):
        path.touch()
    folder.lock.write_text("{}")  # nobody holds it
    train("--steps", "8", resume=True)
    assert not any(path.exists() for path in left)
    assert not folder.lock.exists()
    assert kept.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_two_processes_cannot_train_one_run(process, run, text, folder, sizes):
    made = process("train", "--data", text, *sizes, "--steps", "10000000", "--log-every", "5",
                   "--ckpt-every", "20", "--run-name", "r")  # fmt: skip
    for line in made.stdout:
        if b"[Save" in line:
            break
    for words in (["--resume"], ["--data", text, "--run-name", "r", "--reset", *sizes]):
        result = run("train", *words)
        assert result.exit_code == 1
        assert f"run r is being trained by process {made.pid}" in result.stderr
        assert result.stderr.count("\n") == 1
    assert folder.checkpoints()
    made.send_signal(signal.SIGTERM)
    assert made.wait(30) == 143
    assert run("train", "--resume", "--steps", str(read_header(folder.newest_checkpoint()).step + 1)
               ).exit_code == 0  # fmt: skip


@pytest.mark.parametrize("passes", [1, 2])
def test_a_signal_within_an_accumulation_saves_between_passes(
    train, run, text, tiny, folder, tmp_path, monkeypatch, passes
):
    """The passes done are not done again, and the end is the same to the byte."""
    options = ("--grad-accum", "3", "--dropout", "0.1", "--ema", "0.9")
    train(*options)
    shutil.move(folder.path, tmp_path / "whole")
    prepare = "prepare"
    from hipgpt_model.plan import Plan

    original = Plan.prepare

    def interrupted(self, step, micro_step, position):
        if (step, micro_step) == (5, passes - 1):
            signal.raise_signal(signal.SIGINT)
        return original(self, step, micro_step, position)

    with monkeypatch.context() as patch:
        patch.setattr(Plan, prepare, interrupted)
        result = run("train", "--data", text, "--run-name", "r", *tiny, *options)
    assert result.exit_code == 130, result.output
    header = read_header(folder.newest_checkpoint())
    assert (header.step, header.micro_steps) == (5, passes)
    result = train(resume=True)
    assert f"after step 5 and {passes} of 3 passes of the next" in result.stdout
    for path in (tmp_path / "whole" / "checkpoints").iterdir():
        if path.name != "step-00000005.msgpack":
            assert (folder.checkpoint_folder / path.name).read_bytes() == path.read_bytes()
    assert figures(folder.metrics) == figures(tmp_path / "whole" / "metrics.jsonl")


def test_an_evaluation_that_a_signal_forestalled_is_made_up_for(
    train, run, text, tiny, folder, tmp_path, monkeypatch
):
    train()
    shutil.move(folder.path, tmp_path / "whole")
    report = Trainer.step_report

    def interrupted(self):
        if self.step == 5:
            signal.raise_signal(signal.SIGINT)
        return report(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step_report", interrupted)
        assert run("train", "--data", text, "--run-name", "r", *tiny).exit_code == 130
    assert steps_of(folder)[-1] == 6
    train(resume=True)
    assert figures(folder.metrics) == figures(tmp_path / "whole" / "metrics.jsonl")
    final = "checkpoints/step-00000012.msgpack"
    assert (folder.path / final).read_bytes() == (tmp_path / "whole" / final).read_bytes()
