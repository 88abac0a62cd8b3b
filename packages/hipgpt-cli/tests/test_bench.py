"""`hipgpt bench`: figures that add up, a peer that computes the same, and clear refusals."""

import json

import pytest

from hipgpt_cli.bench import timing
from hipgpt_cli.bench.workload import (
    SIZES,
    generation_flop,
    matrix_parameters,
    peak_tflops,
    training_flop,
)

SMALL = ["--vocab-size", "300", "--seq", "16", "--dim", "32", "--layers", "1", "--heads", "2",
         "--ff", "48", "--device", "cpu", "--threads", "1", "--rounds", "1"]  # fmt: skip


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(timing, "PAUSE_S", 0.0)
    monkeypatch.setattr(timing.time, "sleep", lambda _: None)


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed")


def test_train_alone(run):
    result = run("bench", "train", *SMALL, "--batch", "2", "--steps", "2", "--json", "-")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    (row,) = found["rows"]
    assert row["program"] == "hipgpt"
    figures = row["figures"]
    assert figures["tokens/s"] == pytest.approx(2 * 16 / (figures["ms"] / 1e3))
    assert found["settings"]["model"]["embed_dim"] == 32
    assert "of peak" not in figures


def test_train_beside_torch(run, torch, tmp_path):
    path = tmp_path / "found.json"
    options = [*SMALL, "--batch", "2", "--steps", "2", "--against", "torch", "--peak", "0.5"]
    result = run("bench", "train", *options, "--json", path)
    assert result.exit_code == 0, result.stderr
    assert "above 1, hipgpt is faster" in result.stdout
    found = json.loads(path.read_text())
    ours, peer = found["rows"]
    assert peer["program"].startswith("torch")
    assert peer["ratio"] == pytest.approx(peer["figures"]["ms"] / ours["figures"]["ms"])
    assert ours["figures"]["of peak"] == pytest.approx(ours["figures"]["TFLOP/s"] / 0.5)
    assert found["versions"]["torch"] in peer["program"]
    mine, theirs = found["settings"]["first_losses"].values()
    assert mine == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize(
    "model",
    [
        ["--activation", "swiglu", "--tied", "--no-output-bias"],
        ["--activation", "relu", "--no-final-norm"],
        ["--activation", "gelu_erf"],
    ],
)
def test_the_peer_is_the_same_model(run, torch, model):
    """Every option of the model means the same in PyTorch: the first losses agree."""
    options = [*SMALL, *model, "--batch", "2", "--steps", "1", "--against", "torch"]
    assert run("bench", "train", *options).exit_code == 0
    options = [*SMALL, *model, "--prompt", "3", "--tokens", "12", "--against", "torch"]
    result = run("bench", "generate", *options)
    assert result.exit_code == 0, result.stderr


def test_generate(run):
    options = [*SMALL, "--batch", "3", "--prompt", "5", "--tokens", "4", "--json", "-"]
    found = json.loads(run("bench", "generate", *options).stdout)
    assert [row["work"] for row in found["rows"]] == ["read", "write"]
    read, write = (row["figures"] for row in found["rows"])
    assert read["tokens/s"] == pytest.approx(3 * 5 / (read["ms"] / 1e3))
    assert write["tokens/s"] == pytest.approx(3 / (write["ms"] / 1e3))


def test_ops(run, torch):
    result = run("bench", "ops", *SMALL, "--batch", "2", "--against", "torch", "--json", "-")
    assert result.exit_code == 0, result.stderr
    works = {row["work"].split()[0] for row in json.loads(result.stdout)["rows"]}
    assert works >= {
        *("linear_forward", "linear_backward_input", "linear_backward_weight"),
        *("attention_forward", "attention_backward", "layernorm_forward", "layernorm_backward"),
        *("cross_entropy", "embedding_backward", "adamw_step"),
    }
    assert "torch ms" in run("bench", "ops", *SMALL, "--batch", "2", "--against", "torch").stdout


def test_without_torch(run, monkeypatch):
    from hipgpt_cli.bench import torch_gpt

    monkeypatch.setattr(torch_gpt, "is_installed", lambda: False)
    result = run("bench", "train", *SMALL, "--against", "torch")
    assert result.exit_code == 1
    assert "pip install torch, or leave --against out" in result.stderr


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["generate", *SMALL, "--prompt", "10", "--tokens", "10"], 1, "do not fit 16 positions"),
        (["train", *SMALL, "--dtype", "bf16"], 1, "--dtype bf16"),
        (["train", *SMALL, "--heads", "3"], 2, "--heads must divide --dim"),
        (["train", *SMALL, "--against", "jax"], 2, "jax"),
        (["train", *SMALL, "--peak", "0"], 2, "--peak"),
    ],
)
def test_bad_input(run, options, status, said):
    result = run("bench", *options)
    assert result.exit_code == status
    assert said in result.stderr


# --- the arithmetic -----------------------------------------------------------------------------


def test_the_operations_of_gpt2():
    """By hand: 124.4 M parameters less 0.8 M positions; the head is the token table."""
    config = SIZES["124M"].config
    assert matrix_parameters(config) == 124_439_808 - 1024 * 768
    assert training_flop(config, 1024) == 6 * 123_653_376 + 6 * 12 * 768 * 1024
    assert generation_flop(config, 100) == 2 * 123_653_376 + 4 * 12 * 768 * 100


@pytest.mark.parametrize(
    ("name", "dtype", "peak"),
    [
        ("NVIDIA H200", "bf16", 989.5),
        ("NVIDIA H100 PCIe", "fp16", 756.5),
        ("AMD Instinct MI300X", "float32", 163.4),
        ("AMD Radeon RX 7900 XTX", "bf16", 122.8),
        ("AMD EPYC", "float32", None),
    ],
)
def test_peaks(name, dtype, peak):
    assert peak_tflops(name, dtype) == peak


def test_turns_alternate_and_count_steps():
    calls = []
    programs = {
        "a": lambda n: calls.append(("a", n)),
        "b": lambda n: calls.append(("b", n)),
    }
    times = timing.in_turns(programs, rounds=2, steps=3)
    assert set(times) == {"a", "b"}
    assert [name for name, n in calls if n == 3] == ["a", "b"] * 3
