"""`hipgpt data`: a group of its own, as lazy as the one above it."""

from __future__ import annotations

import click

from hipgpt_cli.lazy import LazyGroup

SUMMARIES = {
    "prepare": "Turn text or a data set into shards of ids.",
    "show": "Show what a folder of prepared data holds.",
    "verify": "Read all prepared data and compare it with its hashes.",
}


@click.group(
    "data",
    cls=LazyGroup,
    package=__name__,
    summaries=SUMMARIES,
    short_help="Prepare text for training, once; show and verify it.",
    examples=(
        "hipgpt data prepare articles.jsonl --out data/articles",
        "hipgpt train --data data/articles",
    ),
)
def command() -> None:
    """Prepare text for training, once, in shards that any number of runs can share."""
