"""`hipgpt profile`: where the time of a training step goes, as a table, JSON and a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from hipgpt_cli import option_sets, options, say
from hipgpt_cli.bench import settings
from hipgpt_cli.options import Integer, option


@click.command(
    "profile",
    cls=options.Command,
    short_help="Show where the time of a training step goes.",
    examples=(
        "hipgpt profile",
        "hipgpt profile --device hip --dtype bf16 --size 124M --plot step.svg",
        "hipgpt profile --dim 64 --layers 1 --json",
    ),
)
@settings.workload_options("B: rows of S tokens in a step.")
@option("--steps", type=Integer(1), default=3, group="Work", help="Steps to record.")
@option("--top", type=Integer(1), default=20, group="Output", help="Lines in table and picture.")
@option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    metavar="FILE",
    group="Output",
    help="Draw it too, as .svg, .png or .pdf; needs hipgpt-cli[plot].",
)
@option_sets.json_option()
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Show where the time of a training step goes: by kernel on a GPU, by op on the CPU."""
    from hipgpt_cli.profiling import check_picture, draw, profile_training
    from hipgpt_cli.tables import show_table
    from hipgpt_model.config import TrainConfig

    if params["plot"] is not None:
        check_picture(params["plot"])
    config = settings.chosen_config(ctx, params)
    backend = settings.open_backend(params | {"json_path": "-" if params["as_json"] else None})
    B = settings.chosen_batch(params, backend)
    training = TrainConfig(
        batch_size=B, steps=10**9, learning_rate=1e-6, warmup_steps=0, schedule="constant",
        dtype=params["dtype"],
    )  # fmt: skip
    found = profile_training(config, training, backend, params["steps"])
    title = (
        f"One training step: {config.num_parameters() / 1e6:.3g} M parameters, "
        f"B{B} T{config.max_seq_len}, {params['dtype']}"
    )
    if params["as_json"]:
        value = {
            "title": title,
            "device": backend.description,
            "model": config.to_dict(),
            **found.to_dict(),
        }
        say.line(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        kernels = backend.name != "cpu"
        rows = [
            [
                line.kernel,
                *([line.op] if kernels else []),
                f"{line.launches:g}",
                f"{line.milliseconds:.4g}",
                f"{100 * line.share:.1f} %",
            ]
            for line in found.top(params["top"])
        ]
        names = ["kernel", "op"] if kernels else ["op"]
        show_table(
            title,
            (*names, "calls", "ms", "share"),
            [*rows, ["in all", *([""] if kernels else []), "", f"{found.milliseconds:.4g}", ""]],
            right=("calls", "ms", "share"),
            total=True,
        )
        say.line(f"A step that is not recorded, launched op by op: {found.step_ms:.4g} ms")
    if params["plot"] is not None:
        draw(found, title, params["plot"], params["top"])
        if not params["as_json"]:
            say.fact("Drawn", str(params["plot"]))
