"""`hipgpt export hf`: a folder that transformers loads without any code of ours.

The odd thing: the tokenizer's class is PreTrainedTokenizerFast and not GPT-2's own, because that
one takes tokenizer.json as it is, with whatever split pattern the tokenizer was trained with.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hipgpt_cli import human, option_sets, options, say
from hipgpt_cli.errors import UserError
from hipgpt_cli.export_model import open_export, which_model
from hipgpt_cli.options import option

if TYPE_CHECKING:
    from hipgpt_cli.export_model import Exported


@click.command(
    "hf",
    cls=options.Command,
    short_help="Save a model for transformers, or publish it on Hugging Face's hub.",
    examples=(
        "hipgpt export hf shakespeare for-transformers/",
        "hipgpt export hf shakespeare for-transformers/ --push me/shakespeare --license mit",
    ),
)
@click.argument("run", metavar="RUN", shell_complete=option_sets.models)
@click.argument("folder", metavar="FOLDER", type=click.Path(file_okay=False))
@which_model()
@option("--force", is_flag=True, group="Output", help="Write into a folder that is not empty.")
@option("--license", "license_id", metavar="ID", group="Output",
        help="Licence for the model card, such as mit or apache-2.0.")  # fmt: skip
@option("--push", "repository", metavar="REPO", group="Hub",
        help="Publish the folder as REPO, such as me/mine (needs huggingface_hub).")  # fmt: skip
@option("--private", is_flag=True, group="Hub", help="Let nobody else see a new REPO.")
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Save the model of RUN in FOLDER for transformers, with a model card.

    RUN is a run's name, a run's folder, or a checkpoint file. What transformers' GPT-2 cannot
    express is refused: swiglu, no final norm, and a bias of the output,
    which --widen turns into width.
    """
    from hipgpt_cli.hub import is_repository
    from hipgpt_model.interop.huggingface import config_json, write_tensors

    repository = params["repository"]
    if repository is not None and not is_repository(repository):
        raise click.BadParameter(f"{repository!r} is no name of a repository, such as me/my-model",
                                 ctx, param_hint="--push")  # fmt: skip
    if params["private"] and repository is None:
        raise click.UsageError("--private says who may see what --push publishes", ctx)
    exported = open_export(params)
    folder = Path(params["folder"])
    if folder.is_dir() and any(folder.iterdir()) and not params["force"]:
        raise UserError(f"{folder} is not empty; --force writes into it all the same")
    eos_id = exported.tokenizer.eot_id
    config = config_json(exported.config, eos_id)

    from hipgpt_cli.files import replacing, write_json, write_text
    from hipgpt_cli.model_card import model_card

    with replacing(folder / "model.safetensors") as file:
        write_tensors(file, exported.config, exported.tensors())
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json",
               {"bos_token_id": eos_id, "eos_token_id": eos_id})  # fmt: skip
    _write_tokenizer(exported, folder)
    card = model_card(
        exported.trained.name,
        exported.config,
        exported.trained.header,
        exported.facts,
        license_id=params["license_id"],
        repository=repository,
    )
    write_text(folder / "README.md", card)
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    say.fact("Saved", f"{folder}, {human.size(size)}")
    if repository is not None:
        from hipgpt_cli.hub import publish

        say.fact("Published", publish(folder, repository, private=params["private"]))


def _write_tokenizer(exported: Exported, folder: Path) -> None:
    from hipgpt_cli.files import write_json

    tokenizer = exported.tokenizer
    tokenizer.save(folder / "tokenizer.json")
    if tokenizer.pattern == "gpt2" and not tokenizer.model.ignore_merges:
        tokenizer.save_gpt2(folder)  # for programs that know only GPT-2's own files
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": exported.config.max_seq_len,
        "clean_up_tokenization_spaces": False,
    }
    if tokenizer.eot_id is not None:
        text = tokenizer.id_to_token(tokenizer.eot_id)
        settings |= {"bos_token": text, "eos_token": text}
    write_json(folder / "tokenizer_config.json", settings)
