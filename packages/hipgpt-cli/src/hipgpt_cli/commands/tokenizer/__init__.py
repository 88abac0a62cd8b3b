"""`hipgpt tokenizer`: a group of its own, as lazy as the one above it."""

from __future__ import annotations

import click

from hipgpt_cli.lazy import LazyGroup

SUMMARIES = {
    "train": "Train a tokenizer on text.",
    "encode": "Turn text into ids.",
    "decode": "Turn ids back into text.",
    "convert": "Turn a tokenizer's files into another program's.",
    "show": "Show a text's tokens, and a vocabulary's longest ones.",
}


@click.group(
    "tokenizer",
    cls=LazyGroup,
    package=__name__,
    summaries=SUMMARIES,
    short_help="Train, use, convert and look at tokenizers.",
    examples=(
        "hipgpt tokenizer train --data my.txt --out tokenizer.json",
        'hipgpt tokenizer show "To be, or not to be"',
    ),
)
def command() -> None:
    """Train, use, convert and look at tokenizers."""
