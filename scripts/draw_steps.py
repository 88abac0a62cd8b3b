"""Draw the diagrams of the kernels around the layers, from ids to the update: docs/images/*.svg.

python scripts/draw_steps.py
"""

from __future__ import annotations

from drawing import BLUE, GREEN, GREY, ORANGE, Drawing


def embedding_sort() -> None:
    """How rows of the gradient that belong to one id come together."""
    d = Drawing(640, 400, "The embedding's gradient: sort, sum, seams")
    ids = [7, 3, 7, 1, 3, 7, 7, 1, 3, 7, 7, 5]
    colors = {1: BLUE, 3: GREEN, 5: GREY, 7: ORANGE}
    order = sorted(range(len(ids)), key=lambda i: ids[i])
    left, width = 20, 50

    def cells(y: float, which: list[int], words: str) -> None:
        d.text(left, y - 14, words, anchor="start", bold=True)
        for place, i in enumerate(which):
            d.cell(left + place * width, y, width - 4, colors[ids[i]], 0.35, 44)
            d.text(
                left + place * width + 23, y + 15, f"id {ids[i]}", bold=True, color=colors[ids[i]]
            )
            d.text(left + place * width + 23, y + 32, f"t = {i}", size=11)

    cells(34, list(range(len(ids))), "dout, in the order of the text")
    for place, i in enumerate(order):
        d.line([(left + i * width + 23, 80), (left + place * width + 23, 122)], colors[ids[i]], 1.2)
    cells(144, order, "sorted by id, equals still in the order of the text")
    for tile in range(3):
        x = left + tile * 4 * width
        d.box(
            x, 206, 4 * width - 8, 44, GREY, f"tile {tile + 1}", "a block adds its runs", fill=0.06
        )
    for x, y, color, words in [
        (left, 282, BLUE, "id 1: whole run in a tile"),
        (left + 420, 282, ORANGE, "id 7: parts in two tiles"),
        (left + 205, 282, GREEN, "id 3: parts in two tiles"),
    ]:
        d.text(x, y, words, anchor="start", color=color, bold=True)
    d.arrow((left + 80, 296), (left + 80, 336))
    d.arrow((left + 290, 296), (left + 290, 336))
    d.arrow((left + 490, 296), (left + 490, 336))
    d.box(left, 340, 170, 48, BLUE, "straight to the table", "row 1 +=")
    d.box(
        left + 205,
        340,
        390,
        48,
        ORANGE,
        "seams",
        "each part in its place, then one block adds them in order",
    )
    d.save("embedding-sort.svg")


def cross_entropy_chunks() -> None:
    """The logits of a few rows at a time, and what becomes of them in place."""
    d = Drawing(640, 380, "Logits exist for a chunk of rows, and become their own gradient")
    d.text(15, 16, "x (M, E)", bold=True, color=BLUE, anchor="start")
    for chunk in range(4):
        d.cell(15, 34 + 34 * chunk, 60, BLUE, 0.5 if chunk == 1 else 0.15, 32)
    d.text(15, 184, "chunks of rows", anchor="start")
    d.arrow((80, 84), (146, 84))
    d.text(112, 70, "· Wᵀ")
    d.box(150, 50, 180, 66, GREEN, "logits (m, V)", "one buffer for all chunks")
    d.arrow((332, 84), (396, 84))
    d.box(400, 50, 220, 66, ORANGE, "the same bytes", "scale · (softmax − one-hot)")
    d.text(365, 34, "in place")
    d.arrow((510, 118), (510, 150))
    d.box(400, 154, 220, 48, ORANGE, "dW += ,  dx rows", "then the chunk is forgotten")
    d.arrow((240, 118), (240, 150))
    d.box(150, 154, 180, 48, GREEN, "losses, correct", "a number a row")
    d.text(20, 246, "One long row, one block of 1,024 threads:", anchor="start", bold=True)
    for cell in range(16):
        d.cell(20 + 37.5 * cell, 262, 35, GREY, 0.08, 26)
    d.arrow((20, 304), (590, 304))
    d.text(
        20,
        322,
        "first pass: largest logit and Σ exp together, 16 bytes a lane",
        anchor="start",
        color=GREEN,
    )
    d.arrow((618, 346), (50, 346))
    d.text(
        618,
        364,
        "second pass, backwards: the end of the row is still in the L2",
        anchor="end",
        color=ORANGE,
    )
    d.save("cross-entropy-chunks.svg")


def adamw_buffers() -> None:
    """One flat buffer a kind, and who reads what in an update."""
    d = Drawing(640, 420, "The update: one norm, one decision, one pass")
    rows = [("weights", BLUE), ("gradients", ORANGE), ("m", GREY), ("v", GREY)]
    for row, (name, color) in enumerate(rows):
        y = 40 + 34 * row
        d.text(90, y + 13, name, anchor="end", bold=True, color=color)
        d.cell(100, y, 370, color, 0.3, 26)
        d.cell(470, y, 150, color, 0.1, 26)
    d.text(285, 22, "matrices: they decay", bold=True)
    d.text(545, 22, "biases, gains", bold=True)
    d.arrow((285, 178), (285, 206))
    d.text(300, 192, "gradients", anchor="start", color=ORANGE)
    d.box(190, 210, 190, 48, ORANGE, "Σ g² in float64", "a fixed number of blocks")
    d.arrow((285, 260), (285, 284))
    d.box(190, 288, 190, 48, ORANGE, "norm", "one block, in order")
    d.arrow((382, 312), (416, 312))
    d.box(
        420, 276, 200, 72, GREEN, "step_control", "clip, loss scale, skip:", "one factor, or a NaN"
    )
    d.arrow((420, 340), (378, 366))
    d.box(20, 362, 354, 50, BLUE, "adamw_step", "each element once: w, m, v, g = 0, a 16-bit copy")
    d.arrow((90, 360), (90, 180))
    d.text(20, 200, "w, m, v,", anchor="start")
    d.text(20, 218, "read and", anchor="start")
    d.text(20, 236, "written", anchor="start")
    d.text(520, 372, "nothing here waits", bold=True)
    d.text(520, 390, "for the host")
    d.save("adamw-buffers.svg")


