"""Several texts at once, each with a prompt, a length and choices of its own.

`BatchGenerator` has a fixed number of slots, rows of one KV cache. `add` takes a prompt into a free
one, `step` gives out the next tokens of all, `remove` ends a text early. The odd thing: on a GPU
tokens are launched some steps before they are given out, so that the device never waits; what was
launched for a text that has ended by then is dropped here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np

from hipgpt_kernels.decode_loop import RowSampling
from hipgpt_model.rows import borrow, give_back

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hipgpt_model.generate import SamplingConfig
    from hipgpt_model.gpt import GPT

End: TypeAlias = Literal["", "stop", "length"]

TOKENS_AT_ONCE = 8192
"""Of the prompts that are read together, the padding counted."""


class Drawn(NamedTuple):
    """What a step has brought for one slot."""

    slot: int
    token: int | None
    """The next id of the text; None where the text ended at a stop id, which is not given out."""
    ended: End
    """ "" while it goes on; "stop": at a stop id; "length": `num_tokens` were drawn. A slot whose
    text has ended is free."""


@dataclass
class _Text:
    """The text of a slot.

    Attributes:
        ids: the prompt and what was given out.
        given: how many tokens were given out.
        first: number of the launch that drew its first token since it was last read.
        launched: draws that were launched, given out or not.
        length: tokens in its row of the cache once all launches are done.
        unread: it waits for its ids to be read: from the beginning, or since the cache was full.
    """

    ids: list[int]
    sampling: SamplingConfig
    given: int = 0
    first: int = 0
    launched: int = 0
    length: int = 0
    unread: bool = True


class BatchGenerator:
    """Draws tokens for several texts at once.

    Row by row the ids are those of `generate` with the same prompt and sampling, but for rounding:
    products of several rows may add up in another order than those of one.

    Args:
        model: the model; nobody else may use it during a call.
        slots: how many texts at once. Each takes 2 · L · S · E numbers of the model's dtype.
        read_at_once: tokens of prompts that are read together, their padding counted; 0: one
            prompt at a time. Then the CPU's own decoding rounds as it does for one text alone.

    Raises:
        ValueError: slots is less than 1.

    Example:
        ```python
        batch = BatchGenerator(model, slots=8)
        slot = batch.add([1, 2, 3], SamplingConfig(num_tokens=20))
        while batch.texts:
            for drawn in batch.step():
                ...
        ```
    """

    def __init__(self, model: GPT, slots: int, *, read_at_once: int = TOKENS_AT_ONCE) -> None:
        if slots < 1:
            raise ValueError(f"slots must be at least 1; got {slots}")
        self.model = model
        self.slots = slots
        self._rows = borrow(model, slots)
        self._loop, self._capacity = self._rows.loop, self._rows.capacity  # S
        self._read_at_once = read_at_once
        self._texts: dict[int, _Text] = {}
        self._launches = self._taken = 0

    @property
    def texts(self) -> int:
        """How many texts there are that have not ended."""
        return len(self._texts)

    @property
    def free(self) -> int:
        """How many texts could be added."""
        return self.slots - len(self._texts)

    def add(self, prompt_ids: Sequence[int], sampling: SamplingConfig) -> int:
        """Begin a text; its prompt is read, with others', at the next `step`.

        Args:
            prompt_ids: at least one id; of more than S the last S count.
            sampling: how its tokens are chosen; `num_tokens` at least 1.

        Returns:
            Its slot, the lowest that is free.

        Raises:
            ValueError: no slot is free, the prompt is empty or holds an id outside the vocabulary,
                or no token is asked for.
        """
        if not self.free:
            raise ValueError(
                f"all {self.slots} slots are taken; wait for a text to end, or remove one"
            )
        if sampling.num_tokens < 1:
            raise ValueError("num_tokens must be at least 1 for a text of a batch; got 0")
        ids = checked_prompt(self.model, prompt_ids)
        slot = next(number for number in range(self.slots) if number not in self._texts)
        self._texts[slot] = _Text(ids, sampling, first=self._launches)
        return slot

    def remove(self, slot: int) -> None:
        """End a text now; its slot is free. Nothing more of it is given out.

        Raises:
            KeyError: there is no text in that slot.
        """
        del self._texts[slot]
        self._loop.end(slot)

    def logits(self, slot: int) -> np.ndarray:
        """(V,) float32: what the next token of a text will be drawn from, before any filter.

        Only where nothing is launched that was not given out: call `step` with ahead=1 from the
        beginning. Reads the text's prompt if that has not happened.

        Raises:
            RuntimeError: tokens of the text are launched already.
        """
        if self._launches != self._taken:
            raise RuntimeError("tokens are launched ahead; step with ahead=1 to see the logits")
        self._read_prompts()
        self._loop.settle()
        row: np.ndarray = self.model.backend.to_numpy(self._loop.logits(slot))[0]
        return row.astype(np.float32, copy=False)

    def settle(self) -> list[Drawn]:
        """Give out what is launched, oldest first, and launch nothing: then `logits` can be seen.

        Raises:
            FloatingPointError: as `step`.
        """
        drawn: list[Drawn] = []
        while self._taken < self._launches:
            drawn += self._take_or_give_up()
        return drawn

    def step(self, ahead: int | None = None) -> list[Drawn]:
        """The next tokens: at most one for each text, at least one in all while there are texts.

        Args:
            ahead: how many steps may be launched before the first is given out; None: as many as
                the backend likes. 1 lets a new text take part at once, and the device wait.

        Raises:
            FloatingPointError: some logits are not finite; all texts are given up.
        """
        most = self._loop.ahead if ahead is None else max(1, min(ahead, self._loop.ahead))
        while self._texts:
            self._read_prompts()
            while self._launches - self._taken < most and self._launch():
                pass
            if drawn := self._take_or_give_up():
                return drawn
        return []

    def close(self) -> None:
        """Give up what texts there are. The model may keep the rows; nothing can follow here."""
        for slot in list(self._texts):
            self.remove(slot)
        try:
            self.settle()
        except FloatingPointError:
            return  # of a text that nobody waits for; its rows are not kept
        give_back(self.model, self._rows)

    # --- launching ------------------------------------------------------------------------------

    def _launch(self) -> bool:
        """Launch a draw of every text that can take one; False where none can."""
        ready = [
            text
            for text in self._texts.values()
            if not text.unread and text.launched < text.sampling.num_tokens
        ]
        if not ready:
            return False
        self._loop.launch()
        self._launches += 1
        for text in ready:
            text.launched += 1
            if text.length == self._capacity:
                text.unread = True  # this draw was its last until the text is read anew
            text.length += 1
        return True

    def _take_or_give_up(self) -> list[Drawn]:
        try:
            return self._take()
        except FloatingPointError:
            for slot in list(self._texts):
                self.remove(slot)
            raise

    def _take(self) -> list[Drawn]:
        """What the oldest launch has drawn."""
        number = self._taken
        self._taken += 1
        ids = self._loop.take()
        drawn = []
        for slot, text in list(self._texts.items()):
            token = int(ids[slot])
            if token < 0 or number < text.first:
                continue  # it took no part, or its slot was another text's then
            text.given += 1
            text.ids.append(token)
            ended: End = ""
            if token in text.sampling.stop_ids:
                ended = "stop"
            elif text.given == text.sampling.num_tokens:
                ended = "length"
            if ended:
                del self._texts[slot]
            drawn.append(Drawn(slot, None if ended == "stop" else token, ended))
        return drawn

    # --- prompts --------------------------------------------------------------------------------

    def _read_prompts(self) -> None:
        """Read what is unread: new prompts, and texts whose cache is full and all given out."""
        waiting = [
            slot
            for slot, text in sorted(self._texts.items())
            if text.unread and text.given == text.launched
        ]
        for group in self._groups(waiting):
            pieces = [self._piece(self._texts[slot]) for slot in group]
            self._rows.read(group[0], pieces, self.model.arena)
            for slot, piece in zip(group, pieces, strict=True):
                self._begin(slot, len(piece))

    def _piece(self, text: _Text) -> list[int]:
        """What is read of a text: its last S tokens at first, S // 2 whenever the cache is full."""
        return text.ids[-self._capacity :] if not text.given else text.ids[-self._half :]

    @property
    def _half(self) -> int:
        return max(self._capacity // 2, 1)

    def _groups(self, slots: list[int]) -> list[list[int]]:
        """Neighbouring slots whose texts are read together, padded to the longest."""
        groups: list[list[int]] = []
        longest = 0
        for slot in slots:
            length = min(len(self._texts[slot].ids), self._capacity)
            longest = max(longest, length)
            if (
                groups
                and slot == groups[-1][-1] + 1
                and longest * (len(groups[-1]) + 1) <= self._read_at_once
            ):
                groups[-1].append(slot)
            else:
                groups.append([slot])
                longest = length
        return groups

    def _begin(self, slot: int, length: int) -> None:
        """Let a text draw whose cache row holds `length` tokens now."""
        text, sampling = self._texts[slot], self._texts[slot].sampling
        text.unread, text.length, text.first = False, length, self._launches
        penalised = sampling.repetition_penalty != 1
        self._loop.begin(
            slot,
            length,
            RowSampling(
                temperature=sampling.temperature,
                top_k=sampling.top_k,
                top_p=sampling.top_p,
                min_p=sampling.min_p,
                repetition_penalty=sampling.repetition_penalty,
                seed=sampling.seed,
                draw=text.given,
                remaining=sampling.num_tokens - text.given,
                stop_ids=sampling.stop_ids,
                seen=tuple(set(text.ids)) if penalised else (),
            ),
        )


def checked_prompt(model: GPT, prompt_ids: Sequence[int]) -> list[int]:
    """The ids as a list of Python's integers.

    Raises:
        ValueError: there is none, or one is outside the vocabulary.
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
    return [int(token) for token in prompt_ids]
