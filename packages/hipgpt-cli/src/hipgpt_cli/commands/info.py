"""`hipgpt info`: devices, versions, and what a model of some size consists of and takes.

The odd thing: it trains nothing and loads no tensor; of a checkpoint only the header is read.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from hipgpt_cli import human, option_sets, options, say
from hipgpt_cli.options import Integer, option

if TYPE_CHECKING:
    from hipgpt_model.config import GPTConfig


@click.command(
    "info",
    cls=options.Command,
    short_help="Show devices, versions, and what a model takes.",
    examples=(
        "hipgpt info                              # the default model",
        "hipgpt info --dim 768 --layers 12 --heads 12 --ff 3072 --seq 1024 --vocab-size 50257",
        "hipgpt info --run shakespeare",
    ),
)
@option_sets.trained_options("Show this run's model")
@option_sets.model_size_options()
@option(
    "--batch",
    "batch_size",
    type=Integer(1),
    default=32,
    group="Model",
    help="B: rows of S tokens in one pass, for the memory that training takes.",
)
@option_sets.json_option()
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Show the devices, the versions, and what a model of some size takes."""
    from hipgpt_cli import anatomy, system

    config, title, extra = _subject(ctx, params)
    versions, devices = system.versions(), system.devices()
    parts = anatomy.parts(config)
    memory = anatomy.memory(config, params["batch_size"])
    if params["as_json"]:
        value = {
            "versions": versions,
            "devices": devices,
            "model": {
                "config": config.to_dict(),
                "parameters": config.num_parameters(),
                "parts": {part.name: part.parameters for part in parts},
                **extra,
            },
            "memory": {
                "batch_size": params["batch_size"],
                "training": memory.training,
                "generation": memory.generation,
            },
        }
        say.line(json.dumps(value, indent=2, ensure_ascii=False))
        return
    for name, version in versions.items():
        say.fact(name, version, width=18)
    for name, values in devices.items():
        say.fact(f"Device {name}", _describe_device(values), width=18)
    say.line()
    _show_parameters(title, config, parts)
    _show_memory(config, params["batch_size"], memory)


def _subject(ctx: click.Context, params: dict[str, Any]) -> tuple[GPTConfig, str, dict[str, Any]]:
    """The configuration to show, what it is, and what else is known of it."""
    from hipgpt_model.config import GPTConfig

    given = options.given(ctx)
    named = {"run_name", "step", "checkpoint"} & given.keys()
    if not named:
        title = "Default model" if not given.keys() - {"as_json"} else "Model"
        return options.make_config(ctx, GPTConfig, params), title, {}
    sizes = [options.flag(ctx, name) for name in GPTConfig.__dataclass_fields__ if name in given]
    if sizes:
        raise click.UsageError(f"{sizes[0]} is settled by the run or checkpoint; leave it out", ctx)
    from hipgpt_cli.load import chosen_model

    trained = chosen_model(ctx, params)
    header = trained.header
    losses = ", ".join(
        f"{name.replace('_', ' ')} {header.metrics[name]:.3f}"
        for name in ("loss", "validation_loss")
        if name in header.metrics
    )
    title = f"{trained.name}, step {human.count(header.step)}" + (f", {losses}" if losses else "")
    extra = {"name": trained.name, "step": header.step, "metrics": header.metrics}
    return header.model, title, extra


def _describe_device(values: dict[str, Any]) -> str:
    if not values["usable"]:
        return f"cannot be used: {values['description']}"
    free, total = human.size(values["memory_free"]), human.size(values["memory_total"])
    return f"{values['description']}; {free} of {total} free"


def _show_parameters(title: str, config: GPTConfig, parts: list[Any]) -> None:
    from hipgpt_cli.tables import show_table

    total = config.num_parameters()
    sizes = (
        f"V={config.vocab_size} S={config.max_seq_len} E={config.embed_dim} "
        f"L={config.num_layers} H={config.num_heads} F={config.ff_dim}, {config.activation}"
    )
    rows = [
        [
            part.name,
            part.formula,
            human.count(part.parameters),
            human.percent(part.parameters / total),
        ]
        for part in parts
    ]
    rows.append(["in all", "", human.count(total), ""])
    show_table(
        f"{title}: {human.short(total)} parameters, {sizes}",
        ("part", "formula", "parameters", "share"),
        rows,
        right=("parameters", "share"),
        total=True,
    )


def _show_memory(config: GPTConfig, batch_size: int, memory: Any) -> None:
    from hipgpt_cli.tables import show_table

    names = list(dict.fromkeys([*memory.training, *memory.generation]))
    rows = [
        [name, *(human.size(kind[name]) if name in kind else "" for kind in _kinds(memory))]
        for name in names
    ]
    rows.append(["in all", *(human.size(sum(kind.values())) for kind in _kinds(memory))])
    training = f"training, B={batch_size} T={config.max_seq_len}"
    show_table(
        "Memory", ("part", training, "generation"), rows, right=(training, "generation"), total=True
    )


def _kinds(memory: Any) -> tuple[dict[str, int], dict[str, int]]:
    return memory.training, memory.generation
