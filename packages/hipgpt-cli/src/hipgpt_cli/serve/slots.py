"""The rows that are written at once, as the engine wants them: with logits where it asks for them.

The odd thing: on a GPU the next tokens are on their way before the last are given out, and then
nobody knows any more what they were drawn from; so while a text with log-probabilities is written,
all go step by step, and `settle` collects what is on its way before one begins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hipgpt_model.batch import TOKENS_AT_ONCE, BatchGenerator

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy as np

    from hipgpt_model.batch import Drawn
    from hipgpt_model.generate import SamplingConfig
    from hipgpt_model.gpt import GPT


class Token(NamedTuple):
    """A token of one row.

    Attributes:
        slot: the row.
        id: the token; None stands for a stop id.
        ended: the row is free.
        logits: (V,) what it was drawn from, before any filter; None where nobody wanted it.
    """

    slot: int
    id: int | None
    ended: bool
    logits: np.ndarray | None = None


class Slots:
    """A fixed number of rows.

    Args:
        model: the model; nobody else may use it at the same time.
        capacity: rows.
    """

    def __init__(self, model: GPT, capacity: int) -> None:
        self.capacity = capacity
        self._model = model
        self.reset()

    def reset(self) -> None:
        """Begin anew with every row free: after a failure nothing is certain about the old ones."""
        # A CPU gains little from reading prompts together; alone each is read as if nobody else
        # asked, to the last bit.
        read_at_once = 0 if self._model.backend.name == "cpu" else TOKENS_AT_ONCE
        self._batch = BatchGenerator(self._model, self.capacity, read_at_once=read_at_once)

    @property
    def free(self) -> int:
        """How many rows could be added."""
        return self._batch.free

    def add(self, ids: list[int], sampling: SamplingConfig) -> int:
        """Begin a text after a prompt of 1 … S ids; return the number of its row."""
        return self._batch.add(ids, sampling)

    def remove(self, slot: int) -> None:
        """End a text before its own end; its row is free."""
        self._batch.remove(slot)

    def settle(self) -> list[Token]:
        """The tokens that are on their way, without beginning others."""
        return [_token(drawn) for drawn in self._batch.settle()]

    def step(self, wanted: Collection[int] = ()) -> list[Token]:
        """The next tokens, at most one for every row.

        Args:
            wanted: rows whose logits are to be given out; all of them were added after `settle`,
                and were wanted in every step since.
        """
        if not wanted:
            return [_token(drawn) for drawn in self._batch.step()]
        logits = {slot: self._batch.logits(slot) for slot in wanted}
        return [_token(drawn, logits.get(drawn.slot)) for drawn in self._batch.step(ahead=1)]


def _token(drawn: Drawn, logits: np.ndarray | None = None) -> Token:
    return Token(drawn.slot, drawn.token, bool(drawn.ended), logits)
