"""`hipgpt bench ops`: each op of a training step by itself, at the sizes of a model."""

from __future__ import annotations

from typing import Any

import click

from hipgpt_cli import options
from hipgpt_cli.bench import settings


@click.command(
    "ops",
    cls=options.Command,
    short_help="Time each op of a training step by itself.",
    examples=(
        "hipgpt bench ops --against torch",
        "hipgpt bench ops --device hip --dtype bf16 --size 124M --against torch --json ops.json",
    ),
)
@settings.workload_options("B: rows of S tokens in a step.")
@settings.peer_options()
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Time products, attention, normalisation, loss, embedding gradient and AdamW, one by one."""
    settings.require_peer(params)
    config = settings.chosen_config(ctx, params)
    backend = settings.open_backend(params)
    from hipgpt_cli.bench.ops import bench_ops

    result = bench_ops(
        config,
        backend,
        dtype=params["dtype"],
        rows=settings.chosen_batch(params, backend),
        against=params["against"],
        threads=params["threads"],
        peak=params["peak"],
    )
    settings.tell(result, params)
