"""Many texts at once: prompts from a file, several samples of each, shown in the prompts' order.

The odd thing: a stop string is looked for when a text is done, since texts of a batch are not shown
as they are made; what was drawn after it is cut off.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hipgpt_cli.errors import UserError
from hipgpt_cli.stops import StopFilter
from hipgpt_cli.writing import prompt_ids

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from hipgpt_model.generate import Generation, SamplingConfig
    from hipgpt_model.gpt import GPT
    from hipgpt_tokenizer import Tokenizer


@dataclass(frozen=True)
class Text:
    """One text.

    Attributes:
        prompt: what it continues.
        sample: which of the prompt's texts, from 0.
        seed: of its draws.
        text: what was written.
        tokens: how many ids were drawn for it, those of a stop string and after it too.
        ended: "tokens" (as many as asked for), "end of text", or the stop string.
    """

    prompt: str
    sample: int
    seed: int
    text: str
    tokens: int
    ended: str


def read_prompts(path: Path) -> list[str]:
    """The prompts of a file: a line each; in a .jsonl file strings, or objects with a "prompt".

    Raises:
        UserError: it is no UTF-8 text, a line is not what it should be, or there is no prompt.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error.reason}") from error
    prompts = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if path.suffix != ".jsonl":
            prompts.append(line)
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}, line {number}: not JSON: {error}") from error
        prompt = value.get("prompt") if isinstance(value, dict) else value
        if not isinstance(prompt, str):
            raise UserError(
                f'{path}, line {number}: expected a string, or an object with a "prompt" that is '
                "a string"
            )
        prompts.append(prompt)
    if not prompts:
        raise UserError(f"{path} holds no prompt: write one a line")
    return prompts


class Texts:
    """Iterate over it for the texts, prompt by prompt; then ask how it went.

    Args:
        model: the model.
        tokenizer: the one whose ids the model knows.
        prompts: what the texts continue.
        samples: texts of each prompt.
        sampling: how tokens are chosen; text n of all, counted from 0, is given the seed + n.
        stops: strings that end a text and are not part of it.

    Attributes:
        tokens: ids drawn so far.
        total_s: seconds so far.
    """

    def __init__(
        self,
        model: GPT,
        tokenizer: Tokenizer,
        prompts: Sequence[str],
        samples: int,
        sampling: SamplingConfig,
        stops: Sequence[str] = (),
    ) -> None:
        self.tokens = 0
        self.total_s = 0.0
        self._model = model
        self._tokenizer = tokenizer
        self._stops = stops
        self._jobs = [(prompt, sample) for prompt in prompts for sample in range(samples)]
        self._samplings = [
            replace(sampling, seed=(sampling.seed + number) % 2**64)
            for number in range(len(self._jobs))
        ]

    def __iter__(self) -> Iterator[Text]:
        from hipgpt_model.generate import generate_batch

        start = time.perf_counter()
        ids = [prompt_ids(self._tokenizer, prompt) for prompt, _ in self._jobs]
        done: dict[int, Text] = {}
        following = 0
        for number, generation in generate_batch(self._model, ids, self._samplings):
            self.tokens += len(generation.ids)
            self.total_s = time.perf_counter() - start
            done[number] = self._text(number, generation)
            while following in done:
                yield done.pop(following)
                following += 1

    def _text(self, number: int, generation: Generation) -> Text:
        stop = StopFilter(self._stops)
        text = stop.feed(self._tokenizer.decode(generation.ids)) + stop.flush()
        ended = "end of text" if generation.ended == "stop" else "tokens"
        prompt, sample = self._jobs[number]
        seed = self._samplings[number].seed
        return Text(prompt, sample, seed, text, len(generation.ids), stop.found or ended)
