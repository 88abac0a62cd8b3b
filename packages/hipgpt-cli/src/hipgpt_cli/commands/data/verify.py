"""`hipgpt data verify`: read every id of prepared data and compare with what the manifest says."""

from __future__ import annotations

import time
from pathlib import Path

import click

from hipgpt_cli import human, options, say


@click.command(
    "verify",
    cls=options.Command,
    short_help="Read all prepared data and compare it with its hashes.",
    examples=("hipgpt data verify data/articles",),
)
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
def command(folder: str) -> None:
    """Read all prepared data in FOLDER and compare it with its hashes.

    The status is 0 where everything is as it was written, else 1, and the file is named.
    """
    from hipgpt_cli.progress import stages
    from hipgpt_model.data_folder import open_folder

    data = open_folder(Path(folder))
    begun = time.perf_counter()
    with stages() as progress:
        data.verify(lambda done, total: progress("verify", done, total))
    seconds = max(time.perf_counter() - begun, 1e-9)
    size = sum(shard.bytes for shard in data.manifest.shards)
    shards = len(data.manifest.shards)
    say.fact(
        "Whole",
        f"{'1 shard' if shards == 1 else f'{human.count(shards)} shards'}, "
        f"{human.count(data.tokens)} tokens, {human.size(size)} read in "
        f"{human.duration(seconds)} ({human.size(size / seconds)}/s)",
    )
