"""`hipgpt data show`: what a folder of prepared data holds, without reading its ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from hipgpt_cli import human, option_sets, options, say
from hipgpt_cli.nearest import Existing
from hipgpt_cli.tables import show_table


@click.command(
    "show",
    cls=options.Command,
    short_help="Show what a folder of prepared data holds.",
    examples=("hipgpt data show data/articles", "hipgpt data show data/articles --json"),
)
@click.argument("folder", type=Existing(file_okay=False))
@option_sets.json_option("the figures as JSON")
def command(folder: str, *, as_json: bool) -> None:
    """Show what the prepared data in FOLDER is: splits, shards, tokenizer, source."""
    from hipgpt_model.data_folder import open_folder

    data = open_folder(Path(folder))
    manifest = data.manifest
    splits = {
        split: {
            "shards": len(shards),
            "documents": sum(shard.documents for shard in shards),
            "tokens": sum(shard.tokens for shard in shards),
            "text_bytes": sum(shard.text_bytes for shard in shards),
            "bytes": sum(shard.bytes for shard in shards),
        }
        for split in ("train", "validation")
        for shards in [manifest.of_split(split)]
    }
    if as_json:
        facts: dict[str, Any] = {
            "splits": splits,
            "dtype": manifest.dtype,
            "vocab_size": manifest.vocab_size,
            "end_of_text": manifest.end_of_text,
            "tokenizer": manifest.tokenizer,
            "validation_fraction": manifest.validation_fraction,
            "source": manifest.source,
            "checksum": manifest.checksum,
        }
        say.line(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    say.fact("Source", describe_source(manifest.source))
    say.fact(
        "Tokenizer",
        f"{human.count(manifest.vocab_size)} ids, fingerprint {manifest.tokenizer[:12]}…",
    )
    say.fact("Ids", f"{manifest.dtype}, the id {manifest.end_of_text} ends a document")
    say.fact("Checksum", manifest.checksum)
    say.line()
    show_table(
        "Splits",
        ("split", "shards", "documents", "tokens", "text", "on disk"),
        [
            (
                split,
                human.count(sums["shards"]),
                human.count(sums["documents"]),
                human.count(sums["tokens"]),
                human.size(sums["text_bytes"]),
                human.size(sums["bytes"]),
            )
            for split, sums in splits.items()
        ],
        right=("shards", "documents", "tokens", "text", "on disk"),
    )


def describe_source(source: dict[str, Any]) -> str:
    """Where prepared data came from, in one line.

    >>> describe_source({"files": [{"name": "a.txt", "bytes": 5}], "clean": "wikitext"})
    'a.txt (5 bytes), cleaned as wikitext'
    """
    if "hub" in source:
        config = f", {source['config']}" if source.get("config") else ""
        text = f"{source['hub']}{config}, split {source.get('split')}"
    else:
        files = source.get("files") or []
        names = [str(file.get("name")) for file in files[:3]]
        more = f" and {human.count(len(files) - 3)} more" if len(files) > 3 else ""
        size = human.size(sum(int(file.get("bytes", 0)) for file in files))
        text = f"{', '.join(names)}{more} ({size})"
    return text + (f", cleaned as {source['clean']}" if source.get("clean") else "")
