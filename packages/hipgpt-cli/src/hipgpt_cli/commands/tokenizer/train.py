"""`hipgpt tokenizer train`: a tokenizer.json from text, without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hipgpt_cli import human, option_sets, options, say
from hipgpt_cli.errors import UserError
from hipgpt_cli.nearest import Choice
from hipgpt_cli.options import Integer, option


@click.command(
    "train",
    cls=options.Command,
    short_help="Train a tokenizer on text.",
    examples=("hipgpt tokenizer train --data my.txt --vocab-size 8000 --out my.json",),
)
@option_sets.source_option("What to learn from", "stdlib")
@option(
    "--vocab-size",
    type=Integer(256),
    default=option_sets.DEFAULT_VOCAB_SIZE,
    group="Tokenizer",
    help="Ids wanted: the 256 bytes, what is learnt, and the special tokens.",
)
@option(
    "--special",
    "special_tokens",
    multiple=True,
    metavar="TEXT",
    default=["<|endoftext|>"],
    group="Tokenizer",
    help="A special token; may be repeated.",
)
@option(
    "--pattern",
    type=Choice(["gpt2", "gpt4"]),
    default="gpt2",
    group="Tokenizer",
    help="How text is split before merging: as GPT-2 does, or as GPT-4 (cl100k).",
)
@option(
    "--min-frequency",
    type=Integer(1),
    default=2,
    group="Tokenizer",
    help="Pairs that occur less often are not merged.",
)
@option(
    "--workers",
    type=Integer(0),
    default=1,
    group="Tokenizer",
    help="Processes; 0: one a core. The result is the same.",
)
@option(
    "--out",
    type=click.Path(dir_okay=False),
    default="tokenizer.json",
    metavar="FILE",
    group="Output",
    help="File to write, in the Hugging Face format.",
)
@option("--force", is_flag=True, group="Output", help="Replace the file if it exists.")
def command(**params: Any) -> None:
    """Train a byte-level BPE tokenizer on text."""
    from hipgpt_cli.corpus import open_corpus
    from hipgpt_cli.tokenizer_training import train_tokenizer

    out = Path(params["out"])
    if out.exists() and not params["force"]:
        raise UserError(f"{out} exists; --force replaces it, --out names another file")
    corpus = open_corpus(params["data"])
    say.fact("Text", corpus.description)
    tokenizer = train_tokenizer(
        corpus,
        params["vocab_size"],
        special_tokens=params["special_tokens"],
        pattern=params["pattern"],
        min_frequency=params["min_frequency"],
        workers=params["workers"],
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(out)
    say.fact("Saved", f"{out} ({human.size(out.stat().st_size)})")
    say.next_command("hipgpt", "tokenizer", "show", "--tokenizer", str(out), "some text")
