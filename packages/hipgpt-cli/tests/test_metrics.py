"""metrics.jsonl: whole lines, in order, of this run only."""

import json
import math

from hipgpt_cli.metrics import Metrics


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_are_json_in_order(tmp_path):
    metrics = Metrics(tmp_path / "m.jsonl")
    metrics.add(1, loss=2.5, accuracy=None)
    metrics.add(2, loss=math.inf)
    assert lines(metrics.path) == [
        {"step": 1, "loss": 2.5, "accuracy": None},
        {"step": 2, "loss": None},
    ]


def test_resuming_drops_what_came_after_and_what_is_broken(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1}\n{"step": 5}\nnonsense\n[]\n{"no": 1}\n{"step": 9}\n{"st')
    metrics = Metrics(path, after=5)
    metrics.add(6, loss=1.0)
    assert [line["step"] for line in lines(path)] == [1, 5, 6]
