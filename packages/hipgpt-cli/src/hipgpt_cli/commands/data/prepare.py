"""`hipgpt data prepare`: files, folders or a data set into shards of ids.

The odd thing: it needs no --resume. A folder with the state of a preparation that was stopped is
gone on with by the same command.
"""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hipgpt_cli import human, option_sets, options, say
from hipgpt_cli.errors import StoppedError, UserError
from hipgpt_cli.nearest import Choice
from hipgpt_cli.options import Integer, Number, option, together

if TYPE_CHECKING:
    from collections.abc import Callable

    from hipgpt_cli.data_documents import Source
    from hipgpt_cli.data_preparation import Prepared
    from hipgpt_cli.options import Decorated
    from hipgpt_tokenizer import Tokenizer


def _options() -> Callable[[Decorated], Decorated]:
    return together(
        option(
            "--hf",
            "hub",
            metavar="NAME",
            group="Text",
            help="Instead of SOURCE: a data set of the Hugging Face hub, streamed, or a folder "
            "that the package datasets can load.",
        ),
        option(
            "--hf-config",
            "hub_config",
            metavar="NAME",
            group="Text",
            help="Which configuration of the data set.",
        ),
        option(
            "--hf-split",
            "hub_split",
            metavar="NAME",
            default="train",
            group="Text",
            help="Which split of the data set to read.",
        ),
        option(
            "--hf-revision",
            "hub_revision",
            metavar="COMMIT",
            group="Text",
            show_default="the newest",
            help="Which version of the data set.",
        ),
        option(
            "--text-column",
            default="text",
            metavar="NAME",
            group="Text",
            help="The field that holds the text, in JSON lines, Parquet and data sets.",
        ),
        option(
            "--clean",
            type=Choice(["none", "wikitext"]),
            default="none",
            group="Text",
            help="wikitext: lines become articles, and the spaces and @-@ around signs go.",
        ),
        option(
            "--tokenizer",
            "--tokenizer-path",
            "tokenizer_path",
            metavar="PATH",
            group="Tokenizer",
            show_default="one is trained",
            help="tokenizer.json, or a folder with vocab.json and merges.txt.",
        ),
        option(
            "--vocab-size",
            type=Integer(257),
            default=option_sets.DEFAULT_VOCAB_SIZE,
            group="Tokenizer",
            help="Ids of the tokenizer that is trained.",
        ),
        option(
            "--sample-mb",
            type=Integer(1),
            default=50,
            group="Tokenizer",
            help="How much text it is trained on: the first so many MB for training.",
        ),
        option(
            "--out",
            type=click.Path(file_okay=False),
            required=True,
            metavar="FOLDER",
            group="Output",
            help="Folder for the shards.",
        ),
        option(
            "--validation",
            type=Number(0, 1, open_low=True, open_high=True),
            default=0.01,
            group="Output",
            help="The part that is for validation, chosen by the hash of each text.",
        ),
        option(
            "--shard-tokens",
            type=Integer(1),
            default=100_000_000,
            group="Output",
            help="Ids in a shard.",
        ),
        option(
            "--max-tokens",
            type=Integer(0),
            default=0,
            group="Output",
            help="Stop when there are about so many ids; 0: take all.",
        ),
        option(
            "--workers",
            type=Integer(0),
            default=0,
            group="Output",
            help="Processes; 0: one a core. The result is the same.",
        ),
        option(
            "--reset",
            is_flag=True,
            group="Output",
            help="Delete what a preparation left in the folder, and start over.",
        ),
    )


@click.command(
    "prepare",
    cls=options.Command,
    short_help="Turn text or a data set into shards of ids.",
    examples=(
        "hipgpt data prepare articles.jsonl --out data/articles",
        "hipgpt data prepare wiki.train.tokens --clean wikitext --out data/wiki",
        "hipgpt data prepare --hf HuggingFaceFW/fineweb-edu --max-tokens 1000000000 --out data/web",
    ),
)
@click.argument("sources", nargs=-1, metavar="[SOURCE]...", shell_complete=option_sets.sources)
@_options()
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Turn text files, JSON lines, Parquet, folders of them, or a data set into shards of ids.

    SOURCE may also be stdlib or shakespeare, as for hipgpt train. Stopped or killed, the same
    command goes on, and the result is the same to the byte.
    """
    if bool(params["sources"]) == (params["hub"] is not None):
        raise click.UsageError("give one or more SOURCE, or a data set with --hf", ctx)
    try:
        _prepare(params)
    except KeyboardInterrupt:
        raise StoppedError(
            signal.SIGINT, "Stopped; the same command goes on from where it was."
        ) from None


def _prepare(params: dict[str, Any]) -> None:
    from hipgpt_cli.lock import locked
    from hipgpt_model.data_folder import is_data_folder

    folder = Path(params["out"])
    if is_data_folder(folder) and not params["reset"]:
        raise UserError(
            f"{folder} holds prepared data already; --reset makes it anew, --out names another "
            "folder"
        )
    source = _source(params)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / "lock"))
        except UserError as error:
            raise UserError(
                f"{folder} is being prepared by another process; wait for it, or give another --out"
            ) from error
        _fill(source, folder, params)


def _fill(source: Source, folder: Path, params: dict[str, Any]) -> None:
    """Prepare the source's documents in a folder that is ours alone."""
    from hipgpt_cli.data_preparation import Settings, prepare
    from hipgpt_cli.data_writer import clear
    from hipgpt_cli.progress import stages

    settings = Settings(params["validation"], params["shard_tokens"], params["max_tokens"])
    if params["reset"]:
        clear(folder)  # only now: a mistake in the command line has cost nothing
    tokenizer = _tokenizer(params, source, folder)
    with stages() as progress:
        made = prepare(
            source, tokenizer, folder, settings, workers=params["workers"], progress=progress
        )
    _say(made, folder)


