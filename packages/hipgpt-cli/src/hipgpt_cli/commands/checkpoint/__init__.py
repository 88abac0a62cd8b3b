"""`hipgpt checkpoint`: a group of its own, as lazy as the one above it."""

from __future__ import annotations

import click

from hipgpt_cli.lazy import LazyGroup

SUMMARIES = {
    "show": "Show what a checkpoint holds.",
    "verify": "Read checkpoints whole and check every byte.",
    "convert": "Save a checkpoint's weights by themselves.",
}


@click.group(
    "checkpoint",
    cls=LazyGroup,
    package=__name__,
    summaries=SUMMARIES,
    short_help="Show, verify and convert checkpoints.",
    examples=(
        "hipgpt checkpoint show shakespeare",
        "hipgpt checkpoint convert shakespeare shakespeare.msgpack --dtype bf16",
    ),
)
def command() -> None:
    """Show, verify and convert checkpoints."""
