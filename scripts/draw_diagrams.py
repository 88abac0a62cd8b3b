"""Draw the diagrams of the docs, but for those of the kernels: docs/images/*.svg.

python scripts/draw_diagrams.py
"""

from __future__ import annotations

from drawing import BLUE, GREEN, GREY, ORANGE, Drawing


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


def tokenizer() -> None:
    """A text on its way to ids, with the merges that "low lower lowest" gives."""
    d = Drawing(640, 412, "From a text to ids: split, bytes, merges, ids")
    left, width, gap = 130, 42, 22
    for y, words in [
        (35, "text"),
        (95, "pieces"),
        (155, "bytes"),
        (215, "merge 1, 2"),
        (275, "merge 3, 4"),
        (335, "ids"),
    ]:
        d.text(110, y, words, anchor="end", bold=True)
    d.box(left, 18, 10 * width + gap, 34, GREY, "slow lower", fill=0.06)
    rows = [
        (95, GREY, [("slow", 4), ("␣lower", 6)]),
        (155, BLUE, [(letter, 1) for letter in "slow␣lower"]),
        (215, GREEN, [("s", 1), ("low", 3), ("␣", 1), ("low", 3), ("e", 1), ("r", 1)]),
        (275, GREEN, [("s", 1), ("low", 3), ("␣lowe", 5), ("r", 1)]),
        (335, ORANGE, [("82", 1), ("257", 3), ("259", 5), ("81", 1)]),
    ]
    for y, color, parts in rows:
        at = 0
        for words, cells in parts:
            x = left + at * width + (gap if at >= 4 else 0)
            d.box(x, y - 17, cells * width - 4, 34, color, words)
            at += cells
    d.text(
        left, 376, "Merges never cross pieces. Their order is what training learnt:", anchor="start"
    )
    d.text(left, 393, "l + o, lo + w, ␣ + low, ␣low + e", anchor="start", bold=True, color=GREEN)
    d.save("tokenizer.svg")


def main() -> None:
    for draw in (packages, model, walk, memory, tokenizer):
        draw()


if __name__ == "__main__":
    main()
