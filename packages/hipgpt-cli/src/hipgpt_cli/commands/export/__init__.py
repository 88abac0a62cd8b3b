"""`hipgpt export`: one command for each program that a model can be saved for."""

from __future__ import annotations

import click

from hipgpt_cli.lazy import LazyGroup

SUMMARIES = {
    "hf": "Save a model for transformers, or publish it on Hugging Face's hub.",
    "gguf": "Save a model for llama.cpp.",
}


@click.group(
    "export",
    cls=LazyGroup,
    package=__name__,
    summaries=SUMMARIES,
    short_help="Save a model for another program.",
    examples=(
        "hipgpt export hf shakespeare for-transformers/",
        "hipgpt export gguf shakespeare shakespeare.gguf --type q8_0",
    ),
)
def command() -> None:
    """Save a model for another program."""
