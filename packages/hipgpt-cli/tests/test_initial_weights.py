"""`hipgpt train --init-from`: a new run with the weights of an old model."""

import json

import numpy as np
import pytest

from hipgpt_cli.runs import Run
from hipgpt_model.checkpoint import load_checkpoint

MORE = ["--batch", "4", "--steps", "4", "--ckpt-every", "2", "--log-every", "1", "--lr", "1e-9",
        "--weight-decay", "0", "--warmup-steps", "0", "--eval-batches", "2"]  # fmt: skip


@pytest.fixture
def other(tmp_path):
    """A text of the same words as the first."""
    path = tmp_path / "other.txt"
    path.write_text("a lazy dog sleeps and then the quick brown fox jumps over it.\n" * 60)
    return path


def weights(path):
    """The weights of a checkpoint by name, without moments and step control; and its header."""
    header, tensors = load_checkpoint(path)
    others = "adamw.", "step_control"
    return {name: tensors[name] for name in tensors if not name.startswith(others)}, header


def test_a_run_begins_with_the_weights_the_shape_and_the_tokenizer(run, trained, other, tmp_path):
    """With next to no learning rate the weights stay what they were; nothing else came along."""
    result = run("train", "--init-from", "tiny", "--data", other, "--run-name", "fine", *MORE)
    assert result.exit_code == 0, result.output
    assert "Weights    those of tiny, step 12 (runs/tiny/" in result.stdout
    assert "ids, of tiny" in result.stdout
    fine = Run(tmp_path / "runs/fine")
    old, _ = weights(Run(trained).checkpoint(12))
    new, header = weights(fine.checkpoint(4))
    assert header.step == 4
    for name, value in old.items():
        np.testing.assert_allclose(new[name], value, atol=1e-6, err_msg=name)
    assert fine.tokenizer.read_bytes() == (trained / "tokenizer.json").read_bytes()
    assert fine.read_config()["options"]["init_from"].endswith("tiny/checkpoints/"
                                                               "step-00000012.msgpack")  # fmt: skip


def test_a_checkpoint_file_a_shorter_row_and_dropout(run, trained, other, tmp_path):
    file = trained / "checkpoints/step-00000008.msgpack"
    result = run("train", "--init-from", file, "--data", other, "--run-name", "fine", *MORE,
                 "--seq", "5", "--dropout", "0.25", "--dim", "16")  # fmt: skip
    assert result.exit_code == 0, result.output
    model = json.loads((tmp_path / "runs/fine/config.json").read_text())["model"]
    assert (model["max_seq_len"], model["dropout"], model["embed_dim"]) == (5, 0.25, 16)


def test_it_resumes_before_and_after_its_first_checkpoint(run, trained, other, tmp_path):
    """Killed before anything was saved, it begins anew with the same weights: the same bits."""
    run("train", "--init-from", "tiny", "--data", other, "--run-name", "whole", *MORE)
    whole = Run(tmp_path / "runs/whole")
    expected = weights(whole.checkpoint(4))[0]
    for step in (2, 0):
        whole.latest.unlink()
        for number, path in whole.checkpoints():
            if number > step:
                path.unlink()
        result = run("train", "--resume", "--run-name", "whole")
        assert result.exit_code == 0, result.output
        for name, value in weights(whole.checkpoint(4))[0].items():
            np.testing.assert_array_equal(value, expected[name], err_msg=f"{step}: {name}")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--dim", "32"], "--dim 32 contradicts tiny, which has 16"),
        (["--vocab-size", "400"], "--vocab-size 400 contradicts tiny, which has 300"),
        (["--tied"], "--tied contradicts tiny"),
        (["--seq", "9"], "--seq 9 is more than the 8 tokens"),
        (["--resume"], "--init-from begins a new run"),
        (["--reset", "--run-name", "tiny"], "--reset would delete run tiny"),
        (["--run-name", "tiny"], "run tiny exists already"),
    ],
    ids=str,
)
def test_what_contradicts_is_refused(run, trained, other, options, sentence):
    name = [] if "--run-name" in options else ["--run-name", "fine"]
    result = run("train", "--init-from", "tiny", "--data", other, *name, *options)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert sorted(path.name for path in trained.parent.iterdir()) == ["tiny"]


def test_a_model_that_is_not_there(run, trained, other):
    result = run("train", "--init-from", "tinny", "--data", other)
    assert result.exit_code == 1
    assert "there is no run tinny in runs" in result.stderr
    assert "tiny" in result.stderr


def test_prepared_data_of_another_tokenizer_is_refused(run, trained, other, tmp_path):
    (folder := tmp_path / "texts").mkdir()
    for number in range(9):
        (folder / f"{number}.txt").write_text(f"{number} {other.read_text()}")
    share = "--validation", "0.4"
    run("data", "prepare", folder, "--out", "own", "--vocab-size", "290", *share)
    result = run("train", "--init-from", "tiny", "--data", "own", "--run-name", "fine", *MORE)
    assert result.exit_code == 1
    assert "was prepared with another tokenizer than tiny" in result.stderr
    run("data", "prepare", folder, "--out", "same", "--tokenizer", trained / "tokenizer.json",
        *share)  # fmt: skip
    result = run("train", "--init-from", "tiny", "--data", "same", "--run-name", "fine", *MORE)
    assert result.exit_code == 0, result.output
