"""`hipgpt bench`: how fast training, generation and single ops are, beside PyTorch."""

from __future__ import annotations

import click

from hipgpt_cli.lazy import LazyGroup

SUMMARIES = {
    "train": "Time training steps.",
    "generate": "Time reading prompts and writing tokens.",
    "ops": "Time each op of a training step by itself.",
}


@click.group(
    "bench",
    cls=LazyGroup,
    package=__name__,
    summaries=SUMMARIES,
    short_help="Time training, generation and single ops, beside PyTorch.",
    examples=(
        "hipgpt bench train --against torch",
        "hipgpt bench generate --device hip --dtype bf16 --size 124M --against torch",
        "hipgpt bench ops --device hip --dtype bf16 --size 124M --json ops.json",
    ),
)
def command() -> None:
    """Time training, generation and single ops, beside PyTorch in the same process."""
