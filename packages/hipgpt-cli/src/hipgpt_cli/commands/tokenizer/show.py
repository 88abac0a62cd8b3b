"""`hipgpt tokenizer show`: how a text falls into tokens, and what a vocabulary has learnt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hipgpt_cli import human, option_sets, options, say
from hipgpt_cli.options import Integer, option
from hipgpt_cli.tokenizer_files import chosen_tokenizer, which_tokenizer

if TYPE_CHECKING:
    from hipgpt_tokenizer import Tokenizer

_SHOWN_CHARACTERS = 2000
"""How much of a --data text is painted; the counts are of all of it."""


@click.command(
    "show",
    cls=options.Command,
    short_help="Show a text's tokens, and a vocabulary's longest ones.",
    examples=(
        'hipgpt tokenizer show "To be, or not to be"',
        "hipgpt tokenizer show --data my.txt --longest 10",
    ),
)
@click.argument("text", required=False)
@which_tokenizer()
@option_sets.source_option("Instead of TEXT")
@option("--ids", "with_ids", is_flag=True, group="Text", help="Show the ids too.")
@option(
    "--longest",
    type=Integer(0),
    default=None,
    show_default="20 without a text, else 0",
    group="Vocabulary",
    help="List this many of the vocabulary's longest tokens.",
)
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Show how TEXT falls into tokens, each in a colour of its own, and how many bytes a token has.

    Without a text, show the vocabulary: its size, special tokens and longest tokens.
    """
    text, source = params["text"], params["data"]
    if text is not None and source is not None:
        raise click.UsageError("give TEXT or --data, not both", ctx)
    tokenizer = chosen_tokenizer(params)
    if source is not None:
        from hipgpt_cli.corpus import read_text

        text = read_text(source)
    longest = params["longest"]
    if text is None:
        _show_vocabulary(tokenizer)
        longest = 20 if longest is None else longest
    else:
        _show_text(tokenizer, text, with_ids=params["with_ids"])
    if longest:
        _show_longest(tokenizer, longest)


def _show_text(tokenizer: Tokenizer, text: str, *, with_ids: bool) -> None:
    from hipgpt_cli.colors import paint, visible

    ids = tokenizer.encode(text, allowed_special="all")
    shown = ids if len(text) <= _SHOWN_CHARACTERS else tokenizer.encode(
        text[:_SHOWN_CHARACTERS], allowed_special="all"
    )  # fmt: skip
    if with_ids:
        from hipgpt_cli.tables import show_table

        rows = [[str(id_), visible(tokenizer.token_bytes(id_))] for id_ in shown]
        show_table("Tokens", ("id", "token"), rows, right=("id",))
    else:
        say.line(paint(map(tokenizer.token_bytes, shown), color=say.has_color()))
    if len(shown) < len(ids):
        say.line(say.dim(f"… the first {human.count(_SHOWN_CHARACTERS)} characters"))
    size = len(text.encode("utf-8", "surrogatepass"))
    rate = f", {size / len(ids):.2f} bytes each" if ids else ""
    say.fact("Tokens", f"{human.count(len(ids))}{rate}")
    say.fact("Text", f"{human.count(len(text))} characters, {human.size(size)}")


def _show_vocabulary(tokenizer: Tokenizer) -> None:
    special = ", ".join(f"{name} = {id_}" for name, id_ in tokenizer.special_tokens.items())
    say.fact("Vocabulary", f"{human.count(tokenizer.vocab_size)} ids, split as {tokenizer.pattern}")
    say.fact("Special", special or "none")
    say.fact("Hash", tokenizer.fingerprint)
    say.line()


def _show_longest(tokenizer: Tokenizer, number: int) -> None:
    from hipgpt_cli.colors import visible
    from hipgpt_cli.tables import show_table

    special = set(tokenizer.special_tokens.values())
    ids = [id_ for id_ in range(tokenizer.vocab_size) if id_ not in special]
    ids.sort(key=lambda id_: (-len(tokenizer.token_bytes(id_)), id_))
    rows = [
        [str(len(tokenizer.token_bytes(id_))), str(id_), visible(tokenizer.token_bytes(id_))]
        for id_ in ids[:number]
    ]
    show_table("Longest tokens", ("bytes", "id", "token"), rows, right=("bytes", "id"))
