"""`hipgpt export gguf`: one file that llama.cpp runs, tokenizer inside.

The odd thing: llama.cpp knows no model without a token that ends texts; where a vocabulary names
none, it takes id 11, a comma in GPT-2. So a tokenizer without <|endoftext|> is refused.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hipgpt_cli import human, option_sets, options, say
from hipgpt_cli.errors import UserError
from hipgpt_cli.export_model import open_export, which_model
from hipgpt_cli.nearest import Choice
from hipgpt_cli.options import option

if TYPE_CHECKING:
    from hipgpt_model.interop.gguf import Vocabulary
    from hipgpt_tokenizer import Tokenizer

_PATTERNS = {"gpt2": "gpt-2", "gpt4": "dbrx"}
"""llama.cpp's names of our split patterns; "dbrx" splits as cl100k does."""


@click.command(
    "gguf",
    cls=options.Command,
    short_help="Save a model for llama.cpp.",
    examples=(
        "hipgpt export gguf shakespeare shakespeare.gguf",
        "hipgpt export gguf shakespeare small.gguf --type q4_0",
    ),
)
@click.argument("run", metavar="RUN", shell_complete=option_sets.models)
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False))
@option("--type", "kind", type=Choice(["f32", "f16", "bf16", "q8_0", "q4_0"]), default="f16",
        group="Output",
        help="Format of the matrices: 32, 16, 16, 8.5 or 4.5 bits a weight.")  # fmt: skip
@option("--force", is_flag=True, group="Output", help="Replace FILE.")
@which_model()
def command(**params: Any) -> None:
    """Save the model of RUN as FILE for llama.cpp, with its tokenizer.

    RUN is a run's name, a run's folder, or a checkpoint file. What llama.cpp's GPT-2 cannot
    express is refused: an activation other than gelu, no final norm, and a bias of the output,
    which --widen turns into width.
    """
    from hipgpt_cli.files import replacing
    from hipgpt_model.interop.gguf import check, tensor_kinds, write_gguf

    path, kind = Path(params["file"]), params["kind"].replace("-", "_")
    if path.exists() and not params["force"]:
        raise UserError(f"{path} exists; --force replaces it")
    exported = open_export(params)
    check(exported.config)
    vocabulary = llama_vocabulary(exported.tokenizer)
    start = time.perf_counter()
    with replacing(path) as file:
        write_gguf(
            file,
            exported.config,
            exported.tensors(),
            vocabulary,
            kind=kind,
            name=exported.trained.name,
        )
    seconds = human.duration(time.perf_counter() - start)
    say.fact("Saved", f"{path}, {human.size(path.stat().st_size)}, in {seconds}")
    kinds = tensor_kinds(exported.config, kind)
    if kind in {"q8_0", "q4_0"} and (wide := [n for n, other in kinds.items() if other == "f16"]):
        more = f" and {human.count(len(wide) - 1)} more" if len(wide) > 1 else ""
        say.note(
            f"f16 instead of {kind}, because rows must be a multiple of 32 numbers: {wide[0]}{more}"
        )


def llama_vocabulary(tokenizer: Tokenizer) -> Vocabulary:
    """A tokenizer as llama.cpp wants it.

    Raises:
        UserError: llama.cpp cannot encode text as it does.
    """
    from hipgpt_model.interop.gguf import CONTROL, NORMAL, Vocabulary

    if tokenizer.pattern not in _PATTERNS or tokenizer.model.ignore_merges:
        what = "ignore_merges" if tokenizer.model.ignore_merges else f"pattern {tokenizer.pattern}"
        raise UserError(f"llama.cpp cannot encode text as this tokenizer does ({what})")
    if tokenizer.eot_id is None:
        raise UserError(
            "llama.cpp needs a token that ends texts, and this tokenizer has no <|endoftext|>"
        )
    special = set(tokenizer.special_tokens.values())
    tokens = [tokenizer.id_to_token(id_) for id_ in range(tokenizer.vocab_size)]
    return Vocabulary(
        tokens,
        [CONTROL if id_ in special else NORMAL for id_ in range(len(tokens))],
        [f"{tokens[left]} {tokens[right]}" for left, right in tokenizer.merges],
        _PATTERNS[tokenizer.pattern],
        tokenizer.eot_id,
    )
