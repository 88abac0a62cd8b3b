"""Draw the diagrams of the docs: docs/images/*.svg.

    python scripts/draw_diagrams.py

Plain SVG, no library. The colours are of a middle brightness and have no background, so that one
file serves the light page and the dark one.
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

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

    def cell(self, x: float, y: float, size: float, color: str, fill: float) -> None:
        """A square."""
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{size}" height="{size}" fill="{color}" '
            f'fill-opacity="{fill}" stroke="{color}" stroke-opacity="0.6"/>'
        )

    def save(self, name: str) -> None:
        """Write the file."""
        (FOLDER / name).write_text("\n".join([*self.parts, "</svg>"]) + "\n", encoding="utf-8")


def packages() -> None:
    """Who depends on whom."""
    d = Drawing(760, 250, "The four packages and what they depend on")
    d.box(10, 90, 165, 70, ORANGE, "hipgpt-cli", "train, generate, …")
    d.box(240, 20, 200, 70, BLUE, "hipgpt-tokenizer", "text to ids and back")
    d.box(240, 160, 200, 70, BLUE, "hipgpt-model", "layers, training, files")
    d.box(520, 160, 220, 70, GREEN, "hipgpt-kernels", "every op, forward, backward")
    d.text(630, 55, "only Python's standard library")
    d.text(630, 125, "NumPy; hip-python for GPUs")
    d.arrow((175, 110), (236, 62))
    d.arrow((175, 140), (236, 188))
    d.arrow((440, 195), (516, 195))
    d.arrow((440, 55), (530, 55), dashed=True)
    d.arrow((630, 160), (630, 137), dashed=True)
    d.save("packages.svg")


def model() -> None:
    """The layers of the model and the residual stream past them."""
    d = Drawing(760, 430, "The model: embedding, L blocks, final LayerNorm, output, loss")
    d.box(40, 15, 220, 50, BLUE, "token + position", "ids (B, T) to (B, T, E)")
    d.box(40, 335, 220, 42, BLUE, "LayerNorm")
    d.box(300, 335, 180, 42, ORANGE, "linear E to V")
    d.box(520, 335, 200, 42, ORANGE, "softmax cross-entropy")
    d.box(15, 88, 730, 222, GREY, fill=0.05)
    d.text(730, 105, "a block, L times", anchor="end", bold=True)
    for y, names in [
        (130, ("LayerNorm", "linear E to 3E", "attention", "linear E to E")),
        (225, ("LayerNorm", "linear E to F", "GELU", "linear F to E")),
    ]:
        for number, name in enumerate(names):
            x = 205 + 133 * number
            d.box(x, y, 118, 42, GREEN, name)
            d.arrow((x - 15 if number else 150, y + 21), (x - 3, y + 21))
        d.arrow((663, y + 42), (663, y + 64), (165, y + 64))
        d.text(150, y + 64, "+", bold=True, color=ORANGE, size=18)
    d.text(80, 192, "residual")
    d.text(80, 210, "stream x")
    d.arrow((150, 65), (150, 182))
    d.arrow((150, 205), (150, 278))
    d.arrow((150, 300), (150, 332))
    d.arrow((260, 356), (297, 356))
    d.arrow((480, 356), (517, 356))
    words = "Nothing but additions stands on the way down: each half of a block adds its part to x."
    d.text(380, 405, words)
    d.save("model.svg")


def walk() -> None:
    """One batch from a text file to updated weights."""
    d = Drawing(1090, 310, "One batch, from a text file to updated weights")
    steps = [
        (BLUE, "text file", "corpus.py"),
        (BLUE, "ids", "Tokenizer.encode"),
        (BLUE, "windows (B, T)", "data.py, gather"),
        (GREEN, "embedding (B, T, E)", "layers.py"),
        (GREEN, "L blocks", "attention, feed-forward"),
        (ORANGE, "loss and its gradient", "head.py, cross-entropy"),
    ]
    for number, (color, name, where) in enumerate(steps):
        x = 10 + 182 * number
        d.box(x, 30, 160, 64, color, name, where)
        if number:
            d.arrow((x - 22, 62), (x - 3, 62))
    back = [
        (ORANGE, "blocks backward", "dx in place, L … 1"),
        (ORANGE, "embedding gradient", "no atomics"),
        (GREY, "gradient norm", "one flat buffer"),
        (GREY, "AdamW", "weights, m, v at once"),
    ]
    for number, (color, name, where) in enumerate(back):
        x = 920 - 182 * number
        d.box(x, 220, 160, 64, color, name, where)
        if number:
            d.arrow((x + 182, 252), (x + 163, 252))
    d.arrow((1000, 94), (1000, 216))
    d.arrow((374, 252), (290, 252), (290, 140), (636, 140), (636, 98), dashed=True)
    d.text(460, 158, "new weights, for the next batch")
    d.text(135, 243, "What a block kept in the forward,")
    d.text(135, 262, "it uses in the backward.")
    d.save("walk.svg")


def attention_tiles() -> None:
    """What causal attention computes and what it skips."""
    d = Drawing(640, 330, "Causal attention by tiles: what is computed, masked and skipped")
    n, size, left, top = 8, 30, 60, 40
    for i in range(n):
        for j in range(n):
            color, fill = (GREEN, 0.45) if j < i else (ORANGE, 0.55) if j == i else (GREY, 0.05)
            d.cell(left + j * size, top + i * size, size - 2, color, fill)
    d.text(left + n * size / 2, 20, "keys and values, in tiles →")
    d.parts.append(
        f'<text transform="translate(36 {top + n * size / 2}) rotate(-90)" fill="{INK}" '
        'text-anchor="middle">queries, in tiles →</text>'
    )
    for number, (color, fill, words) in enumerate(
        [
            (GREEN, 0.45, ("computed whole:", "every key is before every query")),
            (ORANGE, 0.55, ("computed and masked:", "the diagonal, a tile in each row")),
            (GREY, 0.05, ("never touched:", "the future, nearly half of it all")),
        ]
    ):
        y = 70 + 80 * number
        d.cell(340, y - 14, size - 2, color, fill)
        d.text(382, y - 9, words[0], anchor="start", bold=True, color=color)
        d.text(382, y + 10, words[1], anchor="start")
    d.text(left, 305, "Scores live in registers, one tile at a time.", anchor="start")
    d.save("attention-tiles.svg")


def memory() -> None:
    """The flat buffers and the arena."""
    d = Drawing(880, 310, "Memory of a training: four flat buffers and an arena")
    parts = [("token embedding", 0.3), ("block 1", 0.2), ("block 2", 0.2), ("biases, gains", 0.3)]
    rows = [("weights", BLUE), ("gradients", ORANGE), ("m", GREY), ("v", GREY)]
    for row, (name, color) in enumerate(rows):
        y = 20 + 40 * row
        d.text(95, y + 15, name, anchor="end", bold=True, color=color)
        x = 110.0
        for part, share in parts:
            width = share * 560
            d.box(x, y, width - 3, 30, color, part if row == 0 else "")
            x += width
    d.text(690, 35, "one AdamW launch,", anchor="start")
    d.text(690, 53, "one norm, one all-reduce,", anchor="start")
    d.text(690, 71, "one write to disk", anchor="start")
    d.text(95, 235, "arena", anchor="end", bold=True, color=GREEN)
    x = 110.0
    for name, width in [("embedding", 100), ("block 1", 120), ("block 2", 120), ("logits", 90)]:
        d.box(x, 220, width - 3, 30, GREEN, name)
        x += width
    d.arrow((x + 2, 235), (x + 60, 235))
    d.text(690, 225, "starts anew every step:", anchor="start")
    d.text(690, 243, "the same addresses each", anchor="start")
    d.text(690, 261, "time, so a graph can replay", anchor="start")
    words = "Temporaries of a backward pass are given back at once, in the order of a stack."
    d.text(110, 285, words, anchor="start")
    d.save("memory.svg")


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for draw in (packages, model, walk, attention_tiles, memory):
        draw()


if __name__ == "__main__":
    main()
