"""`hipgpt train --init-from`: a new run that begins with the weights of a trained model.

The odd thing: the model decides its shape, not the command line. An option that says otherwise is
refused; only --dropout may be another one, and --seq smaller, which no weight depends on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hipgpt_cli import human, options
from hipgpt_cli.load import named_model

if TYPE_CHECKING:
    from hipgpt_model.config import GPTConfig
    from hipgpt_tokenizer import Tokenizer


@dataclass(frozen=True)
class Initial:
    """What a run begins with.

    Attributes:
        checkpoint: the file of the weights, absolute.
        model: their shape, with the dropout and the length that were asked for.
        tokenizer: whose ids they know.
        description: for people.
    """

    checkpoint: Path
    model: GPTConfig
    tokenizer: Tokenizer
    description: str


def find_initial(ctx: click.Context, params: dict[str, Any]) -> Initial:
    """What --init-from names.

    Raises:
        click.UsageError: an option contradicts it.
        UserError: there is no such model, or its tokenizer is missing.
        CheckpointError: the checkpoint is damaged.
    """
    name: str = params["init_from"]
    trained = named_model(name, params["runs_dir"], None)
    checkpoint = trained.checkpoint.resolve()
    if params["reset"] and params["run_name"] is not None:
        folder = Path(params["runs_dir"], params["run_name"]).resolve()
        if checkpoint.is_relative_to(folder):
            raise click.UsageError(
                f"--reset would delete run {params['run_name']}, which --init-from begins with; "
                "give another --run-name",
                ctx,
            )
    model = _shape(ctx, trained.header.model, name)
    return Initial(
        checkpoint,
        model,
        trained.tokenizer(params["tokenizer_path"]),
        f"those of {trained.name}, step {human.count(trained.header.step)} ({trained.checkpoint})",
    )


def _shape(ctx: click.Context, own: GPTConfig, name: str) -> GPTConfig:
    """The model's shape, with what may differ."""
    given = {key: value for key, value in options.given(ctx).items() if hasattr(own, key)}
    length = given.pop("max_seq_len", own.max_seq_len)
    dropout = given.pop("dropout", own.dropout)
    if length > own.max_seq_len:
        raise click.UsageError(
            f"--seq {length} is more than the {human.count(own.max_seq_len)} tokens that {name} "
            "sees at once; give at most so many",
            ctx,
        )
    for key, value in given.items():
        if value != getattr(own, key):
            raise click.UsageError(
                f"{options.typed(ctx, key, value)} contradicts {name}, which has "
                f"{getattr(own, key)}; its weights have a shape of their own, so leave the option "
                "out",
                ctx,
            )
    return replace(own, max_seq_len=length, dropout=dropout)
