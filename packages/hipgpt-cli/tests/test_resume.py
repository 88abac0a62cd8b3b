"""`hipgpt train --resume` and --ckpt: the same bits, the same configuration."""

import json
import shutil

import numpy as np
import pytest

from hipgpt_cli.runs import Run
from hipgpt_model.checkpoint import load_checkpoint


def cut_back(run_folder, step):
    """Make a run look as if it had ended after `step`, with the rest of its metrics still there."""
    run = Run(run_folder)
    for number, path in run.checkpoints():
        if number > step:
            path.unlink()
    run.latest.write_text(run.checkpoint(step).name)


def assert_equal_checkpoints(one, other):
    (header, tensors), (header_, tensors_) = load_checkpoint(one), load_checkpoint(other)
    assert (header.step, header.data_position) == (header_.step, header_.data_position)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, tensors_[name], err_msg=name)


def steps_of(path):
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


@pytest.mark.parametrize("step", [4, 8])
def test_a_resumed_run_equals_the_uninterrupted_one(run, trained, tmp_path, step):
    """Bit for bit, and its metrics are those of one run."""
    shutil.copytree(trained, tmp_path / "whole")
    cut_back(trained, step)
    result = run("train", "--resume")
    assert result.exit_code == 0, result.output
    assert f"after step {step}" in result.stdout
    final = "checkpoints/step-00000012.msgpack"
    assert_equal_checkpoints(trained / final, tmp_path / "whole" / final)
    assert steps_of(trained / "metrics.jsonl") == steps_of(tmp_path / "whole" / "metrics.jsonl")


def test_steps_may_extend(run, trained):
    result = run("train", "--resume", "--steps", "16")
    assert result.exit_code == 0
    assert "Trained    4 steps" in result.stdout
    assert [step for step, _ in Run(trained).checkpoints()] == [4, 8, 12, 16]
    assert Run(trained).read_config()["training"]["steps"] == 16


def test_a_run_that_is_done_says_so(run, trained):
    for steps in ([], ["--steps", "12"], ["--steps", "5"]):
        result = run("train", "--resume", *steps)
        assert result.exit_code == 1
        assert "--steps with a larger number goes on" in result.stderr


@pytest.mark.parametrize(
    "option",
    [["--dim", "32"], ["--lr", "0.5"], ["--data", "stdlib"], ["--tied"], ["--seed", "9"],
     ["--vocab-size", "400"]],
    ids=" ".join,
)  # fmt: skip
def test_an_option_that_contradicts_is_refused(run, trained, option):
    cut_back(trained, 4)
    result = run("train", "--resume", *option)
    assert result.exit_code == 2
    assert f"{option[0]} " in result.stderr
    assert "contradicts run tiny" in result.stderr
    assert [step for step, _ in Run(trained).checkpoints()] == [4]


def test_an_option_that_agrees_is_fine(run, trained):
    cut_back(trained, 8)
    assert run("train", "--resume", "--dim", "16", "--batch", "4").exit_code == 0


def test_reporting_options_stay_with_the_run_and_may_change(run, trained):
    """Without an option the run's own --log-every and --ckpt-every hold; with one, the new one."""
    cut_back(trained, 4)
    result = run("train", "--resume")
    assert result.stdout.count("[Step ") == 4
    result = run("train", "--resume", "--steps", "16", "--log-every", "1", "--eval-every", "2")
    assert result.stdout.count("[Step ") == 4
    assert result.stdout.count("[Eval ") == 2
    assert Run(trained).read_config()["options"]["log_every"] == 1


def test_resume_takes_the_newest_run_or_the_named_one(run, trained, tmp_path, tiny):
    text = tmp_path / "words.txt"
    run("train", "--data", text, "--run-name", "later", *tiny, "--steps", "4")
    assert "step-00000004" in run("train", "--resume", "--steps", "5").stdout
    named = run("train", "--resume", "--run-name", "tiny", "--steps", "13")
    assert "runs/tiny/checkpoints/step-00000012.msgpack, after step 12" in named.stdout


def test_the_text_is_not_needed_again(run, trained, tmp_path):
    """The ids are in the run, so the text may be gone."""
    (tmp_path / "words.txt").unlink()
    assert run("train", "--resume", "--steps", "13").exit_code == 0


def test_lost_ids_are_made_again_from_the_same_text_only(run, text, tmp_path, tiny):
    run("train", "--data", text, "--run-name", "r", *tiny)
    (tmp_path / "runs/r/tokens.bin").unlink()
    assert run("train", "--resume", "--steps", "13").exit_code == 0
    (tmp_path / "runs/r/tokens.bin").unlink()
    text.write_text("another text")
    result = run("train", "--resume", "--steps", "14")
    assert result.exit_code == 1
    assert "is no longer the text that it was made from" in result.stderr


def test_a_missing_tokenizer(run, trained):
    (trained / "tokenizer.json").unlink()
    result = run("train", "--resume", "--steps", "13")
    assert result.exit_code == 1
    assert "tokenizer.json is missing" in result.stderr


def test_another_tokenizer_is_refused(run, trained, tmp_path):
    run("tokenizer", "train", "--data", tmp_path / "words.txt", "--vocab-size", "300",
        "--special", "<|other|>", "--out", "other.json")  # fmt: skip
    shutil.copy("other.json", trained / "tokenizer.json")
    result = run("train", "--resume", "--steps", "13")
    assert result.exit_code == 1
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("size", [0, 10, 3000, -1])
def test_a_damaged_checkpoint_is_refused(run, trained, size):
    path = Run(trained).newest_checkpoint()
    data = path.read_bytes()
    path.write_bytes(data[:size])
    result = run("train", "--resume", "--steps", "13")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {path.relative_to(trained.parent.parent)}")
    assert result.stderr.count("\n") == 1


def test_ckpt_continues_in_a_new_run(run, trained, tmp_path):
    """From an earlier step, as the run would have gone on; the old run stays as it was."""
    before = sorted(path.name for path in (trained / "checkpoints").iterdir())
    start = trained / "checkpoints" / "step-00000004.msgpack"
    result = run("train", "--ckpt", start, "--run-name", "branch")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (trained / "checkpoints").iterdir()) == before
    branch = tmp_path / "runs" / "branch"
    final = "checkpoints/step-00000012.msgpack"
    assert_equal_checkpoints(branch / final, trained / final)
    assert run("train", "--resume", "--run-name", "branch", "--steps", "13").exit_code == 0


def test_ckpt_outside_a_run(run, trained, tmp_path):
    shutil.copy(Run(trained).newest_checkpoint(), tmp_path / "alone.msgpack")
    result = run("train", "--ckpt", "alone.msgpack")
    assert result.exit_code == 1
    assert "lies in no run" in result.stderr


def test_ckpt_into_an_existing_run(run, trained):
    result = run("train", "--ckpt", Run(trained).checkpoint(4), "--run-name", "tiny")
    assert result.exit_code == 2
    assert "give another --run-name" in result.stderr


def test_nothing_to_resume(run):
    result = run("train", "--resume")
    assert result.exit_code == 1
    assert "hipgpt train makes one" in result.stderr


def test_a_damaged_config(run, trained):
    (trained / "config.json").write_text("{")
    result = run("train", "--resume", "--run-name", "tiny")
    assert result.exit_code == 1
    assert "config.json is damaged" in result.stderr
