"""The options that all benchmarks and `hipgpt profile` share, and what follows from them.

The odd thing: --size names a whole model and batch, and any option of the model that is written on
the command line replaces that part of it.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

from hipgpt_cli import option_sets, options, say
from hipgpt_cli.nearest import Choice
from hipgpt_cli.options import Integer, option, together

if TYPE_CHECKING:
    from collections.abc import Callable

    from hipgpt_cli.bench.result import Result
    from hipgpt_cli.options import Decorated
    from hipgpt_kernels import Backend
    from hipgpt_model.config import GPTConfig

SIZE_NAMES = ("default", "E256L8", "124M")


def workload_options(batch_help: str) -> Callable[[Decorated], Decorated]:
    """Which model, batch and dtype, and where.

    Args:
        batch_help: what --batch means in this command.
    """
    return together(
        option("--size", type=Choice(SIZE_NAMES), default="default", group="Work",
               help="A model with its batch; options of the model below replace parts of it."),
        option("--batch", "batch_size", type=Integer(1), default=None, show_default="by --size",
               group="Work", help=batch_help),
        option("--dtype", type=Choice(["float32", "bf16", "fp16"]), default="float32",
               group="Work", help="What a GPU computes in."),
        option_sets.device_options(),
        option_sets.model_size_options(),
    )  # fmt: skip


def peer_options() -> Callable[[Decorated], Decorated]:
    """What to compare with, and how long."""
    return together(
        option("--against", type=Choice(["torch"]), default=None, group="Comparison",
               help="Measure PyTorch too, in turns with ours; it must be installed."),
        option("--rounds", type=Integer(1), default=5, group="Comparison",
               help="Timed turns of each; the median counts."),
        option("--peak", type=options.Number(0, open_low=True), default=None, metavar="TFLOP/S",
               show_default="by the card's name", group="Comparison",
               help="What the device could do at most, for the share of it that is reached."),
        option("--json", "json_path", type=click.Path(dir_okay=False, allow_dash=True),
               default=None, metavar="FILE", group="Output",
               help="Write everything as one JSON object too; - writes it instead of the table."),
    )  # fmt: skip


def chosen_config(ctx: click.Context, params: dict[str, Any]) -> GPTConfig:
    """The model that --size and the options of the model mean.

    Raises:
        click.UsageError: they do not fit together.
    """
    from hipgpt_cli.bench.workload import SIZES
    from hipgpt_model.config import GPTConfig

    base = SIZES[params["size"]].config
    given = options.given(ctx)
    names = {field.name for field in fields(GPTConfig)}
    written = {name: params[name] for name in names & given.keys()}
    if not written:
        return base
    values = {name: getattr(base, name) for name in names} | written
    return options.make_config(ctx, GPTConfig, values)


def chosen_batch(params: dict[str, Any], backend: Backend) -> int:
    """--batch, or what --size has for this kind of device."""
    from hipgpt_cli.bench.workload import SIZES

    if params["batch_size"] is not None:
        return int(params["batch_size"])
    size = SIZES[params["size"]]
    return size.batch_cpu if backend.name == "cpu" else size.batch_gpu


def open_backend(params: dict[str, Any]) -> Backend:
    """The device, ready: its kernels compiled, so that no compiler runs while the clock does.

    Raises:
        UserError: it cannot be used, or does not compute in --dtype.
    """
    from hipgpt_cli import device
    from hipgpt_cli.errors import UserError

    backend = device.open_device(params["device"], params["threads"])
    try:
        backend.compute_dtype(params["dtype"])
    except ValueError as error:
        raise UserError(f"--dtype {params['dtype']}: {error}") from error
    if params.get("json_path") != "-":
        say.fact("Device", device.describe(backend, params["device"]))
    prepare = getattr(getattr(backend, "code", None), "prepare", None)
    if prepare is not None:
        prepare()
    return backend


def require_peer(params: dict[str, Any]) -> None:
    """See that the peer is installed before anything is measured.

    Raises:
        UserError: it is not.
    """
    from hipgpt_cli.bench.torch_gpt import is_installed
    from hipgpt_cli.errors import UserError

    if params["against"] and not is_installed():
        raise UserError(
            "--against torch needs PyTorch, which is not installed: pip install torch, or leave "
            "--against out to measure hipgpt alone"
        )


def tell(result: Result, params: dict[str, Any]) -> None:
    """Print the table, and write the JSON file where one is asked for."""
    from hipgpt_cli.bench.table import show_result

    path = params["json_path"]
    if path == "-":
        say.line(result.to_json())
        return
    show_result(result)
    if path is not None:
        result.write(path)
        say.fact("Written", path)
