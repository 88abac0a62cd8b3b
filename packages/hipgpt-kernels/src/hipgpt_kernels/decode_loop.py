"""Token after token for several rows: the interface, and the loop for a backend without its own.

Rows are slots of one KV cache. `begin` gives a row its first logits and how to draw; each `launch`
draws a token for every live row and has it read; `take` hands out what was drawn, oldest first. The
odd thing: `take` may lag behind `launch` as far as `ahead` says, so that a device never waits for
its host; a row that has come to its end draws nothing, so what is launched in vain does no harm.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hipgpt_kernels.backend import Array, Backend
    from hipgpt_kernels.decoder import Decoder


NOTHING, NOT_FINITE = -1, -2
"""What stands for the id of a row that drew none, and of one whose logits were not finite."""


@dataclass(frozen=True)
class RowSampling:
    """How one row draws; the fields of `Backend.sample`, and where it ends.

    A row draws as row 0 of `Backend.sample` with this seed does, wherever it stands.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0
    draw: int = 0  # `position` of the first draw; it grows by one with each
    remaining: int = 1  # draws until the row ends, at least 1
    stop_ids: frozenset[int] = field(default_factory=frozenset)  # a drawn id in it ends the row
    seen: tuple[int, ...] = ()  # ids that have occurred, for the penalty; drawn ids are added


class DecodeLoop(ABC):
    """Rows 0 … B − 1 that draw token after token; made by `Backend.decode_loop`."""

    rows: int
    """B."""
    ahead: int
    """How many launches may wait to be taken. More would overwrite what was not taken yet."""

    @abstractmethod
    def logits(self, first: int, count: int = 1) -> Array:
        """(count, V), rows `first` …: what a next draw comes from.

        Whoever has read a row's prompt writes the logits of its last token here before `begin`.
        Else they are those of the last launch once `settle` was called.
        """

    @abstractmethod
    def settle(self) -> None:
        """Have every drawn token read, where `launch` has put that off."""

    @abstractmethod
    def begin(self, row: int, length: int, sampling: RowSampling) -> None:
        """Start a row: its cache holds `length` tokens and `logits(row)` what follows them."""

    @abstractmethod
    def end(self, row: int) -> None:
        """No further draw for a row. What was launched already may still bring ids of it."""

    @abstractmethod
    def launch(self) -> None:
        """Draw one token for every live row, and read it.

        A row whose id is in stop_ids, or that has drawn `remaining` of them, ends; so does one
        whose cache was full, after that draw: only `begin` can revive it.
        """

    def take(self) -> np.ndarray:
        """(B,) int32: the ids that the oldest untaken launch drew, −1 for rows that drew none.

        Raises:
            FloatingPointError: a row's logits were not finite; it has ended.
        """
        ids = self._oldest()
        if ids.min() == NOT_FINITE:
            raise FloatingPointError(
                f"the logits of row {int(ids.argmin())} are not finite; the weights have "
                "overflowed or are damaged"
            )
        return ids

    @abstractmethod
    def _oldest(self) -> np.ndarray:
        """(B,) int32: what the oldest untaken launch has left, NOTHING and NOT_FINITE too."""


@dataclass
class _Row:
    """The state of a live row."""

    sampling: RowSampling
    length: int  # tokens in the cache, without the drawn one
    draws: int = 0
    token: int | None = None  # drawn, not yet read
    seen: Any = None  # (1, V) uint8 or None


class HostLoop(DecodeLoop):
    """The loop in Python over `decode_step` and `sample`: for backends whose work is done at once.

    A drawn token is read only when the next one is wanted, so that the last is not read in vain.
    """

    ahead = 1

    def __init__(
        self, backend: Backend, decoder: Decoder, keys: Sequence[Array], values: Sequence[Array]
    ) -> None:
        self.backend = backend
        self.decoder = decoder
        self.keys, self.values = keys, values
        self.rows = keys[0].shape[0]
        self.vocab_size, self.capacity, _, _ = decoder.sizes
        dtype = decoder.token_table.dtype
        self._logits = backend.empty((self.rows, self.vocab_size), dtype)  # (B, V)
        self._live: dict[int, _Row] = {}
        self._drawn: deque[np.ndarray] = deque()
        self._one = backend.empty((1,), np.int32)

    def logits(self, first: int, count: int = 1) -> Array:
        """See `DecodeLoop.logits`."""
        return self._logits[first : first + count]

    def begin(self, row: int, length: int, sampling: RowSampling) -> None:
        """See `DecodeLoop.begin`."""
        seen = None
        if sampling.repetition_penalty != 1:
            occurred = np.zeros((1, self.vocab_size), np.uint8)
            occurred[0, list(sampling.seen)] = 1
            seen = self.backend.from_numpy(occurred)
        self._live[row] = _Row(sampling, length, seen=seen)

    def end(self, row: int) -> None:
        """See `DecodeLoop.end`."""
        self._live.pop(row, None)

    def launch(self) -> None:
        """See `DecodeLoop.launch`."""
        self.settle()
        ids = np.full(self.rows, NOTHING, np.int32)
        for number, row in list(self._live.items()):
            row.token = ids[number] = self._draw(number, row)
            row.draws += 1
            if (
                row.token in {NOT_FINITE, *row.sampling.stop_ids}
                or row.draws == row.sampling.remaining
                or row.length == self.capacity
            ):
                del self._live[number]
        self._drawn.append(ids)

    def _oldest(self) -> np.ndarray:
        return self._drawn.popleft()

    def _draw(self, number: int, row: _Row) -> int:
        """Draw one row's id from its logits."""
        sampling = row.sampling
        try:
            self.backend.sample(
                self.logits(number),
                temperature=sampling.temperature,
                top_k=sampling.top_k,
                top_p=sampling.top_p,
                min_p=sampling.min_p,
                repetition_penalty=sampling.repetition_penalty,
                seen=row.seen,
                seed=sampling.seed,
                position=sampling.draw + row.draws,
                out=self._one,
            )
            return int(self.backend.to_numpy(self._one)[0])
        except FloatingPointError:
            return NOT_FINITE

    def settle(self) -> None:
        """See `DecodeLoop.settle`: one step over the rows that have a token which was not read.

        Rows from the first of them to the last take part, so that a lone one costs no more than
        itself wherever it stands.
        """
        waiting = {number: row for number, row in self._live.items() if row.token is not None}
        if not waiting:
            return
        first, last = min(waiting), max(waiting)
        some = slice(first, last + 1)
        tokens = np.zeros(last + 1 - first, np.int32)
        positions = np.full(last + 1 - first, -1, np.int32)
        fresh: list[int] = []  # their logits are still to be drawn from
        for number in range(first, last + 1):
            row = waiting.get(number)
            if row is None:
                if number in self._live:
                    fresh.append(number)
                continue
            tokens[number - first], positions[number - first] = row.token or 0, row.length
            row.length += 1
            row.token = None
        kept = {number: self.backend.to_numpy(self.logits(number)) for number in fresh}
        self.backend.decode_step(
            self.decoder,
            [keys[some] for keys in self.keys],
            [values[some] for values in self.values],
            self.backend.from_numpy(tokens, copy=False),
            self.backend.from_numpy(positions, copy=False),
            out=self._logits[some],
        )
        for number, logits in kept.items():
            self.backend.copy(self.logits(number), logits)
