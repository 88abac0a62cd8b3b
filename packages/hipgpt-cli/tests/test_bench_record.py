"""The record that every benchmark writes: ratios, the command as typed, there and back."""

import datetime as dt
import json
import sys

import pytest

from hipgpt_cli.bench.machine import machine, typed_command, versions
from hipgpt_cli.bench.result import Result, Row, figures, read_result


def result(*rows):
    return Result("a title", "a device", {"M": 1}, machine(), versions(), list(rows))


def test_a_ratio_is_of_the_same_work_and_sizes():
    rows = [
        Row("x", "hipgpt", {"ms": 2.0}),
        Row("y", "hipgpt", {"ms": 5.0}),
        Row("x", "hipgpt", {"ms": 1.0}, {"B": 4}),
        Row("x", "peer", {"ms": 3.0}),
        Row("x", "peer", {"ms": 3.0}, {"B": 4}),
        Row("z", "peer", {"ms": 3.0}),
    ]
    found = result(*rows)
    assert [found.ratio(row) for row in rows] == [None, None, None, 1.5, 3.0, None]


def test_a_ratio_above_1_is_always_for_us():
    """More of a rate is better, less of anything else."""
    peer = Row("x", "peer", {"tokens/s": 50.0, "ms": 4.0, "bytes": 300.0})
    found = result(Row("x", "hipgpt", {"tokens/s": 100.0, "ms": 2.0, "bytes": 100.0}), peer)
    assert found.ratio(peer) == 2.0
    assert [found.ratio(peer, unit) for unit in ("ms", "bytes", "nats")] == [2.0, 3.0, None]


def test_there_and_back(tmp_path):
    made = result(Row("x", "hipgpt", {"ms": 2.0}, {"B": 4}), Row("x", "peer", {"ms": 3.0}))
    made.write(tmp_path / "one.json")
    assert read_result(tmp_path / "one.json") == made


def test_it_says_when_and_where():
    found = result().to_dict()
    assert abs(dt.date.fromisoformat(found["date"]) - dt.datetime.now(dt.UTC).date()).days <= 1
    assert found["machine"]["cores"] >= 1
    assert found["machine"]["processor"]
    assert found["versions"]["Python"] == sys.version.split()[0]


def test_unknown_figures_are_left_out():
    assert figures({"ms": 1.0, "of peak": None}) == {"ms": 1.0}


def test_versions_are_of_what_is_installed():
    found = versions("numpy", "no-such-package-anywhere")
    assert found["numpy"][0].isdigit()
    assert "no-such-package-anywhere" not in found


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["/usr/bin/hipgpt", "bench", "train", "--json", "x"], "hipgpt bench train"),
        (["/a/hipgpt_cli/__main__.py", "bench", "ops", "--json=x"], "hipgpt bench ops"),
        (
            ["/a/packages/b/packages/c/benchmarks/bench_x.py", "--json", "/o/x", "--rows", "4"],
            "python packages/c/benchmarks/bench_x.py --rows 4",
        ),
        (
            ["packages/c/benchmarks/bench_x.py", "--text", "/data/of me/a text.txt"],
            "python packages/c/benchmarks/bench_x.py --text 'a text.txt'",
        ),
        (["bench_x.py"], "python bench_x.py"),
    ],
)
def test_the_command_is_what_one_would_type(words, command):
    assert typed_command(words) == command


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1]", "it lacks command"),
        ('{"title": "x"}', "it lacks command"),
        ("{", "one.json"),
        (json.dumps({**result().to_dict(), "rows": [{"work": "x"}]}), "a row must have"),
    ],
)
def test_other_files_are_refused(tmp_path, text, said):
    path = tmp_path / "one.json"
    path.write_text(text, "utf-8")
    with pytest.raises(ValueError, match=said):
        read_result(path)
