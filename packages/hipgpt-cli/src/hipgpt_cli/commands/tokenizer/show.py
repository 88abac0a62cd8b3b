"""`hipgpt tokenizer show`: how a text falls into tokens, and what a vocabulary has learnt."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from hipgpt_cli import human, option_sets, options, say
from hipgpt_cli.encoding import encoded
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
        'hipgpt tokenizer show "To be, or not to be" --json',
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
@option_sets.json_option("one JSON object: the vocabulary, or all tokens of the text")
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
    if longest is None:
        longest = 20 if text is None else 0
    if params["as_json"]:
        say.line(json.dumps(_as_json(tokenizer, text, longest), indent=2, ensure_ascii=False))
        return
    if text is None:
        _show_vocabulary(tokenizer)
    else:
        _show_text(tokenizer, text, with_ids=params["with_ids"])
    if longest:
        _show_longest(tokenizer, longest)


def _as_json(tokenizer: Tokenizer, text: str | None, longest: int) -> dict[str, Any]:
    """What is shown, as plain values; bytes that are no UTF-8 by themselves are escaped."""
    found: dict[str, Any] = {
        "vocab_size": tokenizer.vocab_size,
        "pattern": tokenizer.pattern,
        "special_tokens": dict(tokenizer.special_tokens),
        "fingerprint": tokenizer.fingerprint,
    }
    if text is not None:
        ids = encoded(tokenizer, text)
        found |= {
            "characters": len(text),
            "bytes": len(text.encode("utf-8", "surrogatepass")),
            "tokens": [_token(tokenizer, id_) for id_ in ids],
        }
    if longest:
        found["longest"] = [_token(tokenizer, id_) for id_ in _longest(tokenizer, longest)]
    return found


def _token(tokenizer: Tokenizer, id_: int) -> dict[str, Any]:
    data = tokenizer.token_bytes(id_)
    return {"id": id_, "bytes": len(data), "text": data.decode("utf-8", "backslashreplace")}


def _show_text(tokenizer: Tokenizer, text: str, *, with_ids: bool) -> None:
    from hipgpt_cli.colors import paint, visible

    ids = encoded(tokenizer, text)
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

    rows = [
        [str(len(tokenizer.token_bytes(id_))), str(id_), visible(tokenizer.token_bytes(id_))]
        for id_ in _longest(tokenizer, number)
    ]
    show_table("Longest tokens", ("bytes", "id", "token"), rows, right=("bytes", "id"))


def _longest(tokenizer: Tokenizer, number: int) -> list[int]:
    """The ids of the longest ordinary tokens."""
    special = set(tokenizer.special_tokens.values())
    ids = [id_ for id_ in range(tokenizer.vocab_size) if id_ not in special]
    ids.sort(key=lambda id_: (-len(tokenizer.token_bytes(id_)), id_))
    return ids[:number]
