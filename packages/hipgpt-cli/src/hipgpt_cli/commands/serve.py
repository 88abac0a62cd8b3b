"""`hipgpt serve`: a trained model behind an OpenAI-compatible endpoint, and a page to try it.

The odd thing: the port is taken before the model is read, so that a port in use is told at once.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from hipgpt_cli import human, option_sets, options, say
from hipgpt_cli.errors import UserError
from hipgpt_cli.options import Integer, Number, option
from hipgpt_cli.serve.limits import Limits

if TYPE_CHECKING:
    from hipgpt_cli.load import Trained
    from hipgpt_kernels import Backend

DEFAULT = Limits()


@click.command(
    "serve",
    cls=options.Command,
    short_help="Offer a trained model to OpenAI's clients and to a browser.",
    examples=(
        "hipgpt serve",
        "hipgpt serve --run shakespeare --port 8080",
        "hipgpt serve --host 0.0.0.0 --rows 32   # for other machines too: it has no password",
    ),
)
@option(
    "--host",
    default="127.0.0.1",
    metavar="ADDRESS",
    group="Address",
    help="Address to listen on; 127.0.0.1 is for this machine only.",
)
@option("--port", type=Integer(0, 65535), default=8000, group="Address", help="0 takes a free one.")
@option_sets.trained_options("Run to serve")
@option_sets.tokenizer_path_option()
@option(
    "--model-name",
    metavar="NAME",
    default=None,
    show_default="the run's",
    group="Run",
    help="Name by which clients ask for the model.",
)
@option(
    "--rows",
    type=Integer(1, 4096),
    default=DEFAULT.rows,
    group="Limits",
    help="Texts that are written at once; each takes memory for S tokens.",
)
@option(
    "--queue",
    type=Integer(0, 10**6),
    default=DEFAULT.queue,
    group="Limits",
    help="Texts that may wait; when more would, a request is refused with status 429.",
)
@option(
    "--max-tokens",
    type=Integer(1),
    default=DEFAULT.tokens,
    group="Limits",
    help="Most tokens of one text.",
)
@option(
    "--max-texts",
    type=Integer(1, 10**6),
    default=DEFAULT.request_rows,
    group="Limits",
    help="Most texts of one request: prompts × n.",
)
@option(
    "--timeout",
    type=Number(0, 10**6, open_low=True),
    default=DEFAULT.seconds,
    group="Limits",
    help="Most seconds for a request, its waiting included.",
)
@option(
    "--max-body",
    type=Integer(1),
    default=DEFAULT.body_bytes,
    group="Limits",
    help="Most bytes of a request.",
)
@option(
    "--grace",
    type=Number(0, 10**6),
    default=10.0,
    group="Limits",
    help="Seconds that running requests have to finish after Ctrl-C or SIGTERM.",
)
@option(
    "--access-log/--no-access-log",
    default=False,
    group="Limits",
    help="Write a line for each request to standard error.",
)
@option_sets.device_options()
@option_sets.decode_weights_option()
@option_sets.dtype_option()
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Serve a trained model: the newest run's, unless told otherwise.

    Clients of OpenAI's completions API find it at /v1, and a browser finds a page at /.
    """
    _need("starlette", "uvicorn")
    from hipgpt_cli.device import describe, open_device, set_decode_weights
    from hipgpt_cli.load import chosen_model
    from hipgpt_cli.serve import server

    made = server.listen(params["host"], params["port"])
    with made:
        trained = chosen_model(ctx, params)
        tokenizer = trained.tokenizer(params["tokenizer_path"])
        backend = open_device(params["device"], params["threads"])
        set_decode_weights(backend, params["decode_weights"])
        limits = Limits(
            rows=params["rows"],
            queue=params["queue"],
            tokens=params["max_tokens"],
            request_rows=params["max_texts"],
            seconds=params["timeout"],
            body_bytes=params["max_body"],
        )
        _check_memory(trained, backend, limits)

        from hipgpt_cli.serve.api import Service, make_app
        from hipgpt_cli.serve.engine import Engine
        from hipgpt_cli.serve.slots import Slots

        model = trained.load(backend, params["dtype"])
        engine = Engine(model, Slots(model, limits.rows), limits)
        name = params["model_name"] or trained.name
        facts: dict[str, Any] = {
            "parameters": trained.header.model.num_parameters(),
            "step": trained.header.step,
            "device": describe(backend, params["device"]),
        }
        service = Service(
            engine=engine,
            tokenizer=tokenizer,
            limits=limits,
            name=name,
            created=int(trained.checkpoint.stat().st_mtime),
            context=model.config.max_seq_len,
            facts=facts,
        )
        size = human.short(facts["parameters"])
        say.fact("Model", f"{name}, step {facts['step']}, {size} parameters")
        say.fact("Device", facts["device"])
        say.fact("Page", f"{server.url_of(made)}/")
        say.fact("API", f"{server.url_of(made)}/v1   (Ctrl-C ends)")
        try:
            server.run(
                make_app(service),
                made,
                stop=engine.stop,
                grace_s=params["grace"],
                access_log=params["access_log"],
            )
        finally:
            engine.stop()
    say.line("Stopped.", err=True)


def _need(*modules: str) -> None:
    """Refuse in one sentence where the extra is not installed."""
    if missing := [module for module in modules if find_spec(module) is None]:
        raise UserError(
            f"hipgpt serve needs {' and '.join(missing)}: pip install 'hipgpt-cli[serve]'"
        )


def _check_memory(trained: Trained, backend: Backend, limits: Limits) -> None:
    from hipgpt_cli.device import check_memory
    from hipgpt_model.memory import generation_bytes

    config = trained.header.model
    needed = sum(generation_bytes(config, limits.rows).values())
    check_memory(backend, needed, f"serving {limits.rows} texts at once", "a smaller --rows")
