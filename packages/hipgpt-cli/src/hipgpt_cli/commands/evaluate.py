"""`hipgpt evaluate`: perplexity over a text, and HellaSwag's questions.

The odd thing: bits per byte is told beside perplexity, because only it can be compared between
models with different tokenizers.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from hipgpt_cli import human, option_sets, options, say
from hipgpt_cli.nearest import Existing
from hipgpt_cli.options import Integer, option

if TYPE_CHECKING:
    from hipgpt_cli.load import Trained
    from hipgpt_model.gpt import GPT
    from hipgpt_tokenizer import Tokenizer


@click.command(
    "evaluate",
    cls=options.Command,
    short_help="Measure how well a model predicts a text, or answers questions.",
    examples=(
        "hipgpt evaluate --data held-out.txt",
        "hipgpt evaluate --run gpt2 --data wikitext2-test.txt --stride 512 --json",
        "hipgpt evaluate --run gpt2 --hellaswag hellaswag_val.jsonl --limit 1000",
    ),
)
@option_sets.source_option("Text to predict")
@option(
    "--stride",
    type=Integer(1),
    default=None,
    show_default="S",
    group="Text",
    help="How far the window moves: below S each token has at least S - stride before it, at "
    "S / stride times the cost.",
)
@option(
    "--hellaswag",
    type=Existing(dir_okay=False),
    metavar="FILE",
    group="Questions",
    help="HellaSwag's questions, one JSON object a line.",
)
@option(
    "--limit",
    type=Integer(1),
    default=None,
    group="Output",
    show_default="all",
    help="Take only so many questions, or tokens of the text.",
)
@option_sets.json_option()
@option_sets.trained_options("Run to measure")
@option_sets.tokenizer_path_option()
@option_sets.device_options()
@option_sets.dtype_option()
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Measure a model: its perplexity and bits per byte on a text, its answers to HellaSwag."""
    if params["data"] is None and params["hellaswag"] is None:
        raise click.UsageError("give --data, --hellaswag or both", ctx)
    if params["stride"] is not None and params["data"] is None:
        raise click.UsageError("--stride is for a text; there is no --data", ctx)

    from hipgpt_cli.device import describe, open_device
    from hipgpt_cli.load import chosen_model

    trained = chosen_model(ctx, params)
    S = trained.header.model.max_seq_len
    if params["stride"] is not None and params["stride"] > S:
        raise click.BadParameter(
            f"the model sees {S} tokens at once; the window can move by 1 to {S}",
            ctx, param_hint="--stride",
        )  # fmt: skip
    tokenizer = trained.tokenizer(params["tokenizer_path"])
    backend = open_device(params["device"], params["threads"])
    if not params["as_json"]:
        _say_model(trained, describe(backend, params["device"]))
    model = trained.load(backend, params["dtype"])
    result: dict[str, Any] = {
        "model": trained.name,
        "step": trained.header.step,
        "parameters": trained.header.model.num_parameters(),
        "device": backend.description,
        "dtype": params["dtype"],
    }
    if params["data"] is not None:
        result["text"] = _text(model, tokenizer, params)
    if params["hellaswag"] is not None:
        result["hellaswag"] = _hellaswag(model, tokenizer, params)
    if params["as_json"]:
        say.line(json.dumps(result, indent=2, ensure_ascii=False))


def _say_model(trained: Trained, device: str) -> None:
    size = human.short(trained.header.model.num_parameters())
    say.fact("Model", f"{trained.name}, step {trained.header.step}, {size} parameters")
    say.fact("Device", device)


def _text(model: GPT, tokenizer: Tokenizer, params: dict[str, Any]) -> dict[str, Any]:
    """Perplexity and its kin."""
    import numpy as np

    from hipgpt_cli.corpus import read_text
    from hipgpt_cli.encoding import encoded
    from hipgpt_cli.errors import UserError
    from hipgpt_cli.progress import stages
    from hipgpt_model.evaluate import perplexity

    text = read_text(params["data"])
    ids = encoded(tokenizer, text, limit=params["limit"])
    if len(ids) < 2:
        raise UserError(f"{params['data']} has {len(ids)} tokens; at least 2 are needed")
    nbytes = sum(len(tokenizer.token_bytes(id_)) for id_ in ids[1:])
    stride = params["stride"] or model.config.max_seq_len
    start = time.perf_counter()
    with stages() as show:
        report = perplexity(
            model, np.asarray(ids), stride, lambda done, total: show("evaluate", done, total)
        )
    seconds = time.perf_counter() - start
    bits = report.bits_per_byte(nbytes)
    if not params["as_json"]:
        say.fact("Text", f"{params['data']}: {human.count(report.tokens)} tokens predicted, "
                 f"{human.count(nbytes)} bytes, window {model.config.max_seq_len}, "
                 f"stride {stride}")  # fmt: skip
        say.fact("Loss", f"{report.loss:.4f} nats a token")
        say.fact("Perplexity", f"{report.perplexity:.4f}")
        say.fact("Bits/byte", f"{bits:.4f}")
        say.fact("Accuracy", f"{human.percent(report.accuracy)} of next tokens guessed right")
        say.fact("Time", f"{human.duration(seconds)}, "
                 f"{human.short(report.tokens / seconds)} tokens/s")  # fmt: skip
    return {
        "data": params["data"],
        "tokens": report.tokens,
        "bytes": nbytes,
        "window": model.config.max_seq_len,
        "stride": stride,
        "loss": report.loss,
        "perplexity": report.perplexity,
        "bits_per_byte": bits,
        "accuracy": report.accuracy,
        "seconds": seconds,
    }


def _hellaswag(model: GPT, tokenizer: Tokenizer, params: dict[str, Any]) -> dict[str, Any]:
    """Both accuracies."""
    from hipgpt_cli.progress import stages
    from hipgpt_model.hellaswag import hellaswag, read_questions

    questions = read_questions(params["hellaswag"])[: params["limit"]]
    start = time.perf_counter()
    with stages() as show:
        report = hellaswag(
            model,
            tokenizer.encode_ordinary,
            questions,
            lambda done, total: show("questions", done, total),
        )
    seconds = time.perf_counter() - start
    if not params["as_json"]:
        say.fact("HellaSwag", f"{human.count(report.questions)} questions, "
                 f"{human.duration(seconds)}")  # fmt: skip
        for name, value in (("acc", report.acc), ("acc_norm", report.acc_norm)):
            say.fact(name, f"{value:.4f} ± {report.error(value):.4f}")
    return {
        "questions": report.questions,
        "acc": report.acc,
        "acc_stderr": report.error(report.acc),
        "acc_norm": report.acc_norm,
        "acc_norm_stderr": report.error(report.acc_norm),
        "seconds": seconds,
    }
