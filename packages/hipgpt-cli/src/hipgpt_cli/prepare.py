"""From text to something that can be trained: corpus, tokenizer, ids, said aloud as they come.

The odd thing is the order: everything that can be wrong with the command line is checked before the
text is read, and the run's folder is made only when the tokenizer is there, so that a mistake or an
early Ctrl-C leaves nothing behind.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hipgpt_cli import human, say
from hipgpt_cli.corpus import NAMED, find_text, open_corpus, slug
from hipgpt_cli.errors import UserError
from hipgpt_cli.lock import locked
from hipgpt_cli.prepared_data import find_prepared, open_prepared
from hipgpt_cli.progress import stages
from hipgpt_cli.runs import Run, dropped_on_error, new_run
from hipgpt_cli.tokenizer_training import train_tokenizer
from hipgpt_cli.tokens import TokensInfo, read_info, write_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hipgpt_cli.corpus import Corpus
    from hipgpt_model.config import GPTConfig
    from hipgpt_tokenizer import Tokenizer

PARALLEL_BYTES = 16_000_000
"""From here on starting worker processes costs less than they save (0.1 s against seconds)."""


@dataclass(frozen=True)
class Inputs:
    """What a new run trains on.

    Attributes:
        run: its folder.
        tokenizer: saved there.
        tokens: path of the ids: a file, or a folder of prepared data.
        info: what they are.
        source: what `--data` was, made absolute.
        model: the sizes, with the tokenizer's own number of ids.
    """

    run: Run
    tokenizer: Tokenizer
    tokens: Path
    info: TokensInfo
    source: str
    model: GPTConfig


@contextmanager
def prepared(
    params: dict[str, Any],
    model: GPTConfig,
    fixed_vocab: bool,
    tokenizer: Tokenizer | None = None,
) -> Iterator[Inputs]:
    """Make a new run's folder with tokenizer and ids; leaving with an error takes it away again.

    Args:
        params: the options of the command; `check_places` has seen them.
        model: the sizes asked for.
        fixed_vocab: --vocab-size was given, so a ready tokenizer must have just so many ids.
        tokenizer: of the weights that the run begins with; None: there are none.

    Raises:
        UserError: the text, the tokenizer or the run's name cannot be used.
    """
    runs_dir, name = Path(params["runs_dir"]), params["run_name"]
    existing = None if name is None else Run(runs_dir / name)
    if (folder := find_prepared(params["data"])) is not None:
        ids_of, info = open_prepared(folder, params)
        if tokenizer is not None and tokenizer.fingerprint != ids_of.fingerprint:
            raise UserError(
                f"{folder} was prepared with another tokenizer than {params['init_from']} was "
                "trained with: hipgpt data prepare --tokenizer takes that one's tokenizer.json"
            )
        tokenizer = ids_of
        if fixed_vocab and tokenizer.vocab_size != model.vocab_size:
            raise UserError(
                f"{folder} has {human.count(tokenizer.vocab_size)} ids, but --vocab-size is "
                f"{human.count(model.vocab_size)}; leave it out"
            )
        run = new_run(runs_dir, name, slug(folder.name))
        with locked(run.lock), dropped_on_error(run):
            if existing is not None and params["reset"]:
                existing.clear()
            run.sweep()
            tokenizer.save(run.tokenizer)
            sizes = replace(model, vocab_size=tokenizer.vocab_size)
            yield Inputs(run, tokenizer, folder, info, str(folder), sizes)
        return
    corpus = open_corpus(params["data"])
    say.fact("Text", corpus.description)
    say.left_out(corpus.skipped)
    with stages() as progress:
        text_sha256 = corpus.sha256(progress)
    workers = _workers(params["threads"]) if corpus.bytes >= PARALLEL_BYTES else 1
    if tokenizer is None:
        tokenizer = _tokenizer(
            params, corpus, text_sha256, None if params["reset"] else existing, workers
        )
    else:
        say.fact("Tokenizer", f"{human.count(tokenizer.vocab_size)} ids, of {params['init_from']}")
    if fixed_vocab and params["tokenizer_path"] and tokenizer.vocab_size != model.vocab_size:
        raise UserError(
            f"{params['tokenizer_path']} has {human.count(tokenizer.vocab_size)} ids, but "
            f"--vocab-size is {human.count(model.vocab_size)}; leave one of the two out"
        )

    run = new_run(runs_dir, name, corpus.name)
    with locked(run.lock), dropped_on_error(run):
        if existing is not None and params["reset"]:
            existing.clear()  # only now: a mistake in the command line has cost nothing
        run.sweep()
        tokenizer.save(run.tokenizer)
        tokens = Path(params["tokens_path"]) if params["tokens_path"] else run.tokens
        info = _tokens(tokens, corpus, text_sha256, tokenizer, workers)
        sizes = replace(model, vocab_size=tokenizer.vocab_size)
        yield Inputs(run, tokenizer, tokens.absolute(), info, corpus.source, sizes)


def check_places(ctx: click.Context, params: dict[str, Any]) -> None:
    """See that the text is there and the run's name is free, which costs no time.

    Raises:
        click.UsageError: there is a run of this name.
        UserError: there is no such text, or a file has the run's name.
    """
    if params["data"] not in NAMED:
        find_text(params["data"])
    if params["run_name"] is not None:
        run = Run(Path(params["runs_dir"]) / params["run_name"])
        _check_vacant(ctx, run, reset=params["reset"])


def _check_vacant(ctx: click.Context, run: Run, *, reset: bool) -> None:
    """See that a run of this name can begin."""
    if run.path.is_file():
        raise UserError(f"{run.path} is a file; a run needs a folder of that name")
    if run.checkpoints() and not reset:
        raise click.UsageError(
            f"run {run.name} exists already: --resume continues it, --reset deletes it and starts "
            "over, another --run-name leaves it alone",
            ctx,
        )


def _tokenizer(
    params: dict[str, Any], corpus: Corpus, text_sha256: str, existing: Run | None, workers: int
) -> Tokenizer:
    """Load the tokenizer that was given or is there already, else train one."""
    from hipgpt_tokenizer import Tokenizer

    if params["tokenizer_path"] is not None:
        tokenizer = Tokenizer.load(params["tokenizer_path"])
        say.fact(
            "Tokenizer", f"{human.count(tokenizer.vocab_size)} ids ({params['tokenizer_path']})"
        )
        return tokenizer
    vocab_size: int = params["vocab_size"]
    if existing is not None and existing.tokenizer.is_file():
        info = read_info(existing.tokens)
        tokenizer = Tokenizer.load(existing.tokenizer)
        if (
            info is not None
            and info.text_sha256 == text_sha256
            and info.tokenizer == tokenizer.fingerprint
            and tokenizer.vocab_size == vocab_size
        ):
            say.fact("Tokenizer", f"{human.count(vocab_size)} ids, as made for this text before")
            return tokenizer
    return train_tokenizer(corpus, vocab_size, workers=workers)


def _tokens(
    path: Path, corpus: Corpus, text_sha256: str, tokenizer: Tokenizer, workers: int
) -> TokensInfo:
    """The ids at `path`, made anew unless text and tokenizer are the same."""
    info = read_info(path)
    if info and (info.text_sha256, info.tokenizer) == (text_sha256, tokenizer.fingerprint):
        say.fact("Tokens", f"{_describe_tokens(info)}, as encoded before")
        return info
    start = time.perf_counter()
    with stages() as progress:
        info = write_tokens(
            path, corpus, text_sha256, tokenizer, workers=workers, progress=progress
        )
    seconds = human.duration(time.perf_counter() - start)
    say.fact("Tokens", f"{_describe_tokens(info)}, encoded in {seconds}")
    return info


def _describe_tokens(info: TokensInfo) -> str:
    return f"{human.count(info.count)}, {info.bytes / max(info.count, 1):.2f} bytes each"


def _workers(threads: int | None) -> int:
    """Processes for the tokenizer: 0 is every core."""
    return threads or 0
