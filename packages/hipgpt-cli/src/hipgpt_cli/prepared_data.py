"""Train on a folder that `hipgpt data prepare` made: opened, verified, and said aloud.

The odd thing: such a run keeps no ids of its own. Its config.json names the folder and the data's
checksum, and a folder whose checksum is another one is refused, as a changed text would be.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hipgpt_cli import human, say
from hipgpt_cli.corpus import NAMED
from hipgpt_cli.errors import UserError
from hipgpt_cli.progress import stages
from hipgpt_cli.tokens import TokensInfo

if TYPE_CHECKING:
    from hipgpt_model.data_folder import DataFolder
    from hipgpt_tokenizer import Tokenizer


def find_prepared(source: str) -> Path | None:
    """The folder of prepared data that `--data` names, absolute; None where it names a text."""
    from hipgpt_model.data_folder import is_data_folder

    if source in NAMED:
        return None
    path = Path(source).expanduser().absolute()
    return path if is_data_folder(path) else None


def open_prepared(path: Path, params: dict[str, Any]) -> tuple[Tokenizer, TokensInfo]:
    """The tokenizer of prepared data, and what its ids are; everything is read and verified.

    Args:
        path: the folder.
        params: the options of `hipgpt train`; those that make ids from text are refused.

    Raises:
        UserError: an option does not go with prepared data, or the tokenizer is another one.
        DataError: the data is damaged.
    """
    from hipgpt_tokenizer import Tokenizer

    if params["tokens_path"] is not None:
        raise UserError(
            f"--tokens-path keeps the ids of a text; {path} holds its own, so leave it out"
        )
    data = verified(path)
    own = params["tokenizer_path"] or path / "tokenizer.json"
    if not Path(own).is_file():
        raise UserError(f"{own} is missing; --tokenizer-path names the tokenizer of this data")
    tokenizer = Tokenizer.load(Path(own))
    if tokenizer.fingerprint != data.manifest.tokenizer:
        raise UserError(
            f"{path} was prepared with another tokenizer (fingerprint "
            f"{data.manifest.tokenizer[:12]}…) than {own} ({tokenizer.fingerprint[:12]}…)"
        )
    say.fact("Tokenizer", f"{human.count(tokenizer.vocab_size)} ids ({own})")
    return tokenizer, info_of(data)


def reopen_prepared(config: dict[str, Any]) -> tuple[Path, TokensInfo]:
    """The prepared data of a run that goes on.

    Args:
        config: the run's config.json.

    Raises:
        UserError: it is other data than the run began with.
        DataError: it is damaged, or not there.
    """
    path = Path(config["options"]["data"])
    info = info_of(verified(path))
    if info.text_sha256 != config.get("text_sha256"):
        raise UserError(
            f"{path} has been prepared anew since the run began, with other data (checksum "
            f"{info.text_sha256[:12]}…, the run has {str(config.get('text_sha256'))[:12]}…); "
            "start a new run"
        )
    return path, info


def verified(path: Path) -> DataFolder:
    """Open a folder and read every id in it, with progress, so that no damage is trained on."""
    from hipgpt_model.data_folder import open_folder

    data = open_folder(path)
    begun = time.perf_counter()
    with stages() as progress:
        data.verify(lambda done, total: progress("verify", done, total))
    shards = len(data.manifest.shards)
    held_out = sum(shard.tokens for shard in data.manifest.of_split("validation"))
    say.fact(
        "Data",
        f"{path}, {human.count(data.tokens)} tokens in {human.count(shards)} shards, "
        f"{human.count(held_out)} for validation; verified in "
        f"{human.duration(time.perf_counter() - begun)}",
    )
    return data


def info_of(data: DataFolder) -> TokensInfo:
    """Prepared data as tokens.json would describe it; the checksum stands for the text's hash."""
    return TokensInfo(
        data.tokens,
        data.manifest.dtype,
        sum(shard.text_bytes for shard in data.manifest.shards),
        data.manifest.checksum,
        data.manifest.tokenizer,
    )