def sampling_stages() -> None:
    """What the filters keep, and how the border is found without a sort."""
    d = Drawing(640, 420, "Sampling: the filters are one cut, which is found by its bits")
    d.text(20, 16, "Ids by their logit, the larger first:", anchor="start", bold=True)
    heights = [92, 70, 56, 44, 36, 29, 24, 19, 15, 12, 10, 8, 6, 5, 4, 3]
    for place, height in enumerate(heights):
        color, fill = (GREEN, 0.5) if place < 6 else (BLUE, 0.35) if place < 10 else (GREY, 0.15)
        d.cell(20 + 38 * place, 130 - height, 34, color, fill, height)
    d.line([(247, 28), (247, 146)], GREEN, 2)
    d.line([(399, 28), (399, 146)], BLUE, 2)
    d.text(253, 40, "top-p ends here", anchor="start", color=GREEN)
    d.text(405, 62, "top-k ends here", anchor="start", color=BLUE)
    d.text(
        20,
        160,
        "Both keep the beginning: so all filters come to one cut, a logit and an id.",
        anchor="start",
    )
    d.text(
        20,
        200,
        "narrow: 16 bins a pass over the logit's bits",
        anchor="start",
        bold=True,
        color=ORANGE,
    )
    for number in range(3):
        y, x, width = 214 + 34 * number, 20, 37.5
        for place in range(16):
            chosen = place == (9, 4, 12)[number]
            d.cell(
                x + place * width,
                y,
                width - 2,
                ORANGE if chosen else GREY,
                0.5 if chosen else 0.08,
                22,
            )
        if number < 2:
            middle = x + (9, 4)[number] * width + 18
            d.line([(middle - 17, y + 23), (20, y + 33)], ORANGE, 1)
            d.line([(middle + 17, y + 23), (618, y + 33)], ORANGE, 1)
    d.text(320, 316, "count or weigh per bin; go on inside the bin that holds the border")
    d.text(
        20,
        350,
        "locate: the first id at which the running sum of weights passes u · total",
        anchor="start",
        bold=True,
        color=GREEN,
    )
    for place in range(16):
        d.cell(
            20 + 37.5 * place,
            366,
            35.5,
            GREEN if place == 5 else GREY,
            0.5 if place == 5 else 0.08,
            22,
        )
    d.text(320, 404, "a stretch of the row for each wave, then inside one stretch, then a scan")
    d.save("sampling-stages.svg")


def decoding_phases() -> None:
    """What one token passes on its way through the layers, and who waits for what."""
    d = Drawing(640, 430, "One token: five phases a block, the logits, the draw")
    d.box(20, 78, 614, 156, GREY, fill=0.05)
    d.text(622, 94, "a block, L times", anchor="end", bold=True)
    d.box(30, 14, 150, 44, BLUE, "x (B, E)", "token + position")
    d.arrow((85, 60), (85, 104))
    names = [
        ("LayerNorm,", "q, k, v"),
        ("attention", "over the cache"),
        ("output", "+ x"),
        ("LayerNorm,", "up, activation"),
        ("down", "+ x"),
    ]
    for number, (first, second) in enumerate(names):
        x = 30 + 121 * number
        d.box(x, 108, 110, 48, ORANGE if number == 1 else GREEN, first, second)
        if number:
            d.arrow((x - 11, 132), (x - 2, 132))
        if number != 1:
            d.text(x + 46, 190, "weights", color=BLUE, size=12)
            d.arrow((x + 46, 181), (x + 46, 159), dashed=True)
    d.text(206, 182, "keys, values", color=BLUE, size=12)
    d.text(206, 198, "cut in chunks", color=BLUE, size=12)
    d.arrow((206, 173), (206, 159), dashed=True)
    d.text(320, 220, "Dashed: what needs no input is asked for before the phase before has ended.")
    d.arrow((612, 158), (612, 254), (102, 254), (102, 272))
    d.box(30, 276, 144, 48, GREEN, "LayerNorm, head", "logits (B, V)")
    d.arrow((176, 300), (206, 300))
    d.box(210, 276, 170, 48, ORANGE, "sample_rows", "filters, draw, is it over?")
    d.arrow((382, 300), (446, 300))
    d.box(450, 276, 184, 48, BLUE, "a ring of ids", "in the host's memory")
    d.arrow((295, 326), (295, 366), (8, 366), (8, 36), (27, 36))
    d.text(310, 352, "x of the next token,", anchor="start")
    d.text(310, 372, "embedded on the device: nobody asks the host", anchor="start")
    d.text(
        320,
        410,
        "A launch of the graph is one round; several rounds are always under way.",
        bold=True,
    )
    d.save("decoding-phases.svg")


def main() -> None:
    for draw in (
        embedding_sort,
        cross_entropy_chunks,
        adamw_buffers,
        sampling_stages,
        decoding_phases,
    ):
        draw()


if __name__ == "__main__":
    main()
