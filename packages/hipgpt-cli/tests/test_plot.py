"""Curves and their pictures: the right numbers in the right places, in files and in the terminal.

The odd thing: that a picture is good was judged by looking at it; what is tested is what a change
could break unseen.
"""

import re
import xml.etree.ElementTree as ET

import pytest

from hipgpt_cli.errors import UserError
from hipgpt_cli.history import PANELS, read_history, smooth_weight, smoothed
from hipgpt_cli.plot_svg import draw_svg, nice_numbers, thinned
from hipgpt_cli.plot_terminal import Canvas, draw_panel

LOSS, PERPLEXITY, ACCURACY, RATE, NORM, SPEED = PANELS


def test_curves_are_what_was_recorded(tmp_path, make_run):
    history = read_history(make_run(tmp_path))
    assert history.train(LOSS).y[:2] == (7.0, 4.0)
    assert history.validation(LOSS).x == tuple(range(10, 101, 10))
    assert history.train(ACCURACY).y[-1] == 50.0
    assert history.train(PERPLEXITY).y[0] == pytest.approx(1096.633)
    assert history.validation(NORM).x == ()
    assert history.last("loss") == pytest.approx(1.06)
    assert history.best("validation_loss") == (pytest.approx(2.06), 100)


def test_the_axis_may_be_tokens_or_time(tmp_path, make_run):
    run = make_run(tmp_path)
    assert read_history(run, "tokens").train(LOSS).x[:2] == (64.0, 128.0)
    assert read_history(run, "time").train(LOSS).x[-1] == pytest.approx(100 / 3600)
    with run.metrics.open("a") as file:  # it went on in another process
        file.write('{"step": 101, "loss": 1, "elapsed_s": 2.0}\n')
    assert read_history(run, "time").train(LOSS).x[-1] == pytest.approx(102 / 3600)


def test_what_is_no_number_is_left_out(tmp_path, make_run):
    run = make_run(tmp_path, steps=2)
    with run.metrics.open("a") as file:
        file.write(
            '{"step": 3, "loss": null}\n{"step": 4, "loss": "x"}\n{"step": 5, "loss": true}\n'
        )
        file.write('{"step": 6, "loss": 1e999}\n{"step": 7, "lo')
    assert read_history(run).train(LOSS).x == (1.0, 2.0)


def test_smoothing_keeps_the_level_and_does_not_lag():
    falling = [float(100 - x) for x in range(100)]
    middle = smoothed(falling, 0.9)[50]
    assert middle == pytest.approx(50, abs=0.1)
    assert smoothed(falling, 0.0) == tuple(falling)
    assert smooth_weight(10) == 0
    assert 0 < smooth_weight(1000) < 1


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.name)
def test_svg_is_well_formed_and_its_points_lie_inside(tmp_path, panel, make_run):
    svg = draw_svg(panel, read_history(make_run(tmp_path, steps=3000)))
    tree = ET.fromstring(svg)
    lines = list(tree.iter("polyline"))
    assert lines
    for line in lines:
        points = [tuple(map(float, point.split(","))) for point in line.get("points").split()]
        assert len(points) <= 600
        assert all(0 <= x <= 420 and 0 <= y <= 250 for x, y in points)
    assert [element.text for element in tree.iter("text") if "tick" in element.get("class")]


def test_svg_of_one_point_and_of_equal_ones(tmp_path, make_run):
    assert "<circle" in draw_svg(LOSS, read_history(make_run(tmp_path, steps=1)))
    assert "polyline" in draw_svg(RATE, read_history(make_run(tmp_path, steps=5, name="two")))
    assert draw_svg(LOSS, read_history(make_run(tmp_path, steps=1, name="three"))).startswith(
        "<svg"
    )


def test_thinning_loses_no_spike():
    points = [(float(x), 1.0) for x in range(10_000)]
    points[7777] = (7777.0, 99.0)
    kept = thinned(points)
    assert (7777.0, 99.0) in kept
    assert len(kept) <= 600
    assert kept == sorted(kept)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.0001, 0.00013), (-5, 1e9), (3, 3.0001)])
def test_ticks_are_round_and_few(low, high):
    ticks = nice_numbers(low, high)
    assert 3 <= len(ticks) <= 8
    assert all(low - 1e-9 <= tick <= high * (1 + 1e-9) for tick in ticks)


