"""`hipgpt import`: one command for each kind of file that can be taken over.

The odd thing: the folder is import_, because Python keeps the word for itself.
"""

from __future__ import annotations

import click

from hipgpt_cli.lazy import LazyGroup

SUMMARIES = {
    "hf": "Take over a GPT-2 from Hugging Face, or from a folder of its files.",
}


@click.group(
    "import",
    cls=LazyGroup,
    package=__name__,
    summaries=SUMMARIES,
    short_help="Take over a model of another program.",
    examples=("hipgpt import hf my-gpt2/", "hipgpt import hf openai-community/gpt2"),
)
def command() -> None:
    """Take over a model of another program, as a run that every command can use."""
