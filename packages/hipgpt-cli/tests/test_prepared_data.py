"""Training on prepared data: recognised, verified, resumed bit for bit, refused when changed."""

import pytest

from hipgpt_cli.files import read_json_object
from hipgpt_cli.metrics import read_lines


@pytest.fixture
def data(tmp_path, run):
    """./data: some shards of both splits, and ./data.txt, which they were made from."""
    (tmp_path / "data.txt").write_text(
        "".join(f"Line {n % 97} of the text goes on and on.\n" for n in range(4000))
    )
    prepare(run)
    return tmp_path / "data"


def prepare(run, *more):
    result = run("data", "prepare", "data.txt", "--out", "data", "--vocab-size", "300",
                 "--shard-tokens", "9000", "--validation", "0.2", "--workers", "1",
                 *more)  # fmt: skip
    assert result.exit_code == 0, result.output


SIZES = ("--seq", "8", "--dim", "16", "--heads", "2", "--layers", "1", "--ff", "16", "--batch", "4",
         "--warmup-steps", "2", "--eval-batches", "2", "--log-every", "1")  # fmt: skip


@pytest.mark.usefixtures("data")
def test_a_folder_is_trained_on_and_gone_on_with_bit_for_bit(run, tmp_path):
    whole = run("train", "--data", "data", "--run-name", "whole", "--steps", "12", *SIZES)
    assert whole.exit_code == 0, whole.output
    assert "verified in" in whole.output
    assert "epochs of" in whole.output
    begun = run("train", "--data", "data", "--run-name", "half", "--steps", "12", *SIZES,
                "--ckpt-every", "5", "--keep-last", "9")  # fmt: skip
    assert begun.exit_code == 0, begun.output
    for step in (12, 10):
        (tmp_path / f"runs/half/checkpoints/step-{step:08}.msgpack").unlink()
    assert run("train", "--run-name", "half", "--resume").exit_code == 0
    losses = [
        [line.get("loss") for line in read_lines(tmp_path / f"runs/{name}/metrics.jsonl")]
        for name in ("whole", "half")
    ]
    assert len(losses[0]) > 12
    assert losses[0] == losses[1]
    assert not (tmp_path / "runs/whole/tokens.bin").exists()
    config = read_json_object(tmp_path / "runs/whole/config.json")
    assert config["prepared"] is True
    assert config["machine"]["device"].startswith("cpu")
    generated = run("generate", "--run", "whole", "--prompt", "Line", "--num-tokens", "5")
    assert generated.exit_code == 0


def test_changed_or_damaged_data_is_refused(run, data):
    assert run("train", "--data", "data", "--run-name", "r", "--steps", "4", *SIZES).exit_code == 0
    prepare(run, "--reset", "--vocab-size", "290")
    changed = run("train", "--run-name", "r", "--resume", "--steps", "9")
    assert changed.exit_code == 1
    assert "has been prepared anew since the run began" in changed.stderr
    path = data / "train-00001.tokens"
    content = bytearray(path.read_bytes())
    content[-1] ^= 4
    path.write_bytes(content)
    damaged = run("train", "--data", "data", "--run-name", "s", *SIZES)
    assert damaged.exit_code == 1
    assert "train-00001.tokens is damaged" in damaged.stderr
    (data / "manifest.json").unlink()
    gone = run("train", "--run-name", "r", "--resume", "--steps", "9")
    assert gone.exit_code == 1
    assert "no folder of prepared data" in gone.stderr


@pytest.mark.usefixtures("data")
def test_options_that_do_not_go_with_it(run, tmp_path):
    ids = run("train", "--data", "data", "--tokens-path", "x.bin", *SIZES)
    assert "--tokens-path keeps the ids of a text" in ids.stderr
    vocabulary = run("train", "--data", "data", "--vocab-size", "999", *SIZES)
    assert "has 300 ids, but --vocab-size is 999" in vocabulary.stderr
    rows = run("train", "--data", "data", *SIZES, "--seq", "9000")
    assert "prepare more text" in rows.stderr
    run("tokenizer", "train", "--data", "data.txt", "--vocab-size", "280", "--out", "other.json")
    other = run("train", "--data", "data", "--tokenizer-path", "other.json", *SIZES)
    assert "prepared with another tokenizer" in other.stderr
    (tmp_path / "data/tokenizer.json").unlink()
    missing = run("train", "--data", "data", *SIZES)
    assert "--tokenizer-path names the tokenizer of this data" in missing.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("data")
def test_tensorboard_files_are_written_and_go_on(run, tmp_path):
    result = run("train", "--data", "data", "--run-name", "r", "--steps", "4", *SIZES,
                 "--tensorboard", "--sample-every", "2")  # fmt: skip
    assert result.exit_code == 0, result.output
    [events] = (tmp_path / "runs/r/tensorboard").iterdir()
    content = events.read_bytes()
    for tag in (b"train/loss", b"train/gradient_norm", b"validation/loss", b"sample/text_summary",
                b"configuration/text_summary", b"_hparams_/session_start_info"):  # fmt: skip
        assert tag in content
    assert run("train", "--run-name", "r", "--resume", "--steps", "6").exit_code == 0
    assert len(list((tmp_path / "runs/r/tensorboard").iterdir())) == 2
    reset = run("train", "--data", "data", "--run-name", "r", "--steps", "4", *SIZES, "--reset")
    assert reset.exit_code == 0, reset.output
    assert not (tmp_path / "runs/r/tensorboard").exists()
