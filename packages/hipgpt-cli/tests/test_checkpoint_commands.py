"""hipgpt checkpoint show, verify and convert."""

import json
import shutil

import numpy as np
import pytest

from hipgpt_cli.runs import Run
from hipgpt_model.checkpoint import load_checkpoint, read_header


@pytest.fixture
def averaged(run, trained, tmp_path, tiny):
    """A run with an average of its weights."""
    done = run("train", "--data", tmp_path / "words.txt", "--run-name", "averaged", *tiny,
               "--ema", "0.9", "--steps", "4")  # fmt: skip
    assert done.exit_code == 0, done.output
    return tmp_path / "runs" / "averaged"


def test_show_tells_what_a_checkpoint_holds(run, trained):
    for words in ([], ["tiny"], ["runs/tiny"], ["runs/tiny/checkpoints/step-00000012.msgpack"]):
        result = run("checkpoint", "show", *words)
        assert result.exit_code == 0, result.output
        assert "step-00000012.msgpack" in result.stdout
        assert "a training, to go on with; stored as float32" in result.stdout
        assert "12 of 12" in result.stdout
        assert "best validation step 12" in result.stdout
    assert "token_embedding" not in result.stdout
    result = run("checkpoint", "show", "--step", "4", "--tensors")
    assert "adamw.v/output.bias" in result.stdout
    assert "300 x 16" in result.stdout


def test_show_as_json_is_the_header(run, trained):
    header = read_header(Run(trained).checkpoint(8))
    shown = json.loads(run("checkpoint", "show", "tiny", "--step", "8", "--json").stdout)
    assert shown["path"].endswith("step-00000008.msgpack")
    assert shown["bytes"] == Run(trained).checkpoint(8).stat().st_size
    expected = header.to_dict()
    del expected["tensors"]
    assert {name: shown[name] for name in expected} == expected
    assert shown.keys() == {*expected, "path", "bytes"}
    shown = json.loads(run("checkpoint", "show", "--json", "--tensors").stdout)
    assert shown["tensors"]["output.bias"] == {"dtype": "float32", "shape": [300], "bytes": 1200}


def test_verify_reads_all_of_a_run_and_tells_the_damaged(run, trained):
    result = run("checkpoint", "verify")
    assert (result.exit_code, result.stdout.count("Whole")) == (0, 3)
    path = Run(trained).checkpoint(8)
    data = bytearray(path.read_bytes())
    data[-3000] ^= 4
    path.write_bytes(data)
    result = run("checkpoint", "verify", "tiny")
    assert result.exit_code == 1
    assert result.stdout.count("Whole") == 2
    assert "damaged: the checksum of" in result.stdout
    assert "1 of 3 checkpoints cannot be used" in result.stderr
    assert run("checkpoint", "verify", "tiny", "--step", "4").exit_code == 0
    result = run("checkpoint", "verify", "--json", path, Run(trained).checkpoint(4))
    bad, good = json.loads(result.stdout)
    assert result.exit_code == 1
    assert not bad["whole"]
    assert "checksum" in bad["error"]
    assert good["whole"]
    assert (good["kind"], good["step"]) == ("training", 4)


def test_verify_of_what_is_no_checkpoint(run, trained, tmp_path):
    result = run("checkpoint", "verify", tmp_path / "words.txt")
    assert result.exit_code == 1
    assert "not a hipgpt-checkpoint" in result.stdout
    assert "there is no run nowhere" in run("checkpoint", "verify", "nowhere").stderr


def test_a_converted_checkpoint_writes_the_same_text(run, trained, tmp_path):
    result = run("checkpoint", "convert", "tiny", "out/model.msgpack")
    assert result.exit_code == 0, result.output
    source, target = Run(trained).newest_checkpoint(), tmp_path / "out" / "model.msgpack"
    assert target.stat().st_size < 0.4 * source.stat().st_size
    assert (tmp_path / "out" / "tokenizer.json").is_file()
    options = ("--prompt", "the quick", "--seed", "1", "--num-tokens", "20")
    plain = run("generate", *options)
    converted = run("generate", "--checkpoint", target, *options)
    assert converted.exit_code == 0, converted.output
    assert converted.stdout == plain.stdout
    assert "exists; --force" in run("checkpoint", "convert", "tiny", target).stderr
    assert run("checkpoint", "convert", "tiny", target, "--force").exit_code == 0
    again = run("checkpoint", "convert", target, "again.msgpack", "--no-tokenizer")
    assert again.exit_code == 0
    assert not (tmp_path / "tokenizer.json").exists()
    assert (tmp_path / "again.msgpack").read_bytes() == target.read_bytes()


def test_bf16_halves_the_file_and_rounds_to_the_nearest(run, trained, tmp_path):
    assert run("checkpoint", "convert", "tiny", "f.msgpack").exit_code == 0
    assert run("checkpoint", "convert", "tiny", "b.msgpack", "--dtype", "bf16").exit_code == 0
    exact = load_checkpoint("f.msgpack")[1]
    header, rounded = load_checkpoint("b.msgpack")
    assert header.storage == "bf16"
    for name, values in exact.items():
        np.testing.assert_allclose(rounded[name], values, rtol=2**-8)
        assert not (rounded[name].view(np.uint32) & 0xFFFF).any()
    assert (tmp_path / "b.msgpack").stat().st_size < 0.6 * (tmp_path / "f.msgpack").stat().st_size
    assert "stored as bf16" in run("checkpoint", "show", "b.msgpack").stdout
    assert run("generate", "--checkpoint", "b.msgpack", "--tokenizer-path",
               trained / "tokenizer.json", "--prompt", "the").exit_code == 0  # fmt: skip
    result = run("train", "--ckpt", "b.msgpack")
    assert result.exit_code == 1


def test_the_average_is_taken_where_there_is_one(run, averaged, tmp_path):
    tensors = load_checkpoint(Run(averaged).newest_checkpoint())[1]
    for options, prefix in (
        ([], "ema/"),
        (["--weights", "model"], ""),
        (["--weights", "ema"], "ema/"),
    ):
        result = run("checkpoint", "convert", "averaged", "w.msgpack", "--force", *options)
        assert result.exit_code == 0, result.output
        assert ("running average" in result.stdout) == bool(prefix)
        found = load_checkpoint("w.msgpack")[1]
        assert all(np.array_equal(found[name], tensors[prefix + name]) for name in found)
    result = run("checkpoint", "convert", "tiny", "x.msgpack", "--weights", "ema")
    assert result.exit_code == 1
    assert "kept no running average" in result.stderr


def test_another_tokenizer_is_left_as_it_is(run, trained, tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    result = run("checkpoint", "convert", "tiny", "model.msgpack")
    assert "is another tokenizer than" in result.stderr
    assert (tmp_path / "tokenizer.json").read_text() == "{}"
    shutil.move(trained / "tokenizer.json", tmp_path / "elsewhere")
    (tmp_path / "tokenizer.json").unlink()
    result = run("checkpoint", "convert", "tiny", "model.msgpack", "--force")
    assert "there is none to copy" in result.stderr
