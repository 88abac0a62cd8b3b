"""The group `hipgpt` and its entry point.

The odd thing: this file names the commands and does not import them (see `lazy.py`).
"""

from __future__ import annotations

import click

from hipgpt_cli import __version__
from hipgpt_cli.lazy import LazyGroup

SUMMARIES = {
    "train": "Train a model on text: one command from a text file to a model that writes.",
    "generate": "Write text with a trained model.",
    "info": "Show the devices, the versions, and what a model of some size takes.",
    "tokenizer": "Train, use, convert and look at tokenizers.",
}


@click.group(cls=LazyGroup, package="hipgpt_cli.commands", summaries=SUMMARIES)
@click.version_option(__version__, message="hipgpt %(version)s")
def cli() -> None:
    """Train and run small GPT models: on an AMD or NVIDIA GPU, or on any CPU.

    \b
    hipgpt train                            # trains on text that every machine has
    hipgpt generate --prompt "def main("    # reads what it has learnt
    """


def main() -> None:
    """The command `hipgpt`."""
    cli(prog_name="hipgpt")
