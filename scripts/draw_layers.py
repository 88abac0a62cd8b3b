"""Draw the diagrams of the kernels of the layers: docs/images/*.svg.

python scripts/draw_layers.py
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from drawing import BLUE, GREEN, GREY, INK, ORANGE, Drawing

if TYPE_CHECKING:
    from collections.abc import Callable


def linear_tiles() -> None:
    """What a block, a wave and one instruction make of a matrix product."""
    d = Drawing(640, 620, "A matrix product by tiles, and the way of its operands")
    left, top, tile = 210, 190, 90
    d.text(left + 1.5 * tile, 14, "B (K, N)", bold=True, color=BLUE)
    d.text(130, top + tile - 16, "A (M, K)", bold=True, color=BLUE)
    d.text(left + 3 * tile + 14, top + 14, "C (M, N)", bold=True, color=GREEN, anchor="start")
    for step in range(4):  # pieces of depth BK of the block's row of A and column of B
        fill = 0.5 if step == 1 else 0.16
        d.cell(left + tile, 30 + 36 * step, tile, BLUE, fill, 34)
        d.cell(left - 12 - 36 * (4 - step), top + tile, 34, BLUE, fill, tile)
    d.text(left + 2 * tile + 10, 83, "BK deep: one stage in LDS", anchor="start", color=BLUE)
    d.text(left + 2 * tile + 10, 101, "of each operand", anchor="start", color=BLUE)
    for i in range(3):
        for j in range(3):
            d.cell(left + j * tile, top + i * tile, tile - 2, GREEN, 0.28 if i == j == 1 else 0.06)
    for i in range(2):  # waves of the block
        for j in range(2):
            x, y = left + tile + 2 + 43 * j, top + tile + 2 + 43 * i
            d.cell(x, y, 41, GREEN, 0.5 if i == j == 0 else 0.12)
    for i in range(3):  # fragments of a wave
        d.line(
            [
                (left + tile + 2, top + tile + 12.5 + 10 * i),
                (left + tile + 43, top + tile + 12.5 + 10 * i),
            ]
        )
        d.line(
            [
                (left + tile + 12.5 + 10 * i, top + tile + 2),
                (left + tile + 12.5 + 10 * i, top + tile + 43),
            ]
        )
    x = left + 3 * tile + 14
    for number, (size, words) in enumerate(
        [
            ("BM × BN", "a workgroup"),
            ("WM × WN", "a wave of it"),
            ("16 × 16", "a fragment: a few"),
        ]
    ):
        y = top + 70 + 44 * number
        d.text(x, y, size, anchor="start", bold=True, color=GREEN)
        d.text(x, y + 18, words, anchor="start")
    d.text(x, top + 70 + 44 * 2 + 36, "matrix instructions", anchor="start")
    y = 500
    d.text(320, y - 18, "all the while: fetch stage k + 1, multiply stage k", bold=True)
    for number, (color, name, where) in enumerate(
        [
            (GREY, "global memory", "L2 in between"),
            (BLUE, "LDS", "1 to 4 stages"),
            (BLUE, "registers", "operands"),
            (GREEN, "matrix core", "float32 sums"),
        ]
    ):
        d.box(8 + 160 * number, y, 144, 48, color, name, where)
        if number:
            d.arrow((160 * number - 8, y + 24), (160 * number + 5, y + 24))
    d.arrow((560, y + 48), (560, y + 86), (474, y + 86))
    d.box(
        168,
        y + 64,
        304,
        46,
        ORANGE,
        "results, by way of LDS",
        "+ bias, activation, + residual, rounding",
    )
    d.arrow((166, y + 86), (80, y + 86), (80, y + 51))
    d.save("linear-tiles.svg")


def linear_split() -> None:
    """How the long sum of a weight's gradient is shared out."""
    d = Drawing(640, 300, "The sum over rows, cut into pieces that are added in order")
    d.text(70, 16, "rows of the batch", bold=True)
    colors = [(GREEN, 0.2), (GREEN, 0.32), (GREEN, 0.44), (GREEN, 0.56)]
    for piece, (color, fill) in enumerate(colors):
        y = 34 + 58 * piece
        d.cell(20, y, 42, BLUE, 0.2, 54)
        d.cell(76, y, 42, BLUE, 0.2, 54)
        d.box(210, y + 4, 150, 46, color, f"piece {piece + 1}", "its own (N, K)", fill=fill)
        d.arrow((122, y + 27), (206, y + 27))
        d.arrow((362, y + 27), (446, 130 + 12 * piece))
    d.text(41, 280, "dout", color=BLUE)
    d.text(97, 280, "x", color=BLUE)
    d.text(285, 280, "workspace, float32")
    d.box(450, 118, 180, 60, ORANGE, "linear_sum", "1 + 2 + 3 + 4, always so")
    d.arrow((540, 180), (540, 216))
    d.text(540, 232, "dW +=", bold=True, color=ORANGE)
    d.text(540, 60, "every piece, every tile:")
    d.text(540, 78, "a workgroup of its own")
    d.save("linear-split.svg")


