"""The figures that are shown to everybody: lines of the READMEs' tables, bars of the charts.

Each is one piece of work, ours beside one peer. The odd thing: those in which hipgpt is behind are
in the same list, and nothing here can leave them out of one place only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from figure_records import find, milliseconds, table, three

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from figure_records import Records

CPU, GPU = "two CPU cores", "one H200"


@dataclass(frozen=True)
class Line:
    """One comparison.

    Attributes:
        words: the work, as a reader calls it.
        where: CPU or GPU, or another place.
        stem: of the record.
        work: of the rows.
        peer: how the peer's program begins in the record.
        name: the peer, as a reader calls it.
        unit: of the figures shown and compared.
        sizes: of the rows.
    """

    words: str
    where: str
    stem: str
    work: str
    peer: str
    name: str
    unit: str
    sizes: dict[str, Any] = field(default_factory=dict)


MODEL = [
    Line("train the default model", CPU, "cpu-step-default", "step", "torch", "PyTorch", "ms"),
    Line("train E256 L8 S256 B4", CPU, "cpu-step-E256L8", "step", "torch", "PyTorch", "ms"),
    Line("train GPT-2 124M, T=1024", CPU, "cpu-step-124M", "step", "torch", "PyTorch", "ms"),
    *(
        Line(words, CPU, f"cpu-generate-{weights}", work, peer, name, "tokens/s")
        for words, weights, work, peer, name in [
            ("read 512 tokens, GPT-2 124M", "float32", "read", "transformers", "transformers"),
            ("read 512 tokens, GPT-2 124M", "float32", "read", "llama.cpp", "llama.cpp"),
            ("write, GPT-2 124M", "float32", "write", "transformers", "transformers"),
            ("write, GPT-2 124M", "float32", "write", "llama.cpp", "llama.cpp"),
            ("write, int8 weights", "int8", "write", "llama.cpp", "llama.cpp, q8_0"),
        ]
    ),
    *(
        Line(words, GPU, f"h200-step-{size}", "step", "torch", "PyTorch", "ms")
        for words, size in [
            ("train the default model, bf16", "default"),
            ("train E256 L8 S256 B32, bf16", "E256L8"),
        ]
    ),
    Line(
        "train GPT-2 124M, bf16", GPU, "h200-step-124M", "step", "torch", "PyTorch", "tokens/s"
    ),
    Line(
        *("train GPT-2 124M, bf16", "four H200", "h200x4-ranks", "train", "torch", "PyTorch DDP"),
        *("tokens/s", {"ranks": 4}),
    ),
    *(
        Line(
            *(f"write {words}, GPT-2 124M, bf16", GPU, "h200-generate", "write", "torch"),
            *("PyTorch", "tokens/s", {"B": B}),
        )
        for words, B in (("one text", 1), ("64 texts", 64))
    ),
]  # fmt: skip

TOKENIZER = [
    Line(words, "one CPU core", "cpu-tokenizer", work, peer, name, "s")
    for words, work, peer, name in [
        ("encode Tiny Shakespeare", "encode Tiny Shakespeare", "tiktoken", "tiktoken"),
        (
            "the same with an empty cache",
            *("encode Tiny Shakespeare, empty cache", "tiktoken", "tiktoken"),
        ),
        (
            "train 5,000 ids on it",
            *("train 5,000 ids on Tiny Shakespeare", "tokenizers", "Hugging Face"),
        ),
    ]
]

KERNELS = [
    *(
        Line(f"attention {work}, bf16", GPU, "h200-attention", work, peer, peer, "TFLOP/s")
        for work in ("forward", "backward")
        for peer in ("FlashAttention-2", "cuDNN")
    ),
    *(
        Line(
            *(f"{words} {K} → {N}, bf16", GPU, "h200-linear", work, "cuBLAS", "cuBLAS"),
            *("TFLOP/s", {"K": K, "N": N}),
        )
        for K, N in ((768, 3072), (3072, 768))
        for words, work in (
            ("linear forward", "forward"),
            ("input gradient", "input"),
            ("weight gradient", "weight"),
        )
    ),
    *(
        Line(words, GPU, f"h200-{stem}", work, "copy of 2 GB", "a plain copy", "TB/s",
             {"dtype": dtype})
        for words, stem, work, dtype in [
            ("AdamW", "adamw", "adamw_step", "float32"),
            ("cross-entropy with gradient, bf16", "cross-entropy",
             "cross_entropy_forward_backward", "bfloat16"),
            ("LayerNorm forward, bf16", "layernorm", "layernorm_forward", "bfloat16"),
            ("LayerNorm backward, bf16", "layernorm", "layernorm_backward", "bfloat16"),
            ("embedding gradient, bf16", "embedding", "embedding_backward", "bfloat16"),
        ]
    ),
]  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """A line with its figures."""

    line: Line
    ours: float
    theirs: float
    ratio: float


def compared(records: Records, lines: Iterable[Line]) -> Iterator[Comparison]:
    """The lines that have been measured."""
    for line in lines:
        record = records.get(line.stem)
        if record is None:
            continue
        ours = find(record, line.work, sizes=line.sizes)
        peer = find(record, line.work, line.peer, line.sizes)
        ratio = record.ratio(peer, line.unit) if peer else None
        if ours and peer and ratio:
            figures = ours.figures[line.unit], peer.figures[line.unit]
            yield Comparison(line, *figures, ratio)


def _rows(records: Records, lines: Iterable[Line]) -> str:
    rows = []
    for one in compared(records, lines):
        ours, theirs = (figure(value, one.line.unit) for value in (one.ours, one.theirs))
        work = f"{one.line.words}, {one.line.where}"
        rows.append([work, ours, f"{one.line.name} {theirs}", f"{one.ratio:.2f}"])
    return table(["work", "hipgpt", "peer", "ratio"], rows)


def figure(value: float, unit: str) -> str:
    """A number with its unit."""
    if unit == "ms":
        return f"{milliseconds(value)} a step"
    return f"{three(value) if unit != 'TB/s' else f'{value:.2f}'} {unit}"


def summary(records: Records) -> str:
    """The README's table."""
    chosen = [line for line in KERNELS if line.stem in {"h200-attention", "h200-linear"}]
    shown = [line for line in chosen if line.work != "input" and line.sizes.get("K") != 768]
    return _rows(records, [*MODEL, *TOKENIZER, *shown])


def kernels_summary(records: Records) -> str:
    """The table of the README of hipgpt-kernels."""
    return _rows(records, KERNELS)


def model_summary(records: Records) -> str:
    """The table of the README of hipgpt-model."""
    return _rows(records, MODEL)
