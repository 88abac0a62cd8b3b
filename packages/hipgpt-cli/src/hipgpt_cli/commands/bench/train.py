"""`hipgpt bench train`: milliseconds of a step, tokens a second, share of the peak, memory."""

from __future__ import annotations

from typing import Any

import click

from hipgpt_cli import options
from hipgpt_cli.bench import settings
from hipgpt_cli.options import Integer, option


@click.command(
    "train",
    cls=options.Command,
    short_help="Time training steps.",
    examples=(
        "hipgpt bench train --against torch",
        "hipgpt bench train --device hip --dtype bf16 --size E256L8 --against torch",
        "hipgpt bench train --dim 64 --layers 1 --json -",
    ),
)
@settings.workload_options("B: rows of S tokens in a step.")
@option(
    "--steps",
    type=Integer(1),
    default=None,
    show_default="a quarter of a second",
    group="Comparison",
    help="Steps in a turn.",
)
@option(
    "--graph/--no-graph",
    default=True,
    group="Work",
    help="Launch a step as one captured graph, where the device can, or op by op.",
)
@option(
    "--checkpoint-activations",
    is_flag=True,
    group="Work",
    help="Compute activations anew in the backward.",
)
@settings.peer_options()
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Time training steps on random tokens: forward, backward, clipping and AdamW."""
    from hipgpt_model.config import TrainConfig

    settings.require_peer(params)
    config = settings.chosen_config(ctx, params)
    backend = settings.open_backend(params)
    from hipgpt_cli.bench.models import bench_training

    training = TrainConfig(
        batch_size=settings.chosen_batch(params, backend),
        steps=10**9,
        learning_rate=1e-6,
        warmup_steps=0,
        schedule="constant",
        dtype=params["dtype"],
        checkpoint_activations=params["checkpoint_activations"],
    )
    result = bench_training(
        config,
        training,
        backend,
        against=params["against"],
        graph=params["graph"],
        rounds=params["rounds"],
        steps=params["steps"],
        threads=params["threads"],
        peak=params["peak"],
    )
    settings.tell(result, params)
