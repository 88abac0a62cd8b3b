"""The bar on a terminal, the lines elsewhere."""

import re

import pytest

from hipgpt_cli import progress
from hipgpt_model.evaluate import EvalReport
from hipgpt_model.train import StepReport


def report(step, **values):
    values = {"loss": 2.0, "accuracy": 0.25, "norm": 1.0, "skipped": False, **values}
    return StepReport(step=step, steps=10, learning_rate=1e-3, tokens=step * 128,
                      elapsed_s=1.0, tokens_per_s=12_800.0, **values)  # fmt: skip


def test_plain_lines_have_the_predecessors_fields(capsys):
    shown = progress.PlainProgress(tokens_per_step=128)
    shown.step(report(1, loss=None))
    shown.step(report(2))
    shown.step(report(4, loss=1000.0))
    shown.evaluation(5, EvalReport.from_sums(20.0, 2, 10))
    rest = "Accuracy: 25.00% | LR: 0.001 | Time: 10.00 ms | 12800 tok/s"
    assert capsys.readouterr().out.splitlines() == [
        f"[Step 2] Loss: 2.0000 | Perplexity: 7.39 | {rest}",
        f"[Step 4] Loss: 1000.0000 | Perplexity: inf | {rest}",
        "[Eval 5] Loss: 2.0000 | Perplexity: 7.39 | Accuracy: 20.00%",
    ]


@pytest.mark.parametrize(("log_every", "expected"), [(50, 10), (25, 5), (7, 7), (1, 1), (13, 1)])
def test_a_live_bar_reads_the_loss_more_often(monkeypatch, log_every, expected):
    """And so often that every logged step is among them."""
    assert progress.report_every(log_every) == log_every
    monkeypatch.setattr(progress, "is_live", lambda: True)
    assert progress.report_every(log_every) == expected


@pytest.mark.parametrize("columns", [100, 50])
def test_a_bar_on_a_terminal(text, columns, tiny, on_a_terminal):
    """Loss, rate and time left are there, at any width; evaluations stay above the bar."""
    shown, status = on_a_terminal("train", "--data", text, *tiny, columns=columns)
    assert status == 0
    assert "12/12" in shown
    assert re.search(r"loss \d\.\d\d\d", shown)
    assert ("tok/s" in shown) == (columns == 100)
    assert re.search(r"Step 6 +held-out loss", shown)
    assert "[Step" not in shown
    assert "\x1b[" in shown


def test_no_color(text, monkeypatch, tiny, on_a_terminal):
    """NO_COLOR leaves the bar and takes its colours."""
    monkeypatch.setenv("NO_COLOR", "1")
    shown, status = on_a_terminal("train", "--data", text, *tiny)
    assert status == 0
    assert "12/12" in shown
    assert set(re.findall(r"\x1b\[([\d;]*)m", shown)) <= {"", "0", "1", "2"}  # bold is no colour


def test_a_dumb_terminal_gets_lines(text, monkeypatch, tiny, on_a_terminal):
    monkeypatch.setenv("TERM", "dumb")
    shown, status = on_a_terminal("train", "--data", text, *tiny)
    assert status == 0
    assert "[Step 12] Loss:" in shown


def test_stages_are_lines_in_a_log(capsys, monkeypatch):
    """On standard error, so that what is piped on stays what it is; none for what is quick."""
    with progress.stages() as show:
        show("encode", 1, 4)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(progress, "LINES_EVERY_S", 0.0)
    with progress.stages() as show:
        show("encode", 1, 4)
        show("merges", 5, 0, "5 merges")
    assert capsys.readouterr() == ("", "Encode     25%\nMerges     5 merges\n")
