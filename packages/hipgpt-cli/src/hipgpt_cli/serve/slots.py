"""The rows that are written at once: a cache for each, one token for each at every step.

The odd thing: rows are read one after the other, so that each gets exactly the numbers that it
would get alone; what is saved is the waiting, not the reading of the weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hipgpt_cli.serve.logprobs import as_float32

if TYPE_CHECKING:
    from collections.abc import Collection

    from hipgpt_model.generate import SamplingConfig
    from hipgpt_model.gpt import GPT, KVCache


@dataclass
class _Row:
    """One text.

    Attributes:
        ids: the prompt and all that was drawn.
        unread: the ids that the cache does not hold yet.
        seen: (1, V) uint8, or None.
        draws: how many tokens were drawn.
    """

    ids: list[int]
    sampling: SamplingConfig
    seen: Any
    unread: list[int] = field(default_factory=list)
    draws: int = 0


class Slots:
    """A fixed number of rows.

    Args:
        model: the model; nobody else may use it at the same time.
        capacity: rows.
    """

    def __init__(self, model: GPT, capacity: int) -> None:
        self.capacity = capacity
        self._model = model
        self._caches: list[KVCache] = [model.new_cache(1) for _ in range(capacity)]
        self._rows: dict[int, _Row] = {}
        self._drawn = model.backend.empty((1,), np.int32)

    @property
    def free(self) -> int:
        """How many rows could be added."""
        return self.capacity - len(self._rows)

    def add(self, ids: list[int], sampling: SamplingConfig) -> int:
        """Begin a text after a prompt of 1 … S ids; return the number of its row."""
        slot = next(number for number in range(self.capacity) if number not in self._rows)
        model = self._model
        seen = None
        if sampling.repetition_penalty != 1:
            occurred = np.zeros((1, model.config.vocab_size), np.uint8)
            occurred[0, ids] = 1
            seen = model.backend.from_numpy(occurred)
        self._caches[slot].length = 0
        self._rows[slot] = _Row(list(ids), sampling, seen, list(ids[-model.config.max_seq_len :]))
        return slot

    def remove(self, slot: int) -> None:
        """End a text; its row is free."""
        del self._rows[slot]

    def step(self, wanted: Collection[int] = ()) -> dict[int, tuple[int, np.ndarray | None]]:
        """Draw one token for every row.

        Args:
            wanted: rows whose logits are to be given out.

        Returns:
            row -> (the token, its logits (V,) before any filter, or None).
        """
        return {slot: self._draw(slot, slot in wanted) for slot in list(self._rows)}

    def _draw(self, slot: int, wanted: bool) -> tuple[int, np.ndarray | None]:
        row, cache, model = self._rows[slot], self._caches[slot], self._model
        if cache.length == cache.capacity:  # as in `hipgpt_model.generate`
            cache.length = 0
            row.unread = row.ids[-max(cache.capacity // 2, 1) :]
        tokens = model.backend.from_numpy(np.array([row.unread], np.int32))  # (1, T)
        logits = model.forward_cached(tokens, cache)  # (1, V)
        given = as_float32(model.backend, logits)[0] if wanted else None  # (V,)
        sampling = row.sampling
        model.backend.sample(
            logits,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            min_p=sampling.min_p,
            repetition_penalty=sampling.repetition_penalty,
            seen=row.seen,
            seed=sampling.seed,
            position=row.draws,
            out=self._drawn,
        )
        token = int(model.backend.to_numpy(self._drawn)[0])
        row.draws += 1
        row.ids.append(token)
        row.unread = [token]
        return token, given