def test_a_line_in_braille():
    canvas = Canvas(4, 2)
    canvas.line(0, 7, 7, 0, "red")
    assert canvas.rows(color=False) == [" ⢀⠔⠊", "⡠⠊  "] or "⠀" not in "".join(
        canvas.rows(color=False)
    )
    assert "\x1b[31m" in "".join(canvas.rows(color=True))
    canvas.dot(99, 99, "red")  # outside: nothing


@pytest.mark.parametrize("width", [30, 80, 200])
def test_a_panel_in_the_terminal_is_as_wide_as_asked(tmp_path, width, make_run):
    history = read_history(make_run(tmp_path))
    lines = draw_panel(PERPLEXITY, [history], width, 10, color=False, smooth=0)
    assert len(lines) == 13
    assert max(map(len, lines)) <= width
    assert "Perplexity (exp(loss), log)" in lines[0] or width == 30
    first, last = lines[1], lines[10]
    assert re.match(r"\s+1097 ┤", first)
    assert re.match(r"\s+2\.\d+ ┤", last)


# --- the command ----------------------------------------------------------------------------------


def test_a_picture_of_one_run(run, tmp_path, make_run):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    made = make_run(tmp_path)
    result = run("plot")
    assert result.exit_code == 0, result.output
    assert (made.path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert "loss, perplexity, accuracy, learning rate, gradient norm, speed" in result.output


def test_a_picture_of_two_runs_as_svg_is_reproducible(run, tmp_path, make_run):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    make_run(tmp_path)
    make_run(tmp_path, level=9, name="other")
    for name in ("a.svg", "b.svg"):
        arguments = [
            "plot",
            "one",
            "runs/other",
            "--out",
            name,
            "--metric",
            "loss",
            "--x",
            "tokens",
        ]
        result = run(*arguments)
        assert result.exit_code == 0, result.output
    svg = (tmp_path / "a.svg").read_text()
    assert svg == (tmp_path / "b.svg").read_text()
    for text in ("one", "other", "training", "validation", "tokens of training text", "nats"):
        assert f">{text}" in svg


def test_in_the_terminal(run, tmp_path, make_run):
    make_run(tmp_path)
    make_run(tmp_path, level=9, name="other")
    result = run("plot", "one", "other", "--terminal", "--metric", "loss", "--width", "60")
    assert result.exit_code == 0, result.output
    assert result.output.count("Loss (nats per token)") == 2  # without colours: one under the other
    assert "┤" in result.output


def test_mistakes_are_told(run, tmp_path, monkeypatch, make_run):
    assert "no run in runs" in run("plot").stderr
    made = make_run(tmp_path)
    assert "--terminal draws here" in run("plot", "--terminal", "--out", "x.png").stderr
    assert "named twice" in run("plot", "one", "runs/one").stderr
    assert "no run nothing in runs" in run("plot", "nothing").stderr
    made.metrics.write_text("")
    assert "has no metrics yet" in run("plot", "one").stderr
    made.metrics.write_text('{"step": 1, "other": 2}\n')
    assert "nothing to draw" in run("plot", "one", "--terminal").stderr
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    assert "pip install 'hipgpt-cli[plot]'" in run("plot", "one").stderr


@pytest.mark.parametrize(
    ("theme", "background"), [("light", "#ffffff"), ("dark", "#1e2129"), ("transparent", None)]
)
def test_a_theme_is_the_picture_s_background(run, tmp_path, make_run, theme, background):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    make_run(tmp_path)
    result = run("plot", "--out", "x.svg", "--metric", "loss", "--theme", theme)
    assert result.exit_code == 0, result.output
    svg = (tmp_path / "x.svg").read_text()
    whole = re.search(r'<g id="patch_1">\s*<path d="[^"]*"\s*style="fill: ([^;"]*)', svg)
    assert (whole[1] if whole else None) == ("none" if background is None else background)


def test_an_unknown_kind_of_file_is_told(run, tmp_path, make_run):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    make_run(tmp_path)
    result = run("plot", "--out", "x.nothing")
    assert result.exit_code == 1
    assert "x.nothing has to end with .png, .svg or .pdf" in result.stderr


def test_a_history_of_nothing_says_so(tmp_path, make_run):
    made = make_run(tmp_path)
    made.metrics.unlink()
    with pytest.raises(UserError, match="has no metrics yet"):
        read_history(made)