def _source(params: dict[str, Any]) -> Source:
    from hipgpt_cli.data_clean import WikiText
    from hipgpt_cli.data_files import FileSource
    from hipgpt_cli.data_hub import HubSource

    source: Source
    if params["hub"] is not None:
        source = HubSource(
            params["hub"], params["hub_config"], params["hub_split"], params["text_column"],
            params["hub_revision"],
        )  # fmt: skip
        say.fact("Text", f"{params['hub']}, split {params['hub_split']}, streamed")
    else:
        paths = [path for name in params["sources"] for path in _paths(name)]
        source = FileSource(paths, params["text_column"])
        number = len(source.files)
        files = "1 file" if number == 1 else f"{human.count(number)} files"
        say.fact("Text", f"{files}, {human.size(source.total)}")
        if source.total == 0:
            raise UserError("there is no text in what was given")
        say.left_out(source.skipped)
    return WikiText(source) if params["clean"] == "wikitext" else source


def _paths(name: str) -> list[Path]:
    """What a SOURCE stands for."""
    if name in {"stdlib", "shakespeare"}:
        from hipgpt_cli.corpus import open_corpus

        return list(open_corpus(name).files)
    return [Path(name).expanduser()]


def _tokenizer(params: dict[str, Any], source: Source, folder: Path) -> Tokenizer:
    """The tokenizer that was given, or was trained before, or is trained now; saved in the folder.

    Raises:
        UserError: it has no <|endoftext|>.
    """
    from hipgpt_cli.data_preparation import SampleText
    from hipgpt_cli.data_writer import STATE
    from hipgpt_cli.tokenizer_files import open_tokenizer
    from hipgpt_cli.tokenizer_training import train_tokenizer
    from hipgpt_tokenizer import Tokenizer

    saved = folder / "tokenizer.json"
    if params["tokenizer_path"] is not None:
        path = params["tokenizer_path"]
        tokenizer = open_tokenizer(Path(path), "gpt2", ())
        say.fact("Tokenizer", f"{human.count(tokenizer.vocab_size)} ids ({path})")
        if tokenizer.eot_id is None:
            raise UserError(f"{path} has no <|endoftext|>, which has to end each document")
    elif (folder / STATE).is_file() and saved.is_file():
        tokenizer = Tokenizer.load(saved)
        say.fact("Tokenizer", f"{human.count(tokenizer.vocab_size)} ids, as trained before")
        return tokenizer
    else:
        sample = SampleText(source, params["sample_mb"] * 1_000_000, params["validation"])
        tokenizer = train_tokenizer(sample, params["vocab_size"], workers=params["workers"])
    if not (folder / STATE).is_file():  # else the state's own tokenizer is there, and is compared
        tokenizer.save(saved)
    return tokenizer


def _say(made: Prepared, folder: Path) -> None:
    shards = made.manifest.shards
    tokens = sum(shard.tokens for shard in shards)
    documents = sum(shard.documents for shard in shards)
    text_bytes = sum(shard.text_bytes for shard in shards)
    held_out = sum(shard.tokens for shard in made.manifest.of_split("validation"))
    say.fact(
        "Tokens",
        f"{human.count(tokens)} of {made.manifest.dtype} in {human.count(documents)} documents, "
        f"{text_bytes / tokens:.2f} bytes each",
    )
    say.fact("Validation", f"{human.count(held_out)} of them, {human.percent(held_out / tokens)}")
    speed = human.size(made.size / max(made.seconds, 1e-9))
    say.fact(
        "Encoded",
        f"{human.size(made.size)} of text in {human.duration(made.seconds)}, {speed}/s"
        + (", going on from before" if made.resumed else ""),
    )
    size = sum(shard.bytes for shard in shards)
    number = "1 shard" if len(shards) == 1 else f"{human.count(len(shards))} shards"
    say.fact("Saved", f"{folder} ({number}, {human.size(size)})")
    say.next_command("hipgpt", "train", "--data", str(folder))
