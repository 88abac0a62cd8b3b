"""`hipgpt tokenizer encode`: text to ids, on standard output or into a token file.

The odd thing: a special token's text in the input is ordinary text unless --allow-special is given,
so that no text can smuggle one in.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from hipgpt_cli import human, option_sets, options, say
from hipgpt_cli.encoding import encoded
from hipgpt_cli.options import Integer, option
from hipgpt_cli.tokenizer_files import chosen_tokenizer, which_tokenizer


@click.command(
    "encode",
    cls=options.Command,
    short_help="Turn text into ids.",
    examples=(
        'hipgpt tokenizer encode "To be, or not to be"',
        "hipgpt tokenizer encode --data my.txt --out tokens.bin",
    ),
)
@click.argument("text", required=False)
@which_tokenizer()
@option_sets.source_option("Instead of TEXT")
@option(
    "--allow-special",
    is_flag=True,
    group="Text",
    help="A special token's text becomes its id, instead of ordinary ids.",
)
@option(
    "--out",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    group="Output",
    help="With --data: write the ids into this file (2 or 4 bytes each, and FILE's .json), as "
    "hipgpt train --tokens-path reads them.",
)
@option(
    "--workers",
    type=Integer(0),
    default=1,
    group="Output",
    help="With --out: processes; 0: one a core.",
)
@option_sets.json_option("a JSON array")
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Turn TEXT into ids; without TEXT, what comes through standard input."""
    text, source = params["text"], params["data"]
    if text is not None and source is not None:
        raise click.UsageError("give TEXT or --data, not both", ctx)
    if params["out"] is not None and source is None:
        raise click.UsageError("--out needs --data", ctx)
    tokenizer = chosen_tokenizer(params)
    if params["out"] is not None:
        _write(tokenizer, source, Path(params["out"]), params["workers"])
        return
    if text is None:
        from hipgpt_cli.corpus import read_text

        text = read_text(source or "-")
    ids = encoded(tokenizer, text, special=params["allow_special"])
    say.line(json.dumps(ids) if params["as_json"] else " ".join(map(str, ids)))


def _write(tokenizer: Any, source: str, path: Path, workers: int) -> None:
    from hipgpt_cli.corpus import open_corpus
    from hipgpt_cli.progress import stages
    from hipgpt_cli.tokens import write_tokens

    corpus = open_corpus(source)
    say.fact("Text", corpus.description)
    with stages() as progress:
        info = write_tokens(
            path, corpus, corpus.sha256(), tokenizer, workers=workers, progress=progress
        )
    rate = info.bytes / max(info.count, 1)
    say.fact("Tokens", f"{human.count(info.count)}, {rate:.2f} bytes each")
    say.fact("Saved", f"{path} ({human.size(path.stat().st_size)}, {info.dtype})")
