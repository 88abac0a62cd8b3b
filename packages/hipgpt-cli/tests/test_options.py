"""Options: types, defaults, and complaints in the user's own words."""

from dataclasses import fields

import pytest

from hipgpt_cli.commands import train
from hipgpt_model.config import GPTConfig, TrainConfig

PREDECESSOR = [
    "--data-path", "--tokenizer-path", "--tokens-path", "--reset", "--vocab-size", "--seq",
    "--dim", "--heads", "--ff", "--layers", "--batch", "--steps", "--lr", "--warmup-steps",
    "--min-lr", "--log-every", "--ckpt-every", "--keep-last", "--run-name", "--ckpt",
]  # fmt: skip


def parameter(name):
    return next(p for p in train.command.params if p.name == name)


@pytest.mark.parametrize("field", [*fields(GPTConfig), *fields(TrainConfig)], ids=lambda f: f.name)
def test_every_field_is_an_option_with_its_default(field):
    """All sizes and hyperparameters can be chosen, and --help tells the truth about defaults."""
    option = parameter(field.name)
    if field.name == "vocab_size":  # the class has none
        assert option.default == 5000
    else:
        assert option.default == field.default


@pytest.mark.parametrize("flag", PREDECESSOR)
def test_the_predecessors_flags(flag):
    """`train_gpt`'s flags go on working under their names."""
    assert any(flag in option.opts for option in train.command.params)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dim", "0"], "0 is not a whole number of at least 1"),
        (["--dim", "-5"], "-5 is not a whole number of at least 1"),
        (["--steps", "1e3"], "'1e3' is not a whole number"),
        (["--lr", "nan"], "nan is not a finite number above 0"),
        (["--lr", "inf"], "inf is not a finite number above 0"),
        (["--lr", "fast"], "'fast' is not a number"),
        (["--dropout", "1"], "1 is not a number at least 0 and below 1"),
        (["--seed", "-1"], "-1 is not a whole number of at least 0"),
        (["--heads", "3"], "--heads must divide --dim; got 3 heads for --dim 128"),
        (["--min-lr", "1"], "--min-lr must be a number at least 0 and at most 0.001"),
        (["--device", "cuda"], "'cuda' is not auto, cpu or hip; did you mean hip?"),
        (["--activation", "tanh"], "'tanh' is not gelu, gelu_erf, relu or swiglu"),
        (["--vocab-size", "256"], "256 is not a whole number of at least 257"),
        (["--steps", "--lr"], "'--lr' is not a whole number"),
        (["--reset", "--resume"], "choose one"),
        (["--resume", "--ckpt", __file__], "choose one"),
    ],
)
def test_bad_values_are_usage_errors(run, arguments, said):
    """One sentence that names the option and what was expected; nothing is made."""
    result = run("train", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert arguments[0] in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", ["a/b", "a\\b", "..", ".hidden", " x", "", "a:b", "a\nb"])
def test_run_names_are_one_folder(run, tmp_path, name):
    """A run's name cannot leave the folder of runs."""
    result = run("train", "--run-name", name)
    assert result.exit_code == 2
    assert not list(tmp_path.iterdir())
