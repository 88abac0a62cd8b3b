"""`hipgpt chat`: a dialogue in the terminal with a trained model.

The odd thing: a model that was trained on text is no assistant, and this says so: it continues a
transcript in which your turns and its own alternate.
"""

from __future__ import annotations

import secrets
from typing import Any

import click

from hipgpt_cli import human, option_sets, options, say
from hipgpt_cli.errors import UserError
from hipgpt_cli.options import Integer, option

NOTICE = (
    "The model continues a transcript of your turns and its own. Unless it was trained on "
    "dialogues, it has not learnt to answer."
)


@click.command(
    "chat",
    cls=options.Command,
    short_help="Have a dialogue with a trained model.",
    examples=(
        "hipgpt chat",
        "hipgpt chat --template script --you ROMEO --they JULIET",
        "hipgpt chat --template 'Q: {text}\\nA:' --temp 0.7 --num-tokens 60",
    ),
)
@option(
    "--template",
    default="dialogue",
    metavar="NAME",
    group="Dialogue",
    help="How a turn is written: dialogue, script, plain (you write a text together), or your "
    "own text with {text}, {you}, {they} and \\n in it.",
)
@option("--you", default="User", metavar="NAME", group="Dialogue", help="Your name.")
@option(
    "--they",
    default="Assistant",
    metavar="NAME",
    group="Dialogue",
    help="The name that the model writes for.",
)
@option(
    "--system",
    default="",
    metavar="TEXT",
    group="Dialogue",
    help="Text before the first turn, which is never left out.",
)
@option(
    "--num-tokens",
    type=Integer(1),
    default=100,
    group="Dialogue",
    help="Tokens of an answer at most.",
)
@option(
    "--stop",
    "stops",
    multiple=True,
    metavar="TEXT",
    group="Dialogue",
    help="End an answer before this one too, beside your next turn. Can be given more than once.",
)
@option(
    "--history/--no-history",
    default=True,
    group="Dialogue",
    help="Keep what you type for the arrow keys of the next time, in the cache folder.",
)
@option_sets.sampling_options()
@option_sets.trained_options("Run to talk with")
@option_sets.tokenizer_path_option()
@option_sets.device_options()
@option_sets.decode_weights_option()
@option_sets.dtype_option()
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Have a dialogue with a trained model: the newest run's, unless told otherwise.

    Ctrl-C stops an answer, Ctrl-D ends, Alt+Enter begins a new line, /help lists commands.
    """
    if "" in params["stops"]:
        raise click.BadParameter("a stop string must not be empty", ctx, param_hint="--stop")
    from hipgpt_cli.chat.template import Template

    try:
        template = Template.named(params["template"], params["you"], params["they"])
    except UserError as error:
        raise click.BadParameter(error.message, ctx, param_hint="--template") from error

    from hipgpt_cli.device import describe, open_device, set_decode_weights
    from hipgpt_cli.load import chosen_model

    trained = chosen_model(ctx, params)
    tokenizer = trained.tokenizer(params["tokenizer_path"])
    backend = open_device(params["device"], params["threads"])
    set_decode_weights(backend, params["decode_weights"])

    from hipgpt_cli.chat.session import HELP, Chat
    from hipgpt_cli.chat.terminal import open_terminal
    from hipgpt_cli.chat.transcript import Transcript
    from hipgpt_cli.download import cache_folder
    from hipgpt_model.generate import SamplingConfig

    names = ("num_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty")
    seed = secrets.randbelow(2**32) if params["seed"] is None else params["seed"]
    eot = tokenizer.eot_id
    sampling = SamplingConfig(
        **{name: params[name] for name in names},
        seed=seed,
        stop_ids=frozenset() if eot is None else frozenset({eot}),
    )
    model = trained.load(backend, params["dtype"])
    size = human.short(trained.header.model.num_parameters())
    say.fact("Model", f"{trained.name}, step {trained.header.step}, {size} parameters", err=True)
    say.fact("Device", describe(backend, params["device"]), err=True)
    say.line(f"{NOTICE} /help lists commands.", err=True)
    words = [usage.split()[0] for usage in HELP]
    ask = open_terminal(words, cache_folder() / "chat-history" if params["history"] else None)
    transcript = Transcript(template, params["system"])
    Chat(model, tokenizer, transcript, sampling, params["stops"]).run(ask)
