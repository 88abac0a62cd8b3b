"""Train a model: count pieces, learn merges, number the special tokens after them.

Odd thing: nothing here is random and nothing depends on the order of the texts, the number of
workers or the hash seed: the same texts give the same file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .counting import Progress, count_pieces
from .merging import learn_merges
from .model import LEGACY, Model, byte_tokens, encode_utf8
from .parallel import worker_count
from .patterns import split_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def train_model(
    texts: str | Iterable[str],
    vocab_size: int,
    special_tokens: Sequence[str],
    pattern: str,
    min_frequency: int,
    workers: int,
    progress: Progress | None,
) -> Model:
    """Train on texts; see `Tokenizer.train`.

    >>> model = train_model("low lower lowest", 259, (), "gpt2", 2, 1, None)
    >>> model.tokens[256:]
    [b'lo', b'low', b' low']
    """
    split_pattern(pattern)
    if pattern == LEGACY:
        raise ValueError(f'pattern is {pattern!r}, which can be read only; train "gpt2" or "gpt4"')
    if isinstance(special_tokens, str):
        raise TypeError("special_tokens is a str, expected a sequence of str")
    special = list(special_tokens)
    if len(set(special)) < len(special):
        raise ValueError("special_tokens names one token twice")
    least = 256 + len(special)
    if type(vocab_size) is not int or vocab_size < least:
        raise ValueError(
            f"vocab_size is {vocab_size!r}, expected an int of at least {least}: 256 bytes and "
            f"{len(special)} special tokens"
        )
    if type(min_frequency) is not int or min_frequency < 1:
        raise ValueError(f"min_frequency is {min_frequency!r}, expected an int of at least 1")
    count = worker_count(workers)
    tokens = byte_tokens()
    # What would make every training useless is found before it starts.
    names = {name: 256 + place for place, name in enumerate(special)}
    Model([*tokens, *map(encode_utf8, special)], [], names, pattern)

    total = 0
    if isinstance(texts, str):
        texts = [texts]
    if isinstance(texts, list | tuple):
        total = sum(len(text) for text in texts if isinstance(text, str))
    pieces = count_pieces(texts, pattern, frozenset(special), count, progress, total)
    words = {encode_utf8(piece): times for piece, times in pieces.items()}
    del pieces
    merges = learn_merges(words, tokens, vocab_size - len(special), min_frequency, progress)
    ids = {name: len(tokens) + place for place, name in enumerate(special)}
    return Model([*tokens, *map(encode_utf8, special)], merges, ids, pattern)
