"""New tokens, one after another, from a prompt or from many: ids in, ids out.

Each token is read once and its keys and values are kept. The odd thing: positions are learned, so
the cache cannot slide. When all S positions are taken, the last S // 2 tokens are read anew from
position 0: the text goes on, and each such break costs one short prompt.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hipgpt_model.batch import BatchGenerator, checked_prompt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hipgpt_model.gpt import GPT

MOST_SLOTS = 64
"""Texts at once unless told otherwise: from here on a GPU gains little from more."""


@dataclass(frozen=True)
class SamplingConfig:
    """How the next token is chosen; the filters work in this order, as in `Backend.sample`.

    Attributes:
        num_tokens: how many tokens at most.
        repetition_penalty: above 1 makes ids that have occurred less likely (Keskar et al. 2019).
        temperature: logits are divided by it; 0 always takes the likeliest id.
        top_k: keep only the k likeliest ids; 0 keeps all.
        top_p: keep the fewest ids that together have this probability; 1 keeps all.
        min_p: keep ids at least this many times as likely as the likeliest; 0 keeps all.
        seed: equal seeds draw equal tokens, 0 … 2⁶⁴ − 1.
        stop_ids: ids that end the text; they are not given out.

    Raises:
        ValueError: a field is out of range; it is named, with what was expected.
    """

    num_tokens: int = 50
    temperature: float = 1.0
    top_k: int = 5
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0
    stop_ids: frozenset[int] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        def check(name: str, wanted: str, right: bool) -> None:
            if not right:
                raise ValueError(f"{name} must be {wanted}; got {getattr(self, name)}")

        check("num_tokens", "at least 0", self.num_tokens >= 0)
        check("temperature", "0 or more", 0 <= self.temperature < math.inf)
        check("top_k", "0 (all) or more", self.top_k >= 0)
        check("top_p", "above 0 and at most 1 (all)", 0 < self.top_p <= 1)
        check("min_p", "at least 0 (all) and at most 1", 0 <= self.min_p <= 1)
        check("repetition_penalty", "above 0", 0 < self.repetition_penalty < math.inf)
        check("seed", "0 … 2⁶⁴ − 1", 0 <= self.seed < 2**64)


def generate(model: GPT, prompt_ids: Sequence[int], sampling: SamplingConfig) -> Iterator[int]:
    """Draw tokens that continue a prompt. Of a prompt longer than S the last S tokens count.

    Args:
        model: the model.
        prompt_ids: at least one id.
        sampling: how each token is chosen.

    Yields:
        One id at a time, as it is drawn.

    Raises:
        ValueError: the prompt is empty, or holds an id outside the vocabulary; at the call, not at
            the first token.
    """
    return _draw(model, checked_prompt(model, prompt_ids), sampling)


def _draw(model: GPT, ids: list[int], sampling: SamplingConfig) -> Iterator[int]:
    if sampling.num_tokens == 0:
        return
    batch = BatchGenerator(model, slots=1)
    try:
        batch.add(ids, sampling)
        while batch.texts:
            for drawn in batch.step():
                if drawn.token is not None:
                    yield drawn.token
    finally:
        batch.close()


@dataclass(frozen=True)
class Generation:
    """One text of a batch.

    Attributes:
        ids: the new tokens, without the prompt.
        ended: "length": `num_tokens` were drawn; "stop": it came to a stop id.
    """

    ids: list[int]
    ended: str


def generate_batch(
    model: GPT,
    prompts: Sequence[Sequence[int]],
    sampling: SamplingConfig | Sequence[SamplingConfig],
    *,
    slots: int | None = None,
) -> Iterator[tuple[int, Generation]]:
    """Continue many prompts, several at a time; each text as `generate` would give it alone.

    Args:
        model: the model.
        prompts: each at least one id; they may be of different lengths.
        sampling: how tokens are chosen: one for each prompt, or one for all, and then prompt i is
            given the seed `sampling.seed` + i.
        slots: how many texts at once; None: `MOST_SLOTS`, or as many as fit into a quarter of the
            memory that is free.

    Yields:
        The number of a prompt and its text, in the order in which the texts end.

    Raises:
        ValueError: a prompt is empty or holds an id outside the vocabulary, or there is another
            number of samplings than of prompts; at the call.
    """
    if isinstance(sampling, SamplingConfig):
        samplings = [
            replace(sampling, seed=(sampling.seed + number) % 2**64)
            for number in range(len(prompts))
        ]
    else:
        samplings = list(sampling)
    if len(samplings) != len(prompts):
        raise ValueError(
            f"got {len(prompts)} prompts and {len(samplings)} samplings; give one for each, or one "
            "for all"
        )
    checked = [checked_prompt(model, prompt) for prompt in prompts]
    if slots is None:
        slots = slots_that_fit(model)
    return _draw_batch(model, checked, samplings, max(1, min(slots, len(checked))))


def _draw_batch(
    model: GPT, prompts: list[list[int]], samplings: list[SamplingConfig], slots: int
) -> Iterator[tuple[int, Generation]]:
    waiting = deque(range(len(prompts)))
    batch = BatchGenerator(model, slots)
    texts: dict[int, tuple[int, list[int]]] = {}  # by slot: number of the prompt, its new ids
    while waiting or batch.texts:
        while waiting and batch.free:
            number = waiting.popleft()
            if samplings[number].num_tokens == 0:
                yield number, Generation([], "length")
                continue
            texts[batch.add(prompts[number], samplings[number])] = number, []
        for drawn in batch.step():
            number, ids = texts[drawn.slot]
            if drawn.token is not None:
                ids.append(drawn.token)
            if drawn.ended:
                yield number, Generation(ids, drawn.ended)


def slots_that_fit(model: GPT) -> int:
    """How many rows of KV cache fit into a quarter of the free memory, 1 … `MOST_SLOTS`."""
    config = model.config
    row = 2 * config.num_layers * config.max_seq_len * config.embed_dim * model.dtype.itemsize
    free, _ = model.backend.memory_info()
    return max(1, min(MOST_SLOTS, free // 4 // row))
