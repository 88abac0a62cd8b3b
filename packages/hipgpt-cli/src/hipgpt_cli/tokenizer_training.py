"""Train a tokenizer on a corpus, with progress while it runs and one line about what came of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from hipgpt_cli import human, say
from hipgpt_cli.progress import stages
from hipgpt_cli.text_parts import END_OF_TEXT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hipgpt_tokenizer import Tokenizer


class HasParts(Protocol):
    """Text in parts: a `Corpus`, or a sample of one."""

    def parts(self) -> Iterator[tuple[str, bool]]:
        """Yield (text, whether a document ends there)."""


def train_tokenizer(
    corpus: HasParts,
    vocab_size: int,
    *,
    special_tokens: Sequence[str] = (END_OF_TEXT,),
    pattern: str = "gpt2",
    min_frequency: int = 2,
    workers: int = 1,
) -> Tokenizer:
    """A tokenizer with at most `vocab_size` ids; the arguments are those of `Tokenizer.train`."""
    from hipgpt_tokenizer import Tokenizer

    start = time.perf_counter()
    with stages() as progress:
        tokenizer = Tokenizer.train(
            (text for text, _ in corpus.parts() if text),
            vocab_size,
            special_tokens=list(special_tokens),
            pattern=pattern,
            min_frequency=min_frequency,
            workers=workers,
            progress=progress,
        )
    fewer = "" if tokenizer.vocab_size == vocab_size else ", all that this text has to offer"
    seconds = human.duration(time.perf_counter() - start)
    say.fact("Tokenizer", f"{human.count(tokenizer.vocab_size)} ids{fewer}, trained in {seconds}")
    return tokenizer
