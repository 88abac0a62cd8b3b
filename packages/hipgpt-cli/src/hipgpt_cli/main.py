"""The group `hipgpt` and its entry point.

The odd thing: this file names the commands and does not import them (see `lazy.py`).
"""

from __future__ import annotations

import io
import sys

import click

from hipgpt_cli import __version__
from hipgpt_cli.lazy import LazyGroup

SUMMARIES = {
    "train": "Train a model on text, and save it in a folder.",
    "generate": "Write text with a trained model.",
    "chat": "Have a dialogue with a trained model.",
    "serve": "Offer a trained model to OpenAI's clients and to a browser.",
    "plot": "Draw the curves of one or several runs.",
    "report": "Write a run's report, one page to look at and pass on.",
    "data": "Prepare text for training, once; show and verify it.",
    "evaluate": "Measure how well a model predicts a text, or answers questions.",
    "import": "Take over a model of another program.",
    "export": "Save a model for another program.",
    "checkpoint": "Show, verify and convert checkpoints.",
    "info": "Show devices, versions, and what a model takes.",
    "bench": "Time training, generation and single ops, beside PyTorch.",
    "profile": "Show where the time of a training step goes.",
    "doctor": "Run every kernel on every device, and say what is wrong.",
    "tokenizer": "Train, use, convert and look at tokenizers.",
    "completion": "Show how the shell can complete hipgpt's commands and options.",
}

WELCOME = (
    f"hipgpt {__version__}: small GPT models, trained and run on a GPU or any CPU.",
    (
        ("hipgpt train", "a model, in a minute or two"),
        ('hipgpt generate --prompt "def main("', "text from the newest model"),
        ("hipgpt doctor", "what works on this machine"),
    ),
)


@click.group(
    cls=LazyGroup,
    package="hipgpt_cli.commands",
    summaries=SUMMARIES,
    examples=(
        "hipgpt train                            # trains on text that every machine has",
        'hipgpt generate --prompt "def main("    # reads what it has learnt',
    ),
    welcome=WELCOME,
)
@click.version_option(__version__, message="hipgpt %(version)s")
def cli() -> None:
    """Train and run small GPT models: on an AMD or NVIDIA GPU, or on any CPU."""


def main() -> None:
    """The command `hipgpt`."""
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal cannot show must not end a training.
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")
    cli(prog_name="hipgpt")
