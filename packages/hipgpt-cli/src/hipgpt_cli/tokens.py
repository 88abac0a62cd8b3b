"""The text as ids on disk: tokens.bin, and tokens.json which says what they were made from.

tokens.bin is ids in a row, little-endian, 2 bytes each (4 where the vocabulary has more than 65,536
ids), with <|endoftext|> between documents. The odd thing: it is a cache with a proof. It is used
again only where both the hash of the text and the fingerprint of the tokenizer are the same.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hipgpt_cli.errors import UserError
from hipgpt_cli.files import read_json_object, replacing, write_text
from hipgpt_cli.text_parts import END_OF_TEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy as np

    from hipgpt_cli.corpus import Corpus
    from hipgpt_tokenizer import Tokenizer

FORMAT = {"format": "hipgpt-tokens", "version": 1}


@dataclass(frozen=True)
class TokensInfo:
    """What tokens.json says.

    Attributes:
        count: how many ids.
        dtype: "uint16" or "uint32".
        bytes: of the text in UTF-8.
        text_sha256: of the text, `Corpus.sha256`.
        tokenizer: fingerprint.
    """

    count: int
    dtype: str
    bytes: int
    text_sha256: str
    tokenizer: str


def write_tokens(
    path: Path,
    corpus: Corpus,
    text_sha256: str,
    tokenizer: Tokenizer,
    *,
    workers: int = 1,
    progress: Callable[[str, int, int], None] | None = None,
) -> TokensInfo:
    """Encode a corpus into `path` and its neighbour with the suffix .json.

    Args:
        path: tokens.bin.
        corpus: the text.
        text_sha256: its hash.
        tokenizer: what encodes it.
        workers: processes.
        progress: called with ("encode", characters read, bytes in all).

    Raises:
        UserError: a file of another kind has the neighbour's name.
    """
    import numpy as np

    if _info_path(path).exists() and not _is_info(_info_path(path)):
        raise UserError(
            f"{path} needs {_info_path(path)} for what the ids were made from, and that is a file "
            "of another kind; give the token file another name"
        )
    dtype = "uint16" if tokenizer.vocab_size <= 1 << 16 else "uint32"
    separator = tokenizer.eot_id is not None
    allowed = frozenset({END_OF_TEXT} if separator else ())
    count = 0
    with replacing(path) as file:
        for ids in tokenizer.encode_parts(
            _pieces(corpus, progress, separate=separator),
            allowed_special=allowed,
            disallowed_special=(),
            workers=workers,
        ):
            file.write(np.asarray(ids, dtype="<u2" if dtype == "uint16" else "<u4").tobytes())
            count += len(ids)
    info = TokensInfo(count, dtype, corpus.bytes, text_sha256, tokenizer.fingerprint)
    write_text(_info_path(path), json.dumps({**FORMAT, **asdict(info)}, indent=2) + "\n")
    return info


def read_info(path: Path) -> TokensInfo | None:
    """What is known of the ids at `path`; None where they are missing or damaged."""
    if not (path.is_file() and _info_path(path).is_file()):
        return None
    try:
        values: dict[str, Any] = read_json_object(_info_path(path))
        kind = {name: values.pop(name, None) for name in FORMAT}
        info = TokensInfo(**values)
        size = info.count * {"uint16": 2, "uint32": 4}[info.dtype]
    except Exception:  # noqa: BLE001 - a cache that cannot be read is made again
        return None
    return info if kind == FORMAT and path.stat().st_size == size else None


def open_tokens(path: Path, info: TokensInfo) -> np.ndarray:
    """The ids, (count,) uint16 or uint32, read from the disk as they are needed."""
    import numpy as np

    dtype = np.dtype(info.dtype).newbyteorder("<")
    tokens = np.memmap(path, dtype=dtype, mode="r", shape=(info.count,))
    return tokens if dtype.isnative else tokens.astype(info.dtype)


def _is_info(path: Path) -> bool:
    """Whether a file is one that this module writes, or nothing at all."""
    try:
        return read_json_object(path).get("format") == FORMAT["format"]
    except UserError:
        return False


def _info_path(path: Path) -> Path:
    return path.with_suffix(".json")


def _pieces(
    corpus: Corpus, progress: Callable[[str, int, int], None] | None, *, separate: bool
) -> Iterator[str]:
    """The corpus in pieces, with <|endoftext|> between documents; progress follows the reading."""
    between, done = False, 0
    for text, last in corpus.parts():
        if between and separate:
            yield END_OF_TEXT
        if text:
            yield text
        between = last
        done += len(text)
        if progress:
            progress("encode", done, corpus.bytes)
