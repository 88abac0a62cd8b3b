"""`hipgpt generate`: text from a trained model, shown as it is made.

The odd thing: only the new text goes to standard output; the prompt and everything said about it go
to standard error, so that a pipe gets the text and nothing else.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from hipgpt_cli import human, option_sets, options, say
from hipgpt_cli.options import Integer, option

if TYPE_CHECKING:
    from hipgpt_cli.load import Trained
    from hipgpt_cli.writing import Writer
    from hipgpt_model.generate import SamplingConfig
    from hipgpt_tokenizer import Tokenizer


@click.command(
    "generate",
    cls=options.Command,
    short_help="Write text with a trained model.",
    examples=(
        'hipgpt generate --prompt "To be, or not to be"',
        "hipgpt generate --run shakespeare --num-tokens 200 --temp 0.8 --top-k 50",
        'echo "Once upon a time" | hipgpt generate > story.txt',
    ),
)
@option(
    "--prompt",
    metavar="TEXT",
    group="Text",
    help="What the text continues. Without it you are asked for prompts, or the prompt is read "
    "from standard input where that is no terminal.",
)
@option("--num-tokens", type=Integer(1), default=50, group="Text", help="Tokens at most.")
@option(
    "--stop",
    "stops",
    multiple=True,
    metavar="TEXT",
    group="Text",
    help="End the text before this one appears in it. Can be given more than once.",
)
@option(
    "--eos-id",
    type=Integer(-1),
    default=None,
    show_default="that of <|endoftext|>",
    group="Text",
    help="Token id that ends the text; -1: none does.",
)
@option(
    "--stats",
    is_flag=True,
    group="Text",
    help="Tell afterwards, on standard error, the prompt's ids, the time to the first token, the "
    "tokens/s of reading and writing, and the model's size.",
)
@option_sets.sampling_options()
@option_sets.trained_options("Run to take")
@option(
    "--tokenizer-path",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    show_default="beside the checkpoint",
    group="Run",
    help="Tokenizer of the model.",
)
@option_sets.device_options()
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Write text with a trained model: the newest run's, unless told otherwise."""
    import secrets

    if "" in params["stops"]:
        raise click.BadParameter("a stop string must not be empty", ctx, param_hint="--stop")
    prompt = params["prompt"]
    asking = prompt is None and say.is_terminal("stdin")
    if prompt is None and not asking:
        prompt = _read_prompt(ctx)

    from hipgpt_cli.device import describe, open_device
    from hipgpt_cli.load import chosen_model

    trained = chosen_model(ctx, params)
    tokenizer = trained.tokenizer(params["tokenizer_path"])
    backend = open_device(params["device"], params["threads"])
    seed = secrets.randbelow(2**32) if params["seed"] is None else params["seed"]
    sampling = _sampling(params, seed, tokenizer)
    _say_settings(trained, sampling, describe(backend, params["device"]))

    from hipgpt_cli.interactive import converse
    from hipgpt_model.checkpoint import load_model

    model = load_model(trained.checkpoint, backend)

    def write(text: str, number: int) -> None:
        writer = _write(
            model, tokenizer, text, replace(sampling, seed=seed + number), params["stops"]
        )
        if params["stats"]:
            _say_stats(model, writer)

    if asking:
        converse(write)
    else:
        _say_prompt(prompt)
        write(prompt, 0)


def _read_prompt(ctx: click.Context) -> str:
    """The prompt that came through standard input, less the newline that ends a line of a shell."""
    try:
        text = sys.stdin.buffer.read().decode("utf-8") if sys.stdin else ""
    except UnicodeDecodeError as error:
        raise click.UsageError(
            f"the prompt on standard input is not UTF-8 text: {error.reason}", ctx
        ) from error
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise click.UsageError("there is no prompt: give --prompt, or text on standard input", ctx)
    return text


def _sampling(params: dict[str, Any], seed: int, tokenizer: Tokenizer) -> SamplingConfig:
    from hipgpt_model.generate import SamplingConfig

    eos_id = tokenizer.eot_id if params["eos_id"] is None else params["eos_id"]
    names = (
        "num_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty",
    )  # fmt: skip
    return SamplingConfig(
        **{name: params[name] for name in names},
        seed=seed,
        stop_ids=frozenset() if eos_id in {None, -1} else frozenset({eos_id}),
    )


def _say_settings(trained: Trained, sampling: SamplingConfig, device: str) -> None:
    size = human.short(trained.header.model.num_parameters())
    say.fact("Model", f"{trained.name}, step {trained.header.step}, {size} parameters", err=True)
    say.fact("Device", device, err=True)
    parts = [f"temp {sampling.temperature:g}", f"top-k {sampling.top_k or 'off'}"]
    if sampling.top_p < 1:
        parts.append(f"top-p {sampling.top_p:g}")
    if sampling.min_p > 0:
        parts.append(f"min-p {sampling.min_p:g}")
    if sampling.repetition_penalty != 1:
        parts.append(f"repetition penalty {sampling.repetition_penalty:g}")
    say.fact("Choice", f"{', '.join(parts)}, seed {sampling.seed}", err=True)


def _say_prompt(prompt: str) -> None:
    """Show the prompt; on a terminal the text follows it in the same line."""
    if say.is_terminal() and say.is_terminal("stderr"):
        say.line(err=True)
        say.piece(say.bold(prompt), err=True)
    else:
        say.fact("Prompt", prompt, err=True)


def _write(
    model: Any, tokenizer: Tokenizer, prompt: str, sampling: SamplingConfig, stops: tuple[str, ...]
) -> Writer:
    from hipgpt_cli.writing import Writer

    writer = Writer(model, tokenizer, prompt, sampling, stops)
    for text in writer:
        say.piece(text)
    say.line()
    speed = writer.tokens / writer.total_s if writer.total_s else 0.0
    reason = {"tokens": "", "end of text": "; the text ended"}.get(
        writer.ended_by, f"; stopped before {writer.ended_by!r}"
    )
    say.line(
        say.dim(
            f"{writer.tokens} tokens in {human.duration(writer.total_s)} ({speed:.0f} tokens/s, "
            f"the first after {1000 * writer.first_s:.0f} ms){reason}"
        ),
        err=True,
    )
    return writer


def _say_stats(model: Any, writer: Writer) -> None:
    """What was read, how long the first token took, and how fast the rest came."""
    ids, config = writer.prompt_ids, model.config
    read = min(len(ids), config.max_seq_len)
    say.fact("Prompt ids", f"{' '.join(map(str, ids))} ({human.count(len(ids))} ids)", err=True)
    if writer.tokens:
        speed = human.short(read / writer.first_s)
        say.fact("TTFT", f"{1000 * writer.first_s:.2f} ms of wall time", err=True)
        say.fact("Prefill", f"{speed} tokens/s ({human.count(read)} tokens)", err=True)
    if writer.tokens > 1:
        speed = human.short((writer.tokens - 1) / (writer.total_s - writer.first_s))
        say.fact("Decode", f"{speed} tokens/s ({human.count(writer.tokens - 1)} tokens)", err=True)
    size = human.size(sum(model.parameters[name].nbytes for name in model.parameters.names()))
    count = human.count(config.num_parameters())
    say.fact("Parameters", f"{count}, {size} in {model.parameters.dtype}", err=True)
