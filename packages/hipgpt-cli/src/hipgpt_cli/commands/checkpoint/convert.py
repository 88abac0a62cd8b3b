"""`hipgpt checkpoint convert`: the weights of a checkpoint in a file of their own, for inference.

The odd thing: the tokenizer comes along, into the same folder, because a model without it can be
read but not used.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hipgpt_cli import human, option_sets, options, say
from hipgpt_cli.errors import UserError
from hipgpt_cli.nearest import Choice
from hipgpt_cli.options import option

if TYPE_CHECKING:
    from hipgpt_cli.load import Trained


@click.command(
    "convert",
    cls=options.Command,
    short_help="Save a checkpoint's weights by themselves.",
    examples=(
        "hipgpt checkpoint convert shakespeare shakespeare.msgpack",
        "hipgpt checkpoint convert step-00001500.msgpack small.msgpack --dtype bf16 --weights ema",
    ),
)
@click.argument("source", metavar="CHECKPOINT", shell_complete=option_sets.models)
@click.argument("target", metavar="FILE", type=click.Path(dir_okay=False))
@option_sets.checkpoint_options()
@option(
    "--weights",
    type=Choice(["model", "ema"]),
    default=None,
    show_default="ema where there is one",
    group="Output",
    help="The model's own weights, or their running average (train --ema).",
)
@option(
    "--dtype",
    "storage",
    type=Choice(["float32", "bf16"]),
    default=None,
    show_default="as they are",
    group="Output",
    help="How the numbers are stored; bf16 halves the file and rounds to 8 bits of precision.",
)
@option(
    "--tokenizer/--no-tokenizer",
    default=True,
    group="Output",
    help="Copy the tokenizer.json beside FILE, where there is none.",
)
@option("--force", is_flag=True, group="Output", help="Replace FILE where it exists.")
def command(**params: Any) -> None:
    """Save the weights of CHECKPOINT by themselves, without what only training needs.

    CHECKPOINT is a file, a run's name or a run's folder. The file is a third of the size, and
    every command that reads a model takes it with --checkpoint.
    """
    from hipgpt_cli.load import named_model
    from hipgpt_cli.progress import stages
    from hipgpt_model.checkpoint_convert import convert_checkpoint

    found = named_model(params["source"], params["runs_dir"], params["step"])
    target = Path(params["target"])
    if target.exists() and not params["force"]:
        raise UserError(f"{target} exists; --force replaces it")
    target.parent.mkdir(parents=True, exist_ok=True)
    with stages() as show:
        show("convert", 0, 0)
        header = convert_checkpoint(
            found.checkpoint, target, weights=params["weights"], storage=params["storage"]
        )
    before, after = found.checkpoint.stat().st_size, target.stat().st_size
    which = "running average" if header.weights == "ema" else "model's own weights"
    say.fact("Read", f"{found.checkpoint} ({human.size(before)})")
    say.fact("Saved", f"{target} ({human.size(after)}): the {which}, {header.storage}")
    if params["tokenizer"]:
        _copy_tokenizer(found, target.parent)
    say.next_command("hipgpt", "generate", "--checkpoint", str(target))


def _copy_tokenizer(found: Trained, folder: Path) -> None:
    """Put the tokenizer beside the new file, where it is not there already."""
    tokenizer = found.tokenizer_path()
    beside = folder / "tokenizer.json"
    if tokenizer is None:
        say.note("the checkpoint has no tokenizer.json beside it, so there is none to copy")
    elif not beside.exists():
        shutil.copyfile(tokenizer, beside)
        say.fact("Tokenizer", f"{beside}, a copy of {tokenizer}")
    elif beside.read_bytes() != tokenizer.read_bytes():
        say.note(f"{beside} is another tokenizer than {tokenizer}; it is left as it is")
