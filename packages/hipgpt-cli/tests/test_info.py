"""`hipgpt info`: what is here, and what a model takes."""

import json

import pytest

from hipgpt_cli import __version__
from hipgpt_cli.anatomy import parts
from hipgpt_model.config import GPTConfig


def test_versions_devices_and_the_default_model(run):
    result = run("info")
    assert result.exit_code == 0
    for said in (
        f"hipgpt-cli        {__version__}", "hipgpt-kernels", "BLAS", "Device cpu", "Device hip",
        "Default model: 1.55 M parameters", "V·E", "640,000", "1,554,312", "key-value cache",
    ):  # fmt: skip
        assert said in result.stdout, said


def test_json_says_the_same(run):
    value = json.loads(run("info", "--json", "--dim", "64", "--batch", "2").stdout)
    config = GPTConfig(vocab_size=5000, embed_dim=64)
    assert value["model"]["config"] == config.to_dict()
    assert value["model"]["parameters"] == config.num_parameters()
    assert sum(value["model"]["parts"].values()) == config.num_parameters()
    assert value["devices"]["cpu"]["usable"] is True
    assert value["memory"]["training"]["weights"] >= 4 * config.num_parameters()


def test_a_run_and_a_checkpoint(run, trained):
    by_run = json.loads(run("info", "--json", "--run", "tiny").stdout)["model"]
    assert by_run["step"] == 12
    assert by_run["config"]["embed_dim"] == 16
    by_file = run("info", "--checkpoint", trained / "checkpoints" / "step-00000004.msgpack")
    assert "step-00000004.msgpack, step 4" in by_file.stdout


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--run", "tiny", "--dim", "3"], 2, "--dim is settled by the run or checkpoint"),
        (["--run", "nope"], 1, "there is no run nope"),
        (["--heads", "3"], 2, "--heads must divide --dim"),
        (["--checkpoint", "words.txt"], 1, "not a hipgpt-checkpoint"),
        (["--checkpoint", "words.txt", "--run", "tiny"], 2, "is a file by itself"),
    ],
)
def test_bad_input(run, trained, options, status, said):
    result = run("info", *options)
    assert result.exit_code == status
    assert said in result.stderr


@pytest.mark.parametrize("activation", ["gelu", "swiglu"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("flags", [(True, True), (False, False), (True, False)])
def test_the_formulas_are_true(activation, tied, flags):
    """The text of each formula, evaluated, is the number that stands beside it."""
    bias, norm = flags
    config = GPTConfig(
        vocab_size=301, max_seq_len=7, embed_dim=12, num_layers=3, num_heads=2, ff_dim=20,
        activation=activation, tied=tied, output_bias=bias, final_norm=norm,
    )  # fmt: skip
    sizes = {"V": 301, "S": 7, "E": 12, "L": 3, "F": 20}
    for part in parts(config):
        formula = part.formula.replace("²", "**2").replace("·", "*")
        for number in "23459":
            for letter in "EF":
                formula = formula.replace(f"{number}{letter}", f"{number}*{letter}")
        assert eval(formula, {}, sizes) == part.parameters, part
    assert sum(part.parameters for part in parts(config)) == config.num_parameters()
