"""Text from a model, as it is made: ids to whole characters, up to a stop string.

The odd thing: an empty prompt is no prompt to a model, which only continues; the text then starts
from the token that separates documents.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hipgpt_cli.errors import UserError
from hipgpt_cli.stops import StopFilter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hipgpt_model.generate import SamplingConfig
    from hipgpt_model.gpt import GPT
    from hipgpt_tokenizer import Tokenizer


class Writer:
    """One text: iterate over it for its pieces, then ask how it went.

    Args:
        model: the model.
        tokenizer: the one whose ids the model knows.
        prompt: what the text continues; special tokens in it count as such.
        sampling: how tokens are chosen.
        stops: strings that end the text and are not part of it.

    Attributes:
        prompt_ids: what the prompt was encoded to.
        tokens: ids drawn so far.
        first_s: seconds to the first id, the reading of the prompt included.
        total_s: seconds in all.
        ended_by: "tokens" (as many as asked for), "end of text", or the stop string.
    """

    def __init__(
        self,
        model: GPT,
        tokenizer: Tokenizer,
        prompt: str,
        sampling: SamplingConfig,
        stops: Sequence[str] = (),
    ) -> None:
        self.tokens = 0
        self.first_s = 0.0
        self.total_s = 0.0
        self.ended_by = "tokens"
        self._model = model
        self._tokenizer = tokenizer
        self._sampling = sampling
        self._stop = StopFilter(stops)
        self.prompt_ids = prompt_ids(tokenizer, prompt)

    def __iter__(self) -> Iterator[str]:
        from hipgpt_model.generate import generate

        decoder = self._tokenizer.stream()
        start = time.perf_counter()
        for token in generate(self._model, self.prompt_ids, self._sampling):
            self.tokens += 1
            self.total_s = time.perf_counter() - start
            self.first_s = self.first_s or self.total_s
            yield self._stop.feed(decoder.feed(token))
            if self._stop.found is not None:
                self.ended_by = self._stop.found
                return
        if self.tokens < self._sampling.num_tokens:
            self.ended_by = "end of text"
        yield self._stop.feed(decoder.flush())
        yield self._stop.flush()


def prompt_ids(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The ids of a prompt; of an empty one, the id that separates documents.

    Raises:
        UserError: the prompt is empty and the tokenizer has no such id.
    """
    ids = tokenizer.encode(prompt, allowed_special="all")
    if ids:
        return list(ids)
    if tokenizer.eot_id is None:
        raise UserError(
            "the prompt is empty and this tokenizer has no <|endoftext|> to start from; "
            "give a --prompt"
        )
    return [tokenizer.eot_id]
