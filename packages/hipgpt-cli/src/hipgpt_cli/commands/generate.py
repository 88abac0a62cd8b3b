"""`hipgpt generate`: text from a trained model, shown as it is made.

The odd thing: only the new text goes to standard output; the prompt and everything said about it go
to standard error, so that a pipe gets the text and nothing else. Of several texts each is shown
when it is done.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hipgpt_cli import human, option_sets, options, say
from hipgpt_cli.errors import UserError
from hipgpt_cli.nearest import Existing
from hipgpt_cli.options import Integer, option
from hipgpt_cli.several import Texts, read_prompts

if TYPE_CHECKING:
    from hipgpt_cli.load import Trained
    from hipgpt_cli.writing import Writer
    from hipgpt_kernels import Backend
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
        "hipgpt generate --prompt-file prompts.txt --num-samples 4 --json > texts.jsonl",
    ),
)
@option(
    "--prompt",
    metavar="TEXT",
    group="Text",
    help="What the text continues. Without it you are asked for prompts, or the prompt is read "
    "from standard input where that is no terminal.",
)
@option(
    "--prompt-file",
    type=Existing(dir_okay=False, path_type=Path),
    metavar="FILE",
    group="Text",
    help="Prompts that are continued side by side: one a line, or JSON lines in a .jsonl file.",
)
@option(
    "--num-samples",
    type=Integer(1),
    default=1,
    group="Text",
    help="Texts for each prompt, made side by side; each with a seed of its own.",
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
@option_sets.tokenizer_path_option()
@option_sets.device_options()
@option_sets.decode_weights_option()
@option_sets.dtype_option()
@option_sets.json_option("one JSON object a text, a line each")
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Write text with a trained model: the newest run's, unless told otherwise."""
    import secrets

    if "" in params["stops"]:
        raise click.BadParameter("a stop string must not be empty", ctx, param_hint="--stop")
    prompts = _prompts(ctx, params)
    several = params["prompt_file"] is not None or params["num_samples"] > 1 or params["as_json"]
    if several and prompts is None:
        raise click.UsageError(
            "--num-samples and --json need a prompt: give --prompt or --prompt-file", ctx
        )

    from hipgpt_cli.device import describe, open_device, set_decode_weights
    from hipgpt_cli.load import chosen_model

    trained = chosen_model(ctx, params)
    tokenizer = trained.tokenizer(params["tokenizer_path"])
    backend = open_device(params["device"], params["threads"])
    set_decode_weights(backend, params["decode_weights"])
    seed = secrets.randbelow(2**32) if params["seed"] is None else params["seed"]
    sampling = _sampling(params, seed, tokenizer)
    _say_settings(trained, sampling, describe(backend, params["device"]))

    from hipgpt_cli.interactive import converse

    _check_precision(backend, params["dtype"])
    model = trained.load(backend, params["dtype"])

    def write(text: str, number: int) -> None:
        writer = _write(
            model, tokenizer, text, replace(sampling, seed=seed + number), params["stops"]
        )
        if params["stats"]:
            _say_stats(model, writer)

    if prompts is None:
        converse(write)
    elif several:
        samples, stops = params["num_samples"], params["stops"]
        texts = Texts(model, tokenizer, prompts, samples, sampling, stops)
        _write_several(texts, len(prompts), samples, as_json=params["as_json"])
    else:
        _say_prompt(prompts[0])
        write(prompts[0], 0)


def _prompts(ctx: click.Context, params: dict[str, Any]) -> list[str] | None:
    """What is to be continued; None where the user is to be asked."""
    if params["prompt_file"] is not None:
        if params["prompt"] is not None:
            raise click.UsageError("give --prompt or --prompt-file, not both", ctx)
        return read_prompts(params["prompt_file"])
    if params["prompt"] is not None:
        return [params["prompt"]]
    return None if say.is_terminal("stdin") else [_read_prompt(ctx)]


def _check_precision(backend: Backend, dtype: str) -> None:
    """Refuse a --dtype that the device does not compute in."""
    try:
        backend.compute_dtype(dtype)
    except ValueError as error:
        raise UserError(f"--dtype {dtype} cannot be used here: {error}") from error


def _write_several(texts: Texts, prompts: int, samples: int, *, as_json: bool) -> None:
    """Show texts as they are done; what they continue goes to standard error, or into the JSON."""
    for text in texts:
        if as_json:
            say.line(json.dumps(asdict(text), ensure_ascii=False))
            continue
        if text.sample == 0:
            say.fact("Prompt", text.prompt, err=True)
        if samples > 1:
            say.fact("Sample", f"{text.sample + 1}, seed {text.seed}", err=True)
        say.line(text.text)
    speed = texts.tokens / texts.total_s if texts.total_s else 0.0
    say.line(
        say.dim(
            f"{prompts * samples} texts, {texts.tokens} tokens in {human.duration(texts.total_s)} "
            f"({speed:.0f} tokens/s)"
        ),
        err=True,
    )


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
