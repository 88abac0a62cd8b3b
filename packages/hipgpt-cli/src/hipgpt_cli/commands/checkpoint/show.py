"""`hipgpt checkpoint show`: a checkpoint's header, for people or as JSON; no tensor is read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from hipgpt_cli import human, option_sets, options, say
from hipgpt_cli.options import option

if TYPE_CHECKING:
    from hipgpt_model.checkpoint import CheckpointHeader


@click.command(
    "show",
    cls=options.Command,
    short_help="Show what a checkpoint holds.",
    examples=(
        "hipgpt checkpoint show                # the newest run's newest",
        "hipgpt checkpoint show shakespeare --step 1500 --tensors",
        "hipgpt checkpoint show model.msgpack --json",
    ),
)
@click.argument("name", metavar="[CHECKPOINT]", required=False, shell_complete=option_sets.models)
@option_sets.checkpoint_options()
@option("--tensors", is_flag=True, group="Output", help="List every tensor too.")
@option_sets.json_option()
def command(**params: Any) -> None:
    """Show what a checkpoint holds: its header, which is checked against the size of the file.

    CHECKPOINT is a file, a run's name or a run's folder; by default the newest run.
    """
    from hipgpt_cli.load import named_or_newest

    found = named_or_newest(params["name"], params["runs_dir"], params["step"])
    header = found.header
    size = found.checkpoint.stat().st_size
    if params["as_json"]:
        value = {"path": str(found.checkpoint), "bytes": size, **header.to_dict()}
        if not params["tensors"]:
            del value["tensors"]
        say.line(json.dumps(value, indent=2, ensure_ascii=False))
        return
    say.fact("File", f"{found.checkpoint} ({human.size(size)})")
    _say_header(header)
    if params["tensors"]:
        _show_tensors(header)


def _say_header(header: CheckpointHeader) -> None:
    model, training = header.model, header.training
    weights = "running average of the weights" if header.weights == "ema" else "weights"
    holds = {"training": "a training, to go on with", "weights": f"the {weights} alone"}
    say.fact("Holds", f"{holds[header.kind]}; stored as {header.storage}")
    say.fact(
        "Model",
        f"{human.short(model.num_parameters())} parameters: V={model.vocab_size} "
        f"S={model.max_seq_len} E={model.embed_dim} L={model.num_layers} H={model.num_heads} "
        f"F={model.ff_dim}, {model.activation}{', tied' if model.tied else ''}",
    )
    steps = human.count(header.step) + (f" of {human.count(training.steps)}" if training else "")
    if header.micro_steps and training:
        steps += f" and {header.micro_steps} of {training.grad_accum} passes of the next"
    say.fact("Steps", steps)
    if training:
        say.fact(
            "Training",
            f"{header.dtype}, B={training.batch_size} x {training.grad_accum}, "
            f"{training.schedule} schedule to {training.learning_rate:g}, seed {training.seed}"
            + (f", average with {training.ema:g}" if training.ema else ""),
        )
    if header.data:
        pairs = ", ".join(f"{name} {value}" for name, value in header.data.items())
        say.fact("Data", f"{human.count(header.data_position)} rows consumed; {pairs}")
    say.fact("Tokenizer", header.tokenizer or "unknown")
    for name, value in header.metrics.items():
        say.fact("Figure", f"{name.replace('_', ' ')} {value:g}")


def _show_tensors(header: CheckpointHeader) -> None:
    from hipgpt_cli.tables import show_table

    rows = [
        [name, tensor["dtype"], " x ".join(map(str, tensor["shape"])), human.size(tensor["bytes"])]
        for name, tensor in header.tensor_table().items()
    ]
    say.line()
    show_table(
        f"{human.count(len(rows))} tensors", ("name", "dtype", "shape", "size"), rows,
        right=("size",),
    )  # fmt: skip
