"""Curves of runs as a picture, drawn by Matplotlib.

One colour is one run; validation is drawn with dots, training without. The odd thing: what was
recorded is drawn faintly and its moving average over it, because the noise is a fact, too.
"""

from __future__ import annotations

import math
from itertools import cycle
from typing import TYPE_CHECKING, Any, NamedTuple

from hipgpt_cli.errors import UserError
from hipgpt_cli.files import replacing
from hipgpt_cli.history import PANELS, X_AXES, smooth_weight, smoothed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hipgpt_cli.history import History, Panel


class Theme(NamedTuple):
    """The colours of a picture."""

    background: str
    ink: str
    spine: str
    grid: str
    curves: tuple[str, ...]


THEMES = {
    "light": Theme(
        "white", "#333333", "#999999", "#dddddd",
        ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f7f7f", "#882255"),
    ),
    "dark": Theme(
        "#1e2129", "#d5d7dc", "#7d828c", "#353945",
        ("#56b4e9", "#f0803c", "#3dc79a", "#e09ac3", "#8ecdf5", "#f0c04c", "#b0b0b0", "#d46a98"),
    ),
    # Of a middle brightness, so that one file serves a light page and a dark one.
    "transparent": Theme(
        "none", "#8a8f98", "#8a8f98", "#8a8f9848",
        ("#2f86d0", "#e8650c", "#16a07a", "#c76da0", "#4aa8dd", "#d39112", "#8a8f98", "#b1477c"),
    ),
}  # fmt: skip
"""Curves in Okabe and Ito's colours, which people of every kind of colour vision can tell apart,
and two more; brighter on a dark page."""

DPI = 150


def draw(
    histories: Sequence[History],
    path: Path,
    *,
    panels: Sequence[Panel] = PANELS,
    smooth: float | None = None,
    theme: str = "light",
) -> list[str]:
    """Draw runs into a file, whose suffix says its kind: .png, .svg or .pdf.

    Args:
        histories: one or more, of one axis.
        path: the file.
        panels: what is drawn, if there are figures of it.
        smooth: weight of the moving average, 0 ≤ smooth < 1; None chooses by the number of points.
        theme: one of THEMES.

    Returns:
        The titles of what was drawn.

    Raises:
        UserError: Matplotlib is not installed, does not know the kind of file, or there is nothing.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(
            "a picture needs the package matplotlib: pip install 'hipgpt-cli[plot]'; --terminal "
            "draws here and needs nothing"
        ) from error
    shown = [panel for panel in panels if any(len(h.train(panel)) for h in histories)]
    shown += [
        panel
        for panel in panels
        if panel not in shown and any(len(h.validation(panel)) for h in histories)
    ]
    if not shown:
        raise UserError("there is nothing to draw: no figure was recorded")
    columns = min(len(shown), 2 if len(shown) < 5 else 3)
    rows = -(-len(shown) // columns)
    colors = THEMES[theme]
    # The text of an SVG stays text, and the same curves give the same file.
    with rc_context({
        "svg.fonttype": "none", "svg.hashsalt": "hipgpt", "font.size": 9,
        "text.color": colors.ink, "axes.facecolor": "none",
    }):  # fmt: skip
        figure = Figure(
            figsize=(4.4 * columns, 3.1 * rows + 0.6),
            layout="constrained",
            facecolor=colors.background,
        )
        axes = [figure.add_subplot(rows, columns, number + 1) for number in range(len(shown))]
        for panel, axis in zip(shown, axes, strict=True):
            _draw_panel(axis, panel, histories, smooth, colors)
        _legend(figure, axes, histories, colors)
        kind = path.suffix.lower().removeprefix(".")
        try:
            with replacing(path) as file:
                figure.savefig(file, format=kind, dpi=DPI, metadata=_metadata(path))
        except ValueError as error:
            raise UserError(
                f"{path} has to end with .png, .svg or .pdf, to say its kind"
            ) from error
    return [panel.title for panel in shown]


def _draw_panel(
    axis: Any, panel: Panel, histories: Sequence[History], smooth: float | None, colors: Theme
) -> None:
    from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator

    one = len(histories) == 1
    highest: list[float] = []
    for number, history in enumerate(histories):
        color = colors.curves[number % len(colors.curves)]
        train, held_out = history.train(panel), history.validation(panel)
        weight = smooth_weight(len(train)) if smooth is None else smooth
        if panel.smooth and weight > 0 and len(train) > 2:
            axis.plot(train.x, train.y, color=color, alpha=0.22, linewidth=0.8)
            means = smoothed(train.y, weight)
            axis.plot(train.x, means, color=color, linewidth=1.6, label="training")
        else:
            marker = "o" if len(train) == 1 else ""
            axis.plot(train.x, train.y, color=color, linewidth=1.6, marker=marker, label="training")
        if len(held_out):
            held_out_color = colors.curves[1] if one else color
            axis.plot(
                held_out.x, held_out.y, color=held_out_color, linewidth=1.3, linestyle="--",
                marker="o", markersize=3 if len(held_out) < 60 else 1.5, label="validation",
            )  # fmt: skip
        highest += [*train.y, *held_out.y]
    axis.set_title(panel.title, loc="left", fontweight="bold", color=colors.ink)
    axis.set_xlabel(X_AXES[histories[0].axis], color=colors.ink)
    axis.set_ylabel(panel.unit, color=colors.ink)
    positive = [value for value in highest if value > 0]
    if panel.log and len(positive) == len(highest) > 0:
        axis.set_yscale("log")
        decades = math.log10(max(positive) / min(positive))
        between = (1, 1.5, 2, 3, 5, 7) if decades < 1 else (1, 2, 5) if decades < 2.5 else (1,)
        axis.yaxis.set_major_locator(LogLocator(subs=between))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter("{x:g}")
    elif panel.name == "speed":
        axis.yaxis.set_major_formatter(EngFormatter(sep=" "))
        axis.set_ylim(bottom=0)
    elif panel.name == "learning-rate":
        axis.set_ylim(bottom=0)
        axis.yaxis.set_major_formatter("{x:g}")
    if histories[0].axis != "time":
        axis.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axis.xaxis.set_major_locator(MaxNLocator(6))
    axis.grid(visible=True, color=colors.grid, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.tick_params(colors=colors.ink)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color(colors.spine)


def _legend(figure: Any, axes: Sequence[Any], histories: Sequence[History], colors: Theme) -> None:
    from matplotlib.lines import Line2D

    if len(histories) == 1:
        figure.suptitle(histories[0].name, x=0.01, ha="left", fontweight="bold")
        for axis in axes:
            if len(set(axis.get_legend_handles_labels()[1])) > 1:
                axis.legend(frameon=False)
        return
    handles = [
        Line2D([], [], color=color, linewidth=2, label=history.name)
        for history, color in zip(histories, cycle(colors.curves), strict=False)
    ]
    handles += [
        Line2D([], [], color=colors.ink, linewidth=1.6, label="training"),
        Line2D([], [], color=colors.ink, linewidth=1.3, linestyle="--", marker="o", markersize=3,
               label="validation"),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper left", ncols=min(len(handles), 5),
                  frameon=False)  # fmt: skip


def _metadata(path: Path) -> dict[str, Any] | None:
    """Without the time, so that the same curves give the same file."""
    return {"Date": None} if path.suffix.lower() == ".svg" else None