def linear_hopper() -> None:
    """Who does what in a block of the large products on Hopper, and when."""
    d = Drawing(640, 400, "Loader, products and results of one block, at work on different tiles")
    for x, color, name, *words in [
        (8, BLUE, "loader", "one thread", "copy engine, TMA"),
        (226, GREEN, "products", "two warpgroups", "wgmma"),
        (444, ORANGE, "results", "seven waves", "gelu, slope, residual"),
    ]:
        d.box(x, 16, 188, 76, color, name, *words)
    for stage in range(4):
        d.cell(64 + 48 * stage, 124, 44, BLUE, 0.4 if stage == 1 else 0.18, 40)
        d.text(86 + 48 * stage, 144, "A B", color=BLUE, size=12)
    d.text(160, 182, "four stages in shared memory")
    d.box(388, 124, 150, 40, ORANGE, "64 rows, 64 rows")
    d.text(463, 182, "a staged tile, 16 bits")
    d.arrow((90, 94), (90, 120))
    d.arrow((226, 120), (270, 95))
    d.arrow((370, 94), (420, 120))
    d.arrow((510, 120), (540, 95))
    d.text(20, 226, "time →", anchor="start", bold=True)
    lanes = [("loader", BLUE, 0), ("products", GREEN, 44), ("results", ORANGE, 210)]
    for row, (name, color, start) in enumerate(lanes):
        y = 244 + 42 * row
        d.text(92, y + 16, name, anchor="end", bold=True, color=color)
        for tile in range(3):
            x = 102 + start + 166 * tile
            if x < 630:
                d.box(
                    x, y, min(160, 632 - x), 32, color, f"tile {tile + 1}", fill=0.1 + 0.12 * tile
                )
    d.text(320, 386, "The tensor cores go on while a tile's results leave.", bold=True)
    d.save("linear-hopper.svg")


def attention_tiles() -> None:
    """What causal attention computes and what it skips."""
    d = Drawing(640, 330, "Causal attention by tiles: what is computed, masked and skipped")
    n, size, left, top = 8, 30, 60, 40
    for i in range(n):
        for j in range(n):
            color, fill = (GREEN, 0.45) if j < i else (ORANGE, 0.55) if j == i else (GREY, 0.05)
            d.cell(left + j * size, top + i * size, size - 2, color, fill)
    d.text(left + n * size / 2, 20, "keys and values, in tiles →")
    d.aside(36, top + n * size / 2, "← queries, in tiles")
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


def layernorm_rows() -> None:
    """The two directions in which the backward of LayerNorm adds up."""
    d = Drawing(640, 400, "LayerNorm backward: sums along rows, sums down columns")
    left, top, width, columns = 90, 50, 46, 6
    rows = [("b", True), ("b + 1", False), ("b + G", True), ("…", False), ("b + 2G", True)]
    d.text(left + columns * width / 2, 16, "E columns, four neighbouring ones a thread", bold=True)
    for number, (name, mine) in enumerate(rows):
        y = top + 36 * number
        d.text(left - 10, y + 15, f"row {name}" if name != "…" else name, anchor="end")
        for column in range(columns):
            d.cell(
                left + column * width,
                y,
                width - 2,
                GREEN if mine else GREY,
                0.3 if mine else 0.05,
                30,
            )
        if mine:
            d.arrow((left + columns * width + 2, y + 15), (left + columns * width + 34, y + 15))
            beside = left + columns * width + 42
            d.text(beside, y + 7, "Σ g, Σ g·x̂ along the row", anchor="start", color=GREEN)
            d.text(beside, y + 24, "→ dx, written at once", anchor="start")
    bottom = top + 36 * len(rows)
    for column in range(columns):
        x = left + column * width + width / 2 - 1
        d.arrow((x, bottom - 4), (x, bottom + 20))
        d.cell(left + column * width, bottom + 24, width - 2, ORANGE, 0.35, 30)
    x = left + columns * width + 12
    d.text(x, bottom + 31, "Σ dout·x̂, Σ dout: registers", anchor="start", color=ORANGE, bold=True)
    d.text(x, bottom + 49, "of the thread, over all its rows", anchor="start")
    d.arrow((left + columns * width / 2, bottom + 58), (left + columns * width / 2, bottom + 84))
    d.box(left, bottom + 88, columns * width, 50, ORANGE, "(G, 2, E) in memory", "one line a block")
    d.arrow((left + columns * width + 4, bottom + 113), (left + columns * width + 44, bottom + 113))
    d.box(
        left + columns * width + 48,
        bottom + 88,
        180,
        50,
        ORANGE,
        "second kernel",
        "dw +=, db +=, in order",
    )
    d.save("layernorm-rows.svg")


