"""A panel of one run as SVG text, for a page of HTML: no library, no script, no picture file.

Colours and fonts come from the page (classes and CSS variables), so it is light or dark with it.
The odd thing: a curve of many points is thinned to the smallest and largest of each column, so that
a long run's page stays small and no spike is lost.
"""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from hipgpt_cli import human
from hipgpt_cli.history import X_AXES, smooth_weight, smoothed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hipgpt_cli.history import History, Panel

WIDTH, HEIGHT = 420, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 30, 40

_COLUMNS = 300
"""Places across, each with at most two points of a curve."""


def draw_svg(panel: Panel, history: History) -> str:
    """One panel; "" where nothing was recorded."""
    train, held_out = history.train(panel), history.validation(panel)
    values = (*train.y, *held_out.y)
    if not values:
        return ""
    places = (*train.x, *held_out.x)
    log = panel.log and min(values) > 0
    x_scale = _Scale(min(0.0, *places), max(places), _LEFT, WIDTH - _RIGHT)
    zero = panel.name in {"speed", "learning-rate", "accuracy"}
    low = min(0.0, *values) if zero else min(values)
    y_scale = _Scale(low, max(values), HEIGHT - _BOTTOM, _TOP, log=log, margin=not zero)
    unit = f"{panel.unit}, log" if log else panel.unit
    name = escape(panel.title)
    parts = [
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}">',
        f'<text class="title" x="{_LEFT}" y="15">{name}',
        f'<tspan class="unit" dx="6">{escape(unit)}</tspan></text>',
    ]
    for value in y_scale.ticks():
        y = y_scale(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(
            f'<text class="tick y" x="{_LEFT - 6}" y="{y + 3.5:.1f}">{_tick(value)}</text>'
        )
    for value in x_scale.ticks():
        x = x_scale(value)
        parts.append(
            f'<text class="tick x" x="{x}" y="{HEIGHT - _BOTTOM + 15}">{_tick(value)}</text>'
        )
    bottom = HEIGHT - _BOTTOM
    parts.append(
        f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{bottom}" y2="{bottom}"/>'
    )
    parts.append(
        f'<text class="tick x" x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{HEIGHT - 8}">'
        f"{escape(X_AXES[history.axis])}</text>"
    )
    weight = smooth_weight(len(train)) if panel.smooth else 0.0
    if weight:
        parts.append(_line("raw", train.x, train.y, x_scale, y_scale))
        parts.append(_line("train", train.x, smoothed(train.y, weight), x_scale, y_scale))
    elif len(train):
        parts.append(_line("train", train.x, train.y, x_scale, y_scale))
    if len(held_out):
        parts.append(_line("held-out", held_out.x, held_out.y, x_scale, y_scale))
        if len(held_out) <= 100:
            parts += [
                f'<circle class="held-out" cx="{x_scale(x)}" cy="{y_scale(y)}" r="2.5">'
                f"<title>{_tick(x)}: {y:.4g}</title></circle>"
                for x, y in zip(held_out.x, held_out.y, strict=True)
            ]
    if len(held_out) and len(train):
        parts.append(_legend())
    return "".join([*parts, "</svg>"])


class _Scale:
    """From values to places on the picture.

    Args:
        low: the smallest value.
        high: the largest value.
        begin: where the smallest is.
        end: where the largest is.
        log: logarithmic; low is above 0 then.
        margin: leave a twentieth free at both ends.
    """

    def __init__(
        self, low: float, high: float, begin: float, end: float, *, log: bool = False,
        margin: bool = False,
    ) -> None:  # fmt: skip
        self.log = log
        self._begin, self._end = begin, end
        one, two = (math.log10(low), math.log10(high)) if log else (low, high)
        if two == one:
            one, two = one - abs(one) / 2 - 1e-9, two + abs(two) / 2 + 1e-9
        free = (two - one) / 20 if margin else 0.0
        self._low, self._high = one - free, two + free

    def __call__(self, value: float) -> float:
        """The place of a value, in tenths of a pixel."""
        at = math.log10(value) if self.log else value
        share = (at - self._low) / (self._high - self._low)
        return round(self._begin + share * (self._end - self._begin), 1)

    def ticks(self) -> list[float]:
        """Round values at which a line helps, about five."""
        if not self.log:
            return nice_numbers(self._low, self._high)
        digits = (1, 2, 5) if self._high - self._low < 2.5 else (1,)
        if self._high - self._low < 1:
            digits = (1, 1.5, 2, 3, 5, 7)  # type: ignore[assignment]
        first, last = math.floor(self._low), math.ceil(self._high)
        found = [d * 10.0**power for power in range(first, last + 1) for d in digits]
        return [v for v in found if self._low <= math.log10(v) <= self._high]


def nice_numbers(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, about five of them between two values.

    >>> nice_numbers(0, 1000), nice_numbers(4.3, 6.9)
    ([0.0, 200.0, 400.0, 600.0, 800.0, 1000.0], [4.5, 5.0, 5.5, 6.0, 6.5])
    """
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * digit for digit in (1, 2, 5, 10) if power * digit >= rough * 0.8)
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    return [float(f"{(first + number) * step:.10g}") for number in range(count)]


def _line(
    name: str, xs: Sequence[float], ys: Sequence[float], x_scale: _Scale, y_scale: _Scale
) -> str:
    points = thinned([(x_scale(x), y_scale(y)) for x, y in zip(xs, ys, strict=True)])
    if len(points) == 1:
        return f'<circle class="{name}" cx="{points[0][0]}" cy="{points[0][1]}" r="2.5"/>'
    text = " ".join(f"{x:g},{y:g}" for x, y in points)
    return f'<polyline class="{name}" points="{text}"/>'


def thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most two points for each of 300 columns: the lowest and the highest of those there.

    >>> len(thinned([(x / 100, x % 7) for x in range(5000)])) <= 600
    True
    """
    if len(points) <= 2 * _COLUMNS:
        return points
    left, right = points[0][0], points[-1][0]
    columns: dict[int, list[tuple[float, float]]] = {}
    for point in points:
        number = int((point[0] - left) / (right - left or 1) * (_COLUMNS - 1))
        columns.setdefault(number, []).append(point)
    kept: list[tuple[float, float]] = []
    for column in columns.values():
        extremes = {min(column, key=lambda p: p[1]), max(column, key=lambda p: p[1])}
        kept += sorted(extremes)
    return kept


def _legend() -> str:
    right, y = WIDTH - _RIGHT, 14
    return (
        f'<line class="train" x1="{right - 148}" x2="{right - 130}" y1="{y - 4}" y2="{y - 4}"/>'
        f'<text class="key" x="{right - 126}" y="{y}">training</text>'
        f'<line class="held-out" x1="{right - 76}" x2="{right - 58}" y1="{y - 4}" y2="{y - 4}"/>'
        f'<text class="key" x="{right - 54}" y="{y}">validation</text>'
    )


def _tick(value: float) -> str:
    """A number beside an axis.

    >>> _tick(0.003), _tick(250000), _tick(1200)
    ('0.003', '250 k', '1,200')
    """
    if abs(value) >= 10_000:
        return human.short(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"
