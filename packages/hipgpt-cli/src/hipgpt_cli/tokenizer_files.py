"""Open and save tokenizers in every format, told apart by what the path is.

    tokenizer.json              Hugging Face's; read also: the C++ HipGPT's
    a folder                    GPT-2's vocab.json and merges.txt (or encoder.json and vocab.bpe)
    NAME.tiktoken               tiktoken's ranks, which hold no special tokens

The odd thing: a tiktoken file does not say how it splits text, so --pattern has to.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hipgpt_cli.errors import UserError
from hipgpt_cli.nearest import Choice
from hipgpt_cli.option_sets import run_options
from hipgpt_cli.options import option, together

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hipgpt_cli.options import Decorated
    from hipgpt_tokenizer import Tokenizer

_GPT2_NAMES = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))


def which_tokenizer() -> Callable[[Decorated], Decorated]:
    """The options that say which tokenizer to take."""
    group = "Tokenizer"
    return together(
        option("--tokenizer", "--tokenizer-path", "tokenizer_path", metavar="PATH", group=group,
               show_default="the newest run's",
               help="tokenizer.json, a folder with vocab.json and merges.txt, or NAME.tiktoken."),
        run_options("Take this run's tokenizer.", group),
        *tiktoken_details(group),
    )  # fmt: skip


def tiktoken_details(group: str) -> tuple[Callable[[Any], Any], ...]:
    """The options that say what a .tiktoken file does not."""
    return (
        option("--pattern", type=Choice(["gpt2", "gpt4"]), default="gpt2", group=group,
               help="How a .tiktoken file splits text: gpt2 for r50k and p50k, gpt4 for cl100k."),
        option("--special", "special_tokens", multiple=True, metavar="TEXT", group=group,
               help="A special token of a .tiktoken file, in the order of ids; may be repeated."),
    )  # fmt: skip


def chosen_tokenizer(params: dict[str, Any]) -> Tokenizer:
    """The tokenizer that `which_tokenizer`'s options mean.

    Raises:
        UserError: there is none.
    """
    from hipgpt_cli.runs import Run, find_run

    path = params["tokenizer_path"]
    if path is None:
        folder = Path(params["runs_dir"])
        run: Run = find_run(folder, params["run_name"])
        path = run.tokenizer
    return open_tokenizer(Path(path), params["pattern"], params["special_tokens"])


def open_tokenizer(path: Path, pattern: str, special_tokens: Sequence[str]) -> Tokenizer:
    """Read a tokenizer in any format.

    Args:
        path: a file or a folder.
        pattern: for a tiktoken file.
        special_tokens: for a tiktoken file.

    Raises:
        UserError: there is no such path, or a folder without a vocabulary.
        TokenizerFileError: the file is malformed.
    """
    from hipgpt_tokenizer import Tokenizer

    if path.is_dir():
        for vocab, merges in _GPT2_NAMES:
            if (path / vocab).is_file() and (path / merges).is_file():
                return Tokenizer.from_gpt2(path / vocab, path / merges)
        if (path / "tokenizer.json").is_file():
            return Tokenizer.load(path / "tokenizer.json")
        raise UserError(
            f"{path} holds no tokenizer: neither vocab.json with merges.txt, nor encoder.json with "
            "vocab.bpe, nor tokenizer.json"
        )
    if not path.is_file():
        raise UserError(f"{path}: there is no such file or folder")
    if path.suffix == ".tiktoken":
        return Tokenizer.from_tiktoken(path, pattern=pattern, special_tokens=special_tokens)
    return Tokenizer.load(path)


def save_tokenizer(tokenizer: Tokenizer, path: Path, form: str) -> str:
    """Write a tokenizer.

    Args:
        tokenizer: what to write.
        path: a file, or for "gpt2" a folder.
        form: "huggingface", "gpt2" or "tiktoken".

    Returns:
        What was written, for people.
    """
    folder = path if form == "gpt2" else path.parent
    folder.mkdir(parents=True, exist_ok=True)
    if form == "gpt2":
        vocab, merges = tokenizer.save_gpt2(path)
        return f"{vocab} and {merges}"
    if form == "tiktoken":
        tokenizer.save_tiktoken(path)
    else:
        tokenizer.save(path)
    return str(path)