def activation_curves() -> None:
    """The activations and their slopes."""
    d = Drawing(640, 330, "gelu, relu and silu, and their slopes")

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    def gelu(x: float) -> float:
        return x * sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))

    curves: list[tuple[str, str, Callable[[float], float]]] = [
        ("gelu", ORANGE, gelu),
        ("silu, of swiglu", BLUE, lambda x: x * sigmoid(x)),
        ("relu", GREEN, lambda x: max(x, 0.0)),
    ]

    def slope(f: Callable[[float], float]) -> Callable[[float], float]:
        return lambda x: (f(x + 1e-4) - f(x - 1e-4)) / 2e-4

    xs = [-4 + i / 50 for i in range(401)]
    for side, (title, low, high) in enumerate([("f(x)", -0.6, 3.0), ("f′(x)", -0.25, 1.25)]):
        left, top, width, height = 20 + 320 * side, 40, 280, 230

        def place(
            x: float, y: float, left: int = left, low: float = low, high: float = high
        ) -> tuple[float, float]:
            return left + (x + 4) / 8 * 280, 40 + (high - y) / (high - low) * 230

        d.cell(left, top, width, GREY, 0.03, height)
        d.text(left + width / 2, 22, title, bold=True)
        d.line([place(-4, 0), place(4, 0)], INK, 1)
        d.line([place(0, low), place(0, high)], INK, 1)
        for mark in (-2, 2):
            d.text(
                place(mark, 0)[0] + 12 * (mark < 0),
                place(0, 0)[1] + 14 - 28 * (mark < 0),
                f"{mark}".replace("-", "−"),
                size=11,
            )
        d.text(place(0, 1)[0] - 12, place(0, 1)[1], "1", size=11)
        for _, color, f in curves:
            g = f if side == 0 else slope(f)
            d.line([place(x, g(x)) for x in xs if low <= g(x) <= high], color, 2.2)
    for number, (name, color, _) in enumerate(curves):
        start = 150 + (0, 110, 260)[number]
        d.line([(start, 300), (start + 26, 300)], color, 3)
        d.text(start + 34, 300, name, anchor="start", color=color)
    d.save("activation-curves.svg")


def dropout_words() -> None:
    """How an element finds its random word."""
    d = Drawing(640, 260, "Dropout's mask is computed from the number of the element")
    d.box(10, 30, 150, 50, BLUE, "element i", "of x")
    d.box(10, 110, 150, 50, GREY, "seed", "the key")
    d.box(10, 190, 150, 50, GREY, "stream", "its use, its pass")
    d.box(230, 95, 150, 80, GREEN, "Philox 4x32-10", "ten rounds", "no state")
    d.arrow((162, 55), (227, 112))
    d.text(216, 72, "i div 4")
    d.arrow((162, 135), (227, 135))
    d.arrow((162, 215), (227, 158))
    for word in range(4):
        d.box(430, 40 + 48 * word, 80, 38, GREEN if word != 2 else ORANGE, f"word {word}")
        d.arrow((382, 128 + 5 * word), (427, 59 + 48 * word))
    d.text(470, 20, "32 bits each")
    d.arrow((512, 155), (540, 155))
    d.text(545, 136, "word i mod 4", anchor="start", color=ORANGE)
    d.text(545, 155, "≥ p · 2³² ?", anchor="start", bold=True, color=ORANGE)
    d.text(545, 174, "keep", anchor="start")
    d.save("dropout-words.svg")


def main() -> None:
    for draw in (
        linear_tiles,
        linear_split,
        linear_hopper,
        attention_tiles,
        layernorm_rows,
        activation_curves,
        dropout_words,
    ):
        draw()


if __name__ == "__main__":
    main()
