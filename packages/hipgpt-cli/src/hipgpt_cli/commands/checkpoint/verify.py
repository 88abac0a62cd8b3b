"""`hipgpt checkpoint verify`: read checkpoints to the last byte; status 1 where one is damaged.

The odd thing: it goes on after a damaged one, so that one call tells which of a run's are whole.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from hipgpt_cli import human, option_sets, options, say
from hipgpt_cli.errors import UserError


@click.command(
    "verify",
    cls=options.Command,
    short_help="Read checkpoints whole and check every byte.",
    examples=(
        "hipgpt checkpoint verify                # all of the newest run",
        "hipgpt checkpoint verify shakespeare model.msgpack",
    ),
)
@click.argument("names", metavar="[CHECKPOINT]...", nargs=-1, shell_complete=option_sets.models)
@option_sets.checkpoint_options()
@option_sets.json_option("one JSON array")
def command(**params: Any) -> None:
    """Read checkpoints whole: header, size, and the checksum of every tensor.

    CHECKPOINT is a file, or a run's name or folder, which stands for all of its checkpoints or the
    one of --step. The exit status is 1 where one is damaged.
    """
    from hipgpt_cli.progress import stages

    paths: list[Path] = []
    for name in params["names"] or [None]:
        paths += _paths(name, params["runs_dir"], params["step"])
    results = []
    for path in paths:
        with stages() as show:
            show("verify", 0, 0)
            result = _verify(path)
        results.append(result)
        if not params["as_json"]:
            _say(result)
    if params["as_json"]:
        say.line(json.dumps(results, indent=2, ensure_ascii=False))
    damaged = sum(not result["whole"] for result in results)
    if damaged:
        raise UserError(f"{damaged} of {human.count(len(results))} checkpoints cannot be used")


def _paths(name: str | None, runs_dir: str, step: int | None) -> list[Path]:
    from hipgpt_cli.load import named_run
    from hipgpt_cli.runs import find_run

    if name is not None and Path(name).is_file():
        if step is not None:
            raise UserError(f"{name} is a file by itself; leave --step out")
        return [Path(name)]
    run = find_run(Path(runs_dir), None) if name is None else named_run(name, runs_dir)
    if step is not None:
        return [run.checkpoint_at(None if step == -1 else step)]
    found = [path for _, path in run.checkpoints()]
    if not found:
        raise UserError(f"run {run.name} has no checkpoint yet, in {run.checkpoint_folder}")
    return found


def _verify(path: Path) -> dict[str, Any]:
    from hipgpt_model.checkpoint import CheckpointError, verify_checkpoint

    began = time.perf_counter()
    result: dict[str, Any] = {"path": str(path), "bytes": path.stat().st_size, "whole": True}
    try:
        header = verify_checkpoint(path)
    except CheckpointError as error:
        return {**result, "whole": False, "error": str(error)}
    result |= {"kind": header.kind, "step": header.step, "tensors": len(header.tensor_shapes())}
    return {**result, "seconds": time.perf_counter() - began}


def _say(result: dict[str, Any]) -> None:
    if not result["whole"]:
        say.fact("Damaged", result["error"])
        return
    speed = result["bytes"] / 1e6 / max(result["seconds"], 1e-9)
    say.fact(
        "Whole",
        f"{result['path']}: step {human.count(result['step'])}, {result['tensors']} tensors, "
        f"{human.size(result['bytes'])} at {speed:.0f} MB/s",
    )
