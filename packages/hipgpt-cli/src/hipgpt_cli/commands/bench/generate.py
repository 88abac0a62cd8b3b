"""`hipgpt bench generate`: tokens a second, reading prompts and writing new ones."""

from __future__ import annotations

from typing import Any

import click

from hipgpt_cli import options
from hipgpt_cli.bench import settings
from hipgpt_cli.options import Integer, option


@click.command(
    "generate",
    cls=options.Command,
    short_help="Time reading prompts and writing tokens.",
    examples=(
        "hipgpt bench generate --seq 256 --against torch",
        "hipgpt bench generate --device hip --dtype bf16 --size 124M --batch 64 --prompt 512",
    ),
)
@settings.workload_options("Texts that are written at once; 1 by default.")
@option("--prompt", type=Integer(1), default=8, group="Work", help="Tokens of each prompt.")
@option(
    "--tokens",
    type=Integer(2),
    default=None,
    show_default="128, or what fits",
    group="Work",
    help="Tokens to write to each.",
)
@settings.peer_options()
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Time greedy generation from random weights and random prompts."""
    settings.require_peer(params)
    config = settings.chosen_config(ctx, params)
    backend = settings.open_backend(params)
    from hipgpt_cli.bench.models import bench_generation

    room = config.max_seq_len - params["prompt"]
    result = bench_generation(
        config,
        backend,
        dtype=params["dtype"],
        rows=params["batch_size"] or 1,
        prompt=params["prompt"],
        count=params["tokens"] or max(2, min(128, room)),
        against=params["against"],
        rounds=params["rounds"],
        threads=params["threads"],
        peak=params["peak"],
    )
    settings.tell(result, params)
