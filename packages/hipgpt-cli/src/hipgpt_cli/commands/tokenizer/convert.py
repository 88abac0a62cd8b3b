"""`hipgpt tokenizer convert`: a tokenizer's files as another program wants them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hipgpt_cli import human, options, say
from hipgpt_cli.errors import UserError
from hipgpt_cli.nearest import Choice, Existing
from hipgpt_cli.options import option
from hipgpt_cli.tokenizer_files import open_tokenizer, save_tokenizer, tiktoken_details


@click.command(
    "convert",
    cls=options.Command,
    short_help="Turn a tokenizer's files into another program's.",
    examples=(
        "hipgpt tokenizer convert tokenizer.json gpt2-files/",
        'hipgpt tokenizer convert r50k_base.tiktoken tokenizer.json --special "<|endoftext|>"',
    ),
)
@click.argument("source", type=Existing())
@click.argument("target", type=click.Path())
@option(
    "--to",
    "form",
    type=Choice(["huggingface", "gpt2", "tiktoken"]),
    group="Output",
    show_default="by TARGET: .json, .tiktoken, else a folder for gpt2",
    help="Format to write.",
)
@option("--force", is_flag=True, group="Output", help="Replace what exists.")
@options.together(*tiktoken_details("Input"))
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Read SOURCE and write TARGET.

    SOURCE is a tokenizer.json (Hugging Face's, or the C++ HipGPT's), a folder with vocab.json and
    merges.txt, or a .tiktoken file.
    """
    target = Path(params["target"])
    form = params["form"] or {".json": "huggingface", ".tiktoken": "tiktoken"}.get(
        target.suffix, "gpt2"
    )
    if form == "gpt2" and target.is_file():
        raise click.UsageError(f"{target} is a file; gpt2 writes two files into a folder", ctx)
    written = [target / "vocab.json", target / "merges.txt"] if form == "gpt2" else [target]
    exists = [path for path in written if path.exists()]
    if exists and not params["force"]:
        raise UserError(f"{exists[0]} exists; --force replaces it")
    tokenizer = open_tokenizer(Path(params["source"]), params["pattern"], params["special_tokens"])
    saved = save_tokenizer(tokenizer, target, form)
    special = ", ".join(tokenizer.special_tokens) or "none"
    say.fact("Tokenizer", f"{human.count(tokenizer.vocab_size)} ids, special tokens: {special}")
    say.fact("Saved", f"{saved}, for {form}")
    if form == "tiktoken" and tokenizer.special_tokens:
        say.note(
            f"a .tiktoken file cannot hold special tokens; {special} must be given when it is read"
        )
