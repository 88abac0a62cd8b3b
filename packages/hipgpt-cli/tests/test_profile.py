"""`hipgpt profile`: every op with its share, as a table, JSON and a picture."""

import importlib.util
import json

import pytest

from hipgpt_cli.profiling import summed
from hipgpt_kernels.recorder import Span

SMALL = [
    *("--vocab-size", "300", "--seq", "16", "--dim", "32", "--layers", "1", "--heads", "2"),
    *("--ff", "48", "--device", "cpu", "--threads", "1", "--batch", "2", "--steps", "2"),
]


def test_the_table_has_every_op(run):
    result = run("profile", *SMALL)
    assert result.exit_code == 0, result.stderr
    for op in ("linear_forward", "attention_backward", "adamw_step", "in all"):
        assert op in result.stdout
    assert "17 others" not in result.stdout
    assert "others" in run("profile", *SMALL, "--top", "2").stdout


def test_json_adds_up(run):
    found = json.loads(run("profile", *SMALL, "--json").stdout)
    assert sum(line["share"] for line in found["lines"]) == pytest.approx(1)
    total = sum(line["milliseconds"] for line in found["lines"])
    assert total == pytest.approx(found["milliseconds"])
    assert {line["kernel"]: line["launches"] for line in found["lines"]}["adamw_step"] >= 1
    assert found["step_ms"] > 0


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_a_picture(run, tmp_path, ending):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    path = tmp_path / f"step.{ending}"
    result = run("profile", *SMALL, "--plot", path)
    assert result.exit_code == 0, result.stderr
    head = path.read_bytes()[:100]
    assert head.startswith(b"\x89PNG") if ending == "png" else b"<?xml" in head


def test_what_cannot_be_drawn_is_said_first(run, monkeypatch, tmp_path):
    assert "expected a name that ends with .svg" in run("profile", "--plot", "step.gif").stderr
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name)
    )
    result = run("profile", "--plot", tmp_path / "step.svg")
    assert result.exit_code == 1
    assert "pip install 'hipgpt-cli[plot]'" in result.stderr


def test_spans_are_added_up_by_kernel():
    spans = [Span("a", "x", 1.0), Span("b", "x", 2.0), Span("a", "y", 5.0)]
    found = summed(spans, 2, 9.0, 0.0)
    assert [(line.kernel, line.op, line.launches, line.milliseconds) for line in found.lines] == [
        ("y", "a", 0.5, 2.5),
        ("x", "a, b", 1.0, 1.5),
    ]
    assert found.top(1)[1].kernel == "1 others"
