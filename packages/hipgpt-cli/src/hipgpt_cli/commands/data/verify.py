"""`hipgpt data verify`: read every id of prepared data and compare with what the manifest says."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hipgpt_cli import human, option_sets, options, say
from hipgpt_cli.errors import UserError
from hipgpt_cli.nearest import Existing

if TYPE_CHECKING:
    from hipgpt_model.data_folder import DataFolder


@click.command(
    "verify",
    cls=options.Command,
    short_help="Read all prepared data and compare it with its hashes.",
    examples=("hipgpt data verify data/articles", "hipgpt data verify data/articles --json"),
)
@click.argument("folder", type=Existing(file_okay=False))
@option_sets.json_option("the figures as JSON")
def command(folder: str, as_json: bool) -> None:
    """Read all prepared data in FOLDER and compare it with its hashes.

    The status is 0 where everything is as it was written, else 1, and the file is named.
    """
    from hipgpt_cli.progress import stages
    from hipgpt_model.data_folder import open_folder

    data = open_folder(Path(folder))
    _check_tokenizer(data)
    begun = time.perf_counter()
    with stages() as progress:
        data.verify(lambda done, total: progress("verify", done, total))
    seconds = max(time.perf_counter() - begun, 1e-9)
    size = sum(shard.bytes for shard in data.manifest.shards)
    shards = len(data.manifest.shards)
    if as_json:
        figures = {
            "path": str(data.path),
            "whole": True,
            "shards": shards,
            "tokens": data.tokens,
            "bytes": size,
            "checksum": data.manifest.checksum,
            "seconds": seconds,
        }
        say.line(json.dumps(figures, indent=2, ensure_ascii=False))
        return
    say.fact(
        "Whole",
        f"{'1 shard' if shards == 1 else f'{human.count(shards)} shards'}, "
        f"{human.count(data.tokens)} tokens, {human.size(size)} read in "
        f"{human.duration(seconds)} ({human.size(size / seconds)}/s)",
    )


def _check_tokenizer(data: DataFolder) -> None:
    """See that tokenizer.json, where there is one, is the one that the ids were made with."""
    from hipgpt_tokenizer import Tokenizer

    path = data.path / "tokenizer.json"
    if path.is_file() and Tokenizer.load(path).fingerprint != data.manifest.tokenizer:
        raise UserError(f"{path} is not the tokenizer that this data was prepared with")
