"""`hipgpt tokenizer decode`: ids to text, byte for byte.

The odd thing: nothing is added to the text, not even a newline, unless a terminal shows it, so that
decode after encode gives the file that went in.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hipgpt_cli import options, say
from hipgpt_cli.errors import UserError
from hipgpt_cli.nearest import Existing
from hipgpt_cli.options import option
from hipgpt_cli.tokenizer_files import chosen_tokenizer, which_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_AT_ONCE = 1 << 20


@click.command(
    "decode",
    cls=options.Command,
    short_help="Turn ids back into text.",
    examples=("hipgpt tokenizer decode 464 3290 318",),
)
@click.argument("ids", nargs=-1)
@which_tokenizer()
@option(
    "--tokens-path",
    type=Existing(dir_okay=False),
    metavar="FILE",
    group="Ids",
    help="Instead of IDS: a token file, such as a run's tokens.bin.",
)
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Turn IDS back into text; without IDS, those on standard input (apart by spaces, or JSON)."""
    if params["ids"] and params["tokens_path"]:
        raise click.UsageError("give IDS or --tokens-path, not both", ctx)
    tokenizer = chosen_tokenizer(params)
    if params["tokens_path"]:
        groups = _from_file(Path(params["tokens_path"]))
    else:
        text = " ".join(params["ids"]) or sys.stdin.read()
        groups = iter([parse_ids(text)])
    output = sys.stdout.buffer
    for ids in groups:
        output.write(tokenizer.decode_bytes(ids))
    output.flush()
    if say.is_terminal():
        say.line()


def parse_ids(text: str) -> list[int]:
    """The whole numbers in a text, apart by spaces or commas, with brackets or without.

    >>> parse_ids("[1, 20,3]")
    [1, 20, 3]

    Raises:
        UserError: something else is there.
    """
    words = re.split(r"[\s,]+", text.strip().removeprefix("[").removesuffix("]").strip())
    for word in words:
        if word and not (word.isascii() and word.isdigit()):
            raise UserError(f"{word!r} is no token id; expected whole numbers apart by spaces")
    return [int(word) for word in words if word]


def _from_file(path: Path) -> Iterator[Sequence[int]]:
    from hipgpt_cli.tokens import open_tokens, read_info

    info = read_info(path)
    if info is None:
        raise UserError(
            f"{path} is no token file: {path.with_suffix('.json').name} beside it is missing, or "
            "says something else"
        )
    tokens = open_tokens(path, info)
    for start in range(0, info.count, _AT_ONCE):
        yield tokens[start : start + _AT_ONCE].tolist()
