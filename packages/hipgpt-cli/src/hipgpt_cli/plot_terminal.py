"""Curves of runs in the terminal: each character is two by four points of Braille.

The odd thing: where a character holds points of several runs, the last one gives the colour, as ink
would; without colours each run has its own panel under the others.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import click

from hipgpt_cli import human
from hipgpt_cli.history import smooth_weight, smoothed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hipgpt_cli.history import History, Panel

COLORS = ("bright_blue", "bright_yellow", "bright_green", "bright_magenta", "bright_cyan",
          "bright_red")  # fmt: skip

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of each dot of a Braille character, by row and column."""

_LABEL = 9


class Canvas:
    """A field of Braille characters.

    Args:
        width: characters.
        height: characters.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._bits = [[0] * width for _ in range(height)]
        self._colors = [[""] * width for _ in range(height)]

    def dot(self, x: int, y: int, color: str) -> None:
        """Set a point, (0, 0) being at the top left; outside nothing happens."""
        column, row = x // 2, y // 4
        if 0 <= column < self.width and 0 <= row < self.height:
            self._bits[row][column] |= _DOTS[y % 4][x % 2]
            self._colors[row][column] = color

    def line(self, x0: int, y0: int, x1: int, y1: int, color: str) -> None:
        """Set every point of a line."""
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        for step in range(steps + 1):
            self.dot(
                x0 + round((x1 - x0) * step / steps), y0 + round((y1 - y0) * step / steps), color
            )

    def rows(self, *, color: bool) -> list[str]:
        """The lines of text."""
        return [
            "".join(
                click.style(chr(0x2800 + bits), fg=name) if color and bits and name
                else chr(0x2800 + bits) if bits else " "
                for bits, name in zip(row, names, strict=True)
            )
            for row, names in zip(self._bits, self._colors, strict=True)
        ]  # fmt: skip


def draw_panel(
    panel: Panel,
    histories: Sequence[History],
    width: int,
    height: int,
    *,
    color: bool,
    smooth: float | None = None,
) -> list[str]:
    """A panel as lines of text, at most `width` characters wide; [] where there is nothing.

    Training is a line, validation single points on it.

    Args:
        panel: what.
        histories: whose.
        width: characters in all.
        height: characters of the field itself; three lines more are title and axis.
        color: with colours.
        smooth: as for `plot_figure.draw`.
    """
    lines, points = [], []
    for history in histories:
        train = history.train(panel)
        weight = smooth_weight(len(train)) if smooth is None else smooth
        values = smoothed(train.y, weight) if panel.smooth and weight else train.y
        lines.append(list(zip(train.x, values, strict=True)))
        held_out = history.validation(panel)
        points.append(list(zip(held_out.x, held_out.y, strict=True)))
    everything = [point for curve in (*lines, *points) for point in curve]
    if not everything:
        return []
    log = panel.log and all(y > 0 for _, y in everything)
    scale = math.log10 if log else float
    left, right = min(x for x, _ in everything), max(x for x, _ in everything)
    low, high = min(scale(y) for _, y in everything), max(scale(y) for _, y in everything)
    if high == low:
        low, high = low - abs(low) * 0.5 - 1e-12, high + abs(high) * 0.5 + 1e-12
    canvas = Canvas(max(width - _LABEL - 2, 8), height)

    def place(point: tuple[float, float]) -> tuple[int, int]:
        across = (point[0] - left) / (right - left) if right > left else 0.5
        up = (scale(point[1]) - low) / (high - low)
        return (
            round(across * (2 * canvas.width - 1)),
            round((1 - up) * (4 * canvas.height - 1)),
        )

    for number, (line, held_out_points) in enumerate(zip(lines, points, strict=True)):
        own = COLORS[number % len(COLORS)]
        placed = [place(point) for point in line]
        for one, two in itertools.pairwise(placed):
            canvas.line(*one, *two, own)
        if len(placed) == 1:
            canvas.dot(*placed[0], own)
        other = COLORS[1] if len(histories) == 1 else own
        for x, y in (place(point) for point in held_out_points):
            for across in (0, 1):
                for down in (0, 1):
                    canvas.dot(x + across, y + down, other)
    back = (lambda value: 10**value) if log else float
    return _framed(panel, canvas, (left, right), (back(low), back(high)), color=color, log=log)


def _framed(
    panel: Panel,
    canvas: Canvas,
    x: tuple[float, float],
    y: tuple[float, float],
    *,
    color: bool,
    log: bool,
) -> list[str]:
    rows = canvas.rows(color=color)
    middle = math.sqrt(y[0] * y[1]) if log else (y[0] + y[1]) / 2
    labels = {0: y[1], len(rows) // 2: middle, len(rows) - 1: y[0]}
    unit = f" ({panel.unit}{', log' if log else ''})" if panel.unit or log else ""
    title = f"{panel.title}{unit}"[: canvas.width]
    framed = [f"{' ' * (_LABEL + 2)}{click.style(title, bold=True) if color else title}"]
    for number, row in enumerate(rows):
        label = _number(labels[number]) if number in labels else ""
        framed.append(f"{label.rjust(_LABEL)} {'┤' if label else '│'}{row}".rstrip())
    framed.append(f"{' ' * (_LABEL + 1)}└{'─' * canvas.width}")
    begin, end = _number(x[0]), _number(x[1])
    gap = max(canvas.width - len(begin) - len(end), 1)
    framed.append(f"{' ' * (_LABEL + 2)}{begin}{' ' * gap}{end}")
    return framed


def _number(value: float) -> str:
    """A number in at most eight characters.

    >>> _number(2.3456), _number(0.0003), _number(123456), _number(0)
    ('2.346', '3.0e-04', '123 k', '0')
    """
    if value == 0:
        return "0"
    if abs(value) >= 10_000:
        return human.short(value)
    if abs(value) < 0.01:
        return f"{value:.1e}"
    return f"{value:.4g}"
