"""`hipgpt import hf`: a GPT-2 of Hugging Face becomes a run.

The odd thing: nothing of the run exists before the whole model has been checked against its
config.json, and a mistake half-way takes it away again.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hipgpt_cli import human, option_sets, options, say
from hipgpt_cli.nearest import Existing
from hipgpt_cli.options import option

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from hipgpt_cli.runs import Run
    from hipgpt_model.interop.huggingface import Source


@click.command(
    "hf",
    cls=options.Command,
    short_help="Take over a GPT-2 from Hugging Face, or from a folder of its files.",
    examples=(
        "hipgpt import hf my-gpt2/ --run-name mine",
        "hipgpt import hf openai-community/gpt2",
        'hipgpt generate --run gpt2 --prompt "The meaning of life is"',
    ),
)
@click.argument("source", metavar="SOURCE", type=click.Path())
@option_sets.run_options("Name of the new run; the model's own by default.")
@option("--reset", is_flag=True, group="Run", help="Replace a run of that name.")
@option("--tokenizer-path", type=Existing(), metavar="PATH", group="Model",
        show_default="in SOURCE", help="tokenizer.json, or a folder with vocab.json and "
        "merges.txt.")  # fmt: skip
@option("--revision", metavar="NAME", default=None, group="Model", show_default="main",
        help="Branch, tag or commit of a repository.")  # fmt: skip
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Take over the GPT-2 of SOURCE as a run.

    SOURCE is a folder with config.json, model.safetensors (or several and their index) and the
    tokenizer's files, or the name of a repository on Hugging Face's hub (needs huggingface_hub).
    """
    from hipgpt_cli.hub import download, is_repository
    from hipgpt_cli.import_tokenizer import tokenizer_of
    from hipgpt_cli.runs import check_name
    from hipgpt_model.interop.huggingface import open_gpt2

    text = params["source"]
    folder = Path(text)
    if not folder.is_dir() and not is_repository(text):
        raise click.UsageError(
            f"{text} is neither a folder nor the name of a repository, such as "
            "openai-community/gpt2", ctx,
        )  # fmt: skip
    if folder.is_dir() and params["revision"] is not None:
        raise click.UsageError("--revision is for a repository; SOURCE is a folder", ctx)
    name = params["run_name"] or check_name(folder.resolve().name.lstrip("."))
    run = _vacant(ctx, Path(params["runs_dir"]) / name, reset=params["reset"])
    if not folder.is_dir():
        folder = download(text, params["revision"])

    source = open_gpt2(folder)
    tokenizer, added = tokenizer_of(folder, source.config.vocab_size, params["tokenizer_path"])
    say.fact("Model", f"{human.short(source.config.num_parameters())} parameters, {text}")
    say.fact("Tokenizer", f"{human.count(tokenizer.vocab_size)} ids")
    if added:
        say.note(
            f"the model has {human.count(added)} ids that its tokenizer lacks; they became special "
            "tokens that no ordinary text has in it"
        )
    start = time.perf_counter()
    _save(run, source, tokenizer, {"from": text, "revision": params["revision"]})
    say.fact("Saved", f"{run.path} in {human.duration(time.perf_counter() - start)}")
    say.next_command(
        "hipgpt", "generate", "--run", run.name,
        *(() if params["runs_dir"] == "runs" else ("--runs-dir", params["runs_dir"])),
    )  # fmt: skip


def _vacant(ctx: click.Context, path: Path, *, reset: bool) -> Run:
    from hipgpt_cli.errors import UserError
    from hipgpt_cli.runs import Run

    run = Run(path)
    if run.path.is_file():
        raise UserError(f"{run.path} is a file; a run needs a folder of that name")
    if run.config.exists() and not reset:
        raise click.UsageError(
            f"run {run.name} exists already: --reset replaces it, another --run-name leaves it "
            "alone", ctx,
        )  # fmt: skip
    return run


def _save(run: Run, source: Source, tokenizer: Any, origin: dict[str, Any]) -> None:
    from hipgpt_cli.runs import dropped_on_error
    from hipgpt_model.checkpoint import CheckpointHeader, save_checkpoint

    source.check()  # before an older run of this name is cleared away
    run.clear()
    run.checkpoint_folder.mkdir(parents=True, exist_ok=True)
    with dropped_on_error(run):
        tokenizer.save(run.tokenizer)
        header = CheckpointHeader("weights", source.config, tokenizer=tokenizer.fingerprint)
        save_checkpoint(run.checkpoint(0), header, _shown(source))
        run.write_config({"imported": origin, "model": source.config.to_dict(), "options": {}})


def _shown(source: Source) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors, with progress."""
    from hipgpt_cli.progress import stages

    total, done = source.config.num_parameters(), 0
    with stages() as show:
        for name, array in source.tensors():
            yield name, array
            done += array.size
            show("import", done, total)
