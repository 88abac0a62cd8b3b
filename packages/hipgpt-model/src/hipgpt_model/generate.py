"""New tokens, one after another, from a prompt: ids in, ids out.

Each token is read once and its keys and values are kept (`KVCache`). The odd thing: positions are
learned, so the cache cannot slide. When all S positions are taken, the last S // 2 tokens are read
anew from position 0: the text goes on, and each such break costs one short prompt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hipgpt_model.gpt import GPT


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
    if len(prompt_ids) == 0:
        raise ValueError(
            "the prompt is empty; a model continues text, so give at least one id, such as that "
            "of the token that begins or separates texts"
        )
    V = model.config.vocab_size
    for position, token in enumerate(prompt_ids):
        if not 0 <= token < V:
            raise ValueError(
                f"id {token} at position {position} of the prompt is outside the model's "
                f"vocabulary, 0 … {V - 1}: was the text encoded by another tokenizer?"
            )
    return _draw(model, [int(token) for token in prompt_ids], sampling)


def _draw(model: GPT, ids: list[int], sampling: SamplingConfig) -> Iterator[int]:
    backend, S = model.backend, model.config.max_seq_len
    cache = model.new_cache(1)
    seen = None
    if sampling.repetition_penalty != 1:
        occurred = np.zeros((1, model.config.vocab_size), np.uint8)
        occurred[0, ids] = 1
        seen = backend.from_numpy(occurred)
    drawn = backend.empty((1,), np.int32)

    unread = ids[-S:]
    for draw in range(sampling.num_tokens):
        if cache.length == S:
            cache.length = 0
            unread = ids[-max(S // 2, 1) :]
        tokens = backend.from_numpy(np.array([unread], np.int32))  # (1, T)
        logits = model.forward_cached(tokens, cache)  # (1, V)
        backend.sample(
            logits,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            min_p=sampling.min_p,
            repetition_penalty=sampling.repetition_penalty,
            seen=seen,
            seed=sampling.seed,
            position=draw,
            out=drawn,
        )
        token = int(backend.to_numpy(drawn)[0])
        if token in sampling.stop_ids:
            return
        yield token
        ids.append(token)
        unread = [token]
