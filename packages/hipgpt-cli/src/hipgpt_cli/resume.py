"""Continue a run: with its own configuration, from its newest checkpoint or from a named one.

A run that was killed before its first checkpoint goes on from its beginning.

The odd thing: the run decides, not the command line. An option that says otherwise is refused, so
nobody resumes with another model than they think; only what leaves the arithmetic as it is may
change, and --steps, which says where the run ends.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hipgpt_cli import human, options
from hipgpt_cli.corpus import NAMED, open_corpus
from hipgpt_cli.errors import UserError
from hipgpt_cli.prepared_data import reopen_prepared
from hipgpt_cli.runs import Run, copy_inputs, find_run, new_run, newest_run, run_of
from hipgpt_cli.tokens import TokensInfo, read_info, write_tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hipgpt_model.config import GPTConfig, TrainConfig
    from hipgpt_tokenizer import Tokenizer

MAY_CHANGE = frozenset(
    {
        "steps", "run_name", "runs_dir", "resume", "ckpt", "ckpt_every", "keep_last", "keep_best",
        "keep_every", "log_every", "sample_every", "eval_every", "eval_batches", "patience",
        "device", "threads", "graph", "tensorboard",
    }
)  # fmt: skip
"""Options that may differ from those the run began with."""

IN_TRAINING = ("steps", "eval_every", "eval_batches", "patience")
"""Those of them that are fields of TrainConfig."""

REPORTING = (
    "ckpt_every", "keep_last", "keep_best", "keep_every", "log_every", "sample_every",
    "tensorboard",
)  # fmt: skip
"""Those of them that belong to the run, not to its TrainConfig."""


@dataclass(frozen=True)
class Start:
    """Where a run goes on.

    Attributes:
        source: the run.
        checkpoint: its checkpoint; None: it has none yet and begins anew.
        weights: the checkpoint whose weights it then begins with; None: random ones.
        step: optimizer steps done.
        figures: what the checkpoint says in its `metrics`.
        model: the sizes.
        config: the run's config.json.
        training: how it trains from here on: as before, but for what may change.
        reporting: --ckpt-every, --keep-last and the like, by name: likewise.
    """

    source: Run
    checkpoint: Path | None
    weights: Path | None
    step: int
    figures: Mapping[str, float]
    model: GPTConfig
    config: dict[str, Any]
    training: TrainConfig
    reporting: dict[str, int]


@dataclass(frozen=True)
class Inputs:
    """What a run that goes on works with.

    Attributes:
        run: where it is saved from now on: the run itself, or its branch.
        tokenizer: its tokenizer.
        tokens: path of its ids: a file, or a folder of prepared data.
        info: what they are.
    """

    run: Run
    tokenizer: Tokenizer
    tokens: Path
    info: TokensInfo


def find_source(params: dict[str, Any]) -> Run:
    """The run that --resume or --ckpt means.

    Raises:
        UserError: there is none.
    """
    if params["ckpt"] is None:
        runs_dir, name = Path(params["runs_dir"]), params["run_name"]
        return newest_run(runs_dir) if name is None else find_run(runs_dir, name)
    found = run_of(Path(params["ckpt"]))
    if found is None:
        raise UserError(
            f"{params['ckpt']} lies in no run; --ckpt takes a checkpoint in a run's own folder, "
            "such as runs/NAME/checkpoints/step-00000500.msgpack"
        )
    return found


def find_start(ctx: click.Context, params: dict[str, Any], source: Run) -> Start:
    """Where a run goes on; nothing is changed yet.

    Raises:
        click.UsageError: an option contradicts the run.
        UserError: there is no such checkpoint, or nothing is left to do.
        CheckpointError: the checkpoint is damaged.
    """
    from hipgpt_model.checkpoint import read_header
    from hipgpt_model.config import GPTConfig, TrainConfig
    from hipgpt_model.stopping import BestLoss

    config = source.read_config()
    settled = config.get("options", {})
    _refuse_contradictions(ctx, settled, source)
    given = options.given(ctx)
    checkpoint = source.newest_checkpoint() if params["ckpt"] is None else Path(params["ckpt"])
    step, figures = 0, {}
    if checkpoint is None:
        try:
            model = GPTConfig.from_dict(config.get("model", {}))
            training = TrainConfig.from_dict(config.get("training", {}))
        except ValueError as error:
            raise UserError(f"{source.config} is damaged: {error}") from error
    else:
        header = read_header(checkpoint)
        if header.kind != "training" or header.training is None:
            raise UserError(
                f"{checkpoint} holds weights alone, which can be used but not trained on"
            )
        model, training = header.model, header.training
        step, figures = header.step, header.metrics
    training = replace(training, **{name: given[name] for name in IN_TRAINING if name in given})
    if step >= training.steps:
        raise UserError(
            f"run {source.name} has done {human.count(step)} of "
            f"{human.count(training.steps)} steps; --steps with a larger number goes on"
        )
    best = BestLoss.from_metrics(figures)
    if best.exhausted(training.patience):
        raise UserError(
            f"run {source.name} ended early: none of {best.since} evaluations was better than that "
            f"of step {human.count(best.step)}; a larger --patience, or 0, goes on"
        )
    reporting = {
        name: given[name] if name in given else settled.get(name, params[name])
        for name in REPORTING
    }
    begun_with = settled.get("init_from")
    weights = Path(begun_with) if begun_with and checkpoint is None else None
    return Start(source, checkpoint, weights, step, figures, model, config, training, reporting)


def set_up(ctx: click.Context, params: dict[str, Any], start: Start) -> Inputs:
    """Open the run's files, or make the new run that --ckpt asks for.

    Raises:
        UserError: a file of the run is missing or damaged and cannot be made again.
    """
    from hipgpt_tokenizer import Tokenizer

    source = start.source
    if not source.tokenizer.is_file():
        raise UserError(f"{source.tokenizer} is missing; the run cannot go on without it")
    tokenizer = Tokenizer.load(source.tokenizer)
    run = source
    if params["ckpt"] is not None:
        run = _branch(ctx, source, Path(params["runs_dir"]), params["run_name"])
    if start.config.get("prepared"):
        return Inputs(run, tokenizer, *reopen_prepared(start.config))
    tokens = Path(start.config.get("tokens_path") or run.tokens)
    info = read_info(tokens)
    made_from = (start.config.get("text_sha256"), tokenizer.fingerprint)
    if info is None or (info.text_sha256, info.tokenizer) != made_from:
        info = _encode_again(tokens, start.config, tokenizer)
    return Inputs(run, tokenizer, tokens, info)


def _refuse_contradictions(ctx: click.Context, settled: dict[str, Any], run: Run) -> None:
    for name, value in options.given(ctx).items():
        if name in MAY_CHANGE or name not in settled:
            continue
        asked = _absolute(value) if name == "data" else value
        if asked != settled[name]:
            raise click.UsageError(
                f"{options.typed(ctx, name, value)} contradicts run {run.name}, which has "
                f"{settled[name]}; a run that is continued keeps its configuration, so leave the "
                "option out or start a new run",
                ctx,
            )


def _absolute(source: str) -> str:
    """What `Corpus.source` makes of `--data`, without reading it."""
    return source if source in NAMED else str(Path(source).expanduser().absolute())


def _branch(ctx: click.Context, source: Run, runs_dir: Path, name: str | None) -> Run:
    """A new run that starts with the files of another."""
    if name is not None and (runs_dir / name).exists():
        raise click.UsageError(
            f"run {name} exists already; --ckpt continues in a new run, so give another --run-name",
            ctx,
        )
    run = new_run(runs_dir, name, f"from-{source.name}"[:60])
    copy_inputs(source, run)
    return run


def _encode_again(path: Path, config: dict[str, Any], tokenizer: Tokenizer) -> TokensInfo:
    """Make lost ids again, from the same text only."""
    source, wanted = config.get("options", {}).get("data", "-"), config.get("text_sha256")
    if source == "-":
        raise UserError(f"{path} is missing or damaged, and its text came from standard input")
    corpus = open_corpus(source)
    if corpus.sha256() != wanted:
        raise UserError(
            f"{path} is missing or damaged, and {source} is no longer the text that it was made "
            "from; start a new run"
        )
    return write_tokens(path, corpus, str(wanted), tokenizer)
