"""metrics.jsonl: whole lines, in order, of this run only."""

import csv
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


def test_the_csv_has_the_same_figures(tmp_path):
    metrics = Metrics(tmp_path / "m.jsonl")
    assert metrics.csv.read_text().startswith("step,loss,accuracy,")
    metrics.add(1, loss=2.5, accuracy=None)
    metrics.add(1, validation_loss=math.inf)
    metrics.add(2, loss=2.25, loss_scale=8.0)  # a new column: the file is made anew
    metrics.add(3, loss=2.0)
    rows = list(csv.DictReader(metrics.csv.read_text().splitlines()))
    assert [row["loss"] for row in rows] == ["2.5", "", "2.25", "2.0"]
    assert [row["loss_scale"] for row in rows] == ["", "", "8.0", ""]
    assert rows[1]["validation_loss"] == ""
    again = Metrics(tmp_path / "m.jsonl", after=1)
    assert len(list(csv.DictReader(again.csv.read_text().splitlines()))) == 2


def test_followers_are_told(tmp_path):
    told = []

    class Follower:
        def add(self, step, **values):
            told.append((step, values))

    Metrics(tmp_path / "m.jsonl", followers=[Follower()]).add(4, loss=1.0)
    assert told == [(4, {"loss": 1.0})]
