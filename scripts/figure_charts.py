"""The charts of measured figures: a bar for each ratio to a peer, as plain SVG.

The odd thing: there is no background and every colour is of a middle brightness, so one file serves
the light page and the dark one; and no library draws, so a test can hold the files to the records.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from drawing import GREEN, GREY, ORANGE, Drawing
from figure_summary import KERNELS, MODEL, TOKENIZER, compared

if TYPE_CHECKING:
    from collections.abc import Iterable

    from figure_records import Records
    from figure_summary import Comparison

WIDTH, LEFT, RIGHT = 660, 312, 50
"""Of a chart, of its words, of the room behind the longest bar."""
BAR, GAP, HEADING = 18, 26, 40


def ratios(records: Records) -> str:
    """Whole programs and models beside others."""
    return _chart("Times as fast as others", compared(records, [*MODEL, *TOKENIZER]))


def ops(records: Records) -> str:
    """Single ops beside the fastest of their kind."""
    return _chart("Ops on one H200, beside others", compared(records, KERNELS))


CHARTS = {"ratios.svg": ratios, "ops.svg": ops}
"""By the name of the file in docs/images."""


def _chart(title: str, found: Iterable[Comparison]) -> str:
    groups: dict[str, list[Comparison]] = {}
    for one in found:
        groups.setdefault(one.line.where, []).append(one)
    if not groups:
        raise ValueError("there is no record for this chart")
    most = max(1.2, *(one.ratio for ones in groups.values() for one in ones))
    unit = (WIDTH - LEFT - RIGHT) / most
    height = 34 + sum(HEADING + GAP * len(ones) for ones in groups.values())
    d = Drawing(WIDTH, height, title)
    for tick in range(math.floor(most) + 1):
        x = LEFT + tick * unit
        _tick(d, x, height, strong=tick == 1)
        d.text(x, 12, "equal" if tick == 1 else f"{tick}×", size=12, bold=tick == 1)
    y = 24.0
    for where, ones in groups.items():
        d.text(10, y + HEADING / 2 + 4, where, anchor="start", bold=True)
        y += HEADING
        for one in ones:
            color = GREEN if round(one.ratio, 2) >= 1 else ORANGE
            d.cell(LEFT, y, one.ratio * unit, color, 0.55, BAR)
            middle = y + BAR / 2
            d.text(LEFT - 10, middle, f"{one.line.words} · {one.line.name}", anchor="end", size=12)
            end = LEFT + one.ratio * unit + 8
            d.text(
                end, middle, f"{one.ratio:.2f}×", anchor="start", size=12, color=color, bold=True
            )
            y += GAP
    return "\n".join([*d.parts, "</svg>"]) + "\n"


def _tick(d: Drawing, x: float, height: float, *, strong: bool) -> None:
    """A line from the top to the bottom."""
    dash = "" if strong else ' stroke-dasharray="2 4"'
    d.parts.append(
        f'<line x1="{x:.1f}" y1="24" x2="{x:.1f}" y2="{height}" stroke="{GREY}" '
        f'stroke-width="{1.5 if strong else 1}" stroke-opacity="0.6"{dash}/>'
    )
