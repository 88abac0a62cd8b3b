"""What the diagrams of the docs are drawn with: boxes, words, arrows and cells, as plain SVG.

The colours are of a middle brightness and have no background, so that one file serves the light
page and the dark one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterable

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "images"

INK = "#8a8f98"
ORANGE, BLUE, GREEN, GREY = "#e8590c", "#3b82d6", "#2f9e5f", "#8a8f98"


class Drawing:
    """An SVG of a size, to which shapes are added."""

    def __init__(self, width: int, height: int, title: str) -> None:
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            'font-family="system-ui, sans-serif">'
        )
        tip = (
            '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            f'orient="auto"><path d="M0 0 8 4 0 8z" fill="{INK}"/></marker>'
        )
        self.parts = [head, f"<title>{escape(title)}</title>", f"<defs>{tip}</defs>"]

    def box(
        self, x: float, y: float, w: float, h: float, color: str, *lines: str, fill: float = 0.14
    ) -> None:
        """A box with lines of text in its middle, the first of them bold."""
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="7" fill="{color}" '
            f'fill-opacity="{fill}" stroke="{color}" stroke-width="1.5"/>'
        )
        top = y + h / 2 - 9 * (len(lines) - 1)
        for number, line in enumerate(lines):
            self.text(x + w / 2, top + 18 * number, line, bold=number == 0, color=color)

    def text(
        self,
        x: float,
        y: float,
        line: str,
        *,
        bold: bool = False,
        color: str = INK,
        anchor: str = "middle",
        size: int = 13,
    ) -> None:
        """A line of text, its middle (or start, or end) at x."""
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(
            f'<text x="{x}" y="{y}" fill="{color}" text-anchor="{anchor}" font-size="{size}" '
            f'dominant-baseline="central"{weight}>{escape(line)}</text>'
        )

    def arrow(self, *points: tuple[float, float], dashed: bool = False) -> None:
        """A line through the points that ends in a tip."""
        path = " ".join(f"{x},{y}" for x, y in points)
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{INK}" stroke-width="1.6"{dash} '
            'marker-end="url(#tip)"/>'
        )

    def cell(
        self, x: float, y: float, size: float, color: str, fill: float, height: float | None = None
    ) -> None:
        """A square, or a rectangle of another height, with sharp corners and no words."""
        height = size if height is None else height
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{size}" height="{height}" fill="{color}" '
            f'fill-opacity="{fill}" stroke="{color}" stroke-opacity="0.6"/>'
        )

    def line(
        self, points: Iterable[tuple[float, float]], color: str = INK, width: float = 2
    ) -> None:
        """A line through the points."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{width}"/>'
        )

    def aside(self, x: float, y: float, words: str) -> None:
        """A line of text that reads upwards, for the left side of something tall."""
        self.parts.append(
            f'<text transform="translate({x} {y}) rotate(-90)" fill="{INK}" font-size="13" '
            f'text-anchor="middle">{escape(words)}</text>'
        )

    def svg(self) -> str:
        """The file's text."""
        return "\n".join([*self.parts, "</svg>"]) + "\n"

    def save(self, name: str) -> None:
        """Write the file."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / name).write_text(self.svg(), encoding="utf-8")
