"""A training that is ready to go: set up anew, or taken up where a run stopped.

The odd thing: the device is opened before the text is read, because an unknown device or a model
that no memory can hold should cost nobody the time to train a tokenizer.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hipgpt_cli import device, human, options, say
from hipgpt_cli.errors import UserError
from hipgpt_cli.initial_weights import find_initial
from hipgpt_cli.progress import report_every

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import click

    from hipgpt_cli.ranks import Lead, Task
    from hipgpt_cli.resume import Start
    from hipgpt_cli.runs import Run
    from hipgpt_cli.tokens import TokensInfo
    from hipgpt_kernels import Backend
    from hipgpt_model.config import GPTConfig, TrainConfig
    from hipgpt_model.data import TokenData
    from hipgpt_model.train import Trainer
    from hipgpt_tokenizer import Tokenizer

_NOT_KEPT = frozenset(
    {"resume", "reset", "ckpt", "run_name", "runs_dir", "tokens_path", "zero", "timeout"}
)
"""Options that say nothing about the run itself."""


@dataclass(frozen=True)
class Session:
    """A training that is ready to go.

    Attributes:
        run: where it is saved.
        config: what config.json says.
        trainer: where it stands.
        tokenizer: whose ids it trains on.
        figures: what the checkpoint that it goes on from says in its `metrics`.
    """

    run: Run
    config: dict[str, Any]
    trainer: Trainer
    tokenizer: Tokenizer
    figures: Mapping[str, float]


@contextmanager
def session(ctx: click.Context, params: dict[str, Any], lead: Lead) -> Iterator[Session]:
    """The training that the options of `hipgpt train` ask for.

    Leaving with an error before the first checkpoint takes a new run's folder away.
    """
    begin = _resumed if params["resume"] or params["ckpt"] else _new
    with begin(ctx, params, lead) as made:
        yield made


@contextmanager
def _new(ctx: click.Context, params: dict[str, Any], lead: Lead) -> Iterator[Session]:
    from hipgpt_model.config import GPTConfig, TrainConfig

    initial = find_initial(ctx, params) if params["init_from"] else None
    model = initial.model if initial else options.make_config(ctx, GPTConfig, params)
    training = options.make_config(ctx, TrainConfig, params)
    from hipgpt_cli.prepare import check_places, prepared

    check_places(ctx, params)
    backend = _open_device(params, lead)
    _check_precision(backend, training)
    _check_memory(backend, model, lead.share(training), lead.size, params["zero"])

    from hipgpt_cli.system import machine

    fixed_vocab = "vocab_size" in options.given(ctx)
    tokenizer = initial.tokenizer if initial else None
    with prepared(params, model, fixed_vocab, tokenizer) as inputs:
        data = open_data(inputs.tokens, inputs.info, model)
        every = report_every(params["log_every"])
        weights = initial.checkpoint if initial else None
        task = _task(params, inputs, inputs.model, training, every, weights=weights)
        trainer = lead.trainer(task, data, backend)
        kept = {name: value for name, value in params.items() if name not in _NOT_KEPT}
        config = {
            "options": {
                **kept,
                "data": inputs.source,
                "init_from": str(weights) if weights else None,
            },
            "model": inputs.model.to_dict(),
            "training": training.to_dict(),
            "text_sha256": inputs.info.text_sha256,
            "tokens_path": str(inputs.tokens) if params["tokens_path"] else None,
            "prepared": inputs.tokens.is_dir(),
            "text": {
                "bytes": inputs.info.bytes,
                "tokens": inputs.info.count,
                "train_tokens": data.train_tokens,
            },
            "machine": machine(backend),
        }
        inputs.run.write_config(config)
        _say_model(inputs.model)
        if initial:
            say.fact("Weights", initial.description)
        _say_reading(trainer, inputs.info)
        yield Session(inputs.run, config, trainer, inputs.tokenizer, {})


@contextmanager
def _resumed(ctx: click.Context, params: dict[str, Any], lead: Lead) -> Iterator[Session]:
    from hipgpt_cli.lock import locked
    from hipgpt_cli.resume import find_source, find_start, set_up
    from hipgpt_cli.runs import dropped_on_error
    from hipgpt_cli.sample import drop_samples_after
    from hipgpt_cli.system import machine

    with ExitStack() as stack:
        source = find_source(params)
        if params["ckpt"] is None:
            stack.enter_context(locked(source.lock))
            source.sweep()
        start = find_start(ctx, params, source)
        backend = _open_device(params, lead)
        _check_precision(backend, start.training)
        _check_memory(backend, start.model, lead.share(start.training), lead.size, params["zero"])
        found = set_up(ctx, params, start)
        if params["ckpt"] is not None:
            stack.enter_context(locked(found.run.lock))
            stack.enter_context(dropped_on_error(found.run))
        data = open_data(found.tokens, found.info, start.model)
        every = report_every(start.reporting["log_every"])
        task = _task(
            params,
            found,
            start.model,
            start.training,
            every,
            checkpoint=start.checkpoint,
            weights=start.weights,
        )
        trainer = lead.trainer(task, data, backend)
        drop_samples_after(found.run.samples, trainer.step)
        config = {
            **start.config,
            "training": trainer.config.to_dict(),
            "options": {**start.config["options"], **start.reporting},
            "machine": machine(backend),
        }
        found.run.write_config(config)
        _say_model(trainer.model.config)
        _say_reading(trainer, found.info)
        say.fact("Resuming", _describe_start(start, trainer))
        yield Session(found.run, config, trainer, found.tokenizer, start.figures)


def _describe_start(start: Start, trainer: Trainer) -> str:
    if start.checkpoint is None:
        return f"{start.source.path} has no checkpoint yet, so it begins anew"
    within = ""
    if trainer.micro_steps:
        within = f" and {trainer.micro_steps} of {trainer.config.grad_accum} passes of the next"
    return f"{start.checkpoint}, after step {human.count(trainer.step)}{within}"


def _task(
    params: dict[str, Any],
    inputs: Any,
    model: GPTConfig,
    training: TrainConfig,
    every: int,
    *,
    checkpoint: Path | None = None,
    weights: Path | None = None,
) -> Task:
    """What is to be trained, in a form that other processes can be told."""
    from hipgpt_cli.ranks import Task

    return Task(
        params["device"],
        params["threads"],
        params["zero"],
        params["timeout"],
        inputs.tokens.absolute(),
        inputs.info,
        model,
        training,
        None if checkpoint is None else checkpoint.absolute(),
        weights,
        inputs.tokenizer.fingerprint,
        every,
        params["graph"],
    )


def open_data(tokens: Path, info: TokensInfo, model: GPTConfig) -> TokenData:
    """The ids as training rows.

    Args:
        tokens: a file, or a folder of prepared data.
        info: what they are.
        model: whose rows they become.

    Raises:
        UserError: there are too few.
    """
    from hipgpt_cli.tokens import open_tokens
    from hipgpt_model.data import TokenData
    from hipgpt_model.data_folder import open_folder

    try:
        if tokens.is_dir():  # prepared data, and verified before
            return open_folder(tokens).token_data(model.max_seq_len)
        return TokenData(open_tokens(tokens, info), model.max_seq_len)
    except ValueError as error:
        raise UserError(f"{error} (--seq is the length of a row)") from error


def _say_reading(trainer: Trainer, info: TokensInfo) -> None:
    """How much of the text this training reads, and how often."""
    config, data = trainer.config, trainer.data
    tokens = config.steps * config.grad_accum * config.batch_size * data.T
    size = info.bytes * data.train_tokens / max(info.count, 1)
    say.fact(
        "Reading",
        f"{human.short(tokens)} tokens in {human.count(config.steps)} steps: "
        f"{tokens / data.train_tokens:.3g} epochs of {human.short(data.train_tokens)} tokens "
        f"({human.size(size)} of text)",
    )


def _open_device(params: dict[str, Any], lead: Lead) -> Backend:
    threads = lead.threads(params["threads"])
    backend = device.open_device(params["device"], threads, lead.local_rank)
    say.fact("Device", device.describe(backend, params["device"]))
    device.compile_kernels(backend)
    return backend


def _check_precision(backend: Backend, training: TrainConfig) -> None:
    """Refuse a --dtype that the device does not compute in.

    Raises:
        UserError: it does not.
    """
    try:
        backend.compute_dtype(training.dtype)
    except ValueError as error:
        raise UserError(f"--dtype {training.dtype} cannot be used here: {error}") from error


def _check_memory(
    backend: Backend, model: GPTConfig, training: TrainConfig, size: int, zero: int
) -> None:
    """Refuse what does not fit, before anything is allocated, and say what would.

    Args:
        backend: of this process.
        model: the sizes.
        training: with the batch of this process.
        size: how many processes there are.
        zero: --zero.

    Raises:
        UserError: it does not fit.
    """
    from hipgpt_model.memory import available_bytes, run_bytes, smaller_runs

    T = model.max_seq_len
    owners = size if zero else 1
    needed, available = run_bytes(model, training, T, backend, owners), available_bytes(backend)
    if not 0 < available < sum(needed.values()):
        return
    runs = smaller_runs(model, training, T, backend, available, owners)
    fitting = " or ".join(_changes(training, run, size) for run in runs)
    parts = ", ".join(f"{name} {human.size(size)}" for name, size in needed.items())
    raise UserError(
        f"training this model takes about {human.size(sum(needed.values()))} of memory ({parts}) "
        f"and {backend.name} has {human.size(available)}; "
        + (
            f"this would fit: {fitting}"
            if runs
            else "a smaller --seq, --dim or --layers needs less"
        )
    )


def _changes(training: TrainConfig, run: TrainConfig, size: int) -> str:
    """The options that make one run of another."""
    words = []
    if run.dtype != training.dtype:
        words += ["--dtype", run.dtype]
    if run.batch_size != training.batch_size:
        words += ["--batch", str(run.batch_size * size), "--grad-accum", str(run.grad_accum)]
    if run.checkpoint_activations != training.checkpoint_activations:
        words += ["--checkpoint-activations"]
    return " ".join(words)


def _say_model(model: GPTConfig) -> None:
    say.fact(
        "Model",
        f"{human.short(model.num_parameters())} parameters: V={model.vocab_size} "
        f"S={model.max_seq_len} E={model.embed_dim} L={model.num_layers} H={model.num_heads} "
        f"F={model.ff_dim}, {model.activation}{', tied' if model.tied else ''}",
    )
