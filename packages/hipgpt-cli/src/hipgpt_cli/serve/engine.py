"""The engine: one thread that owns the model and writes the texts of all requests together.

Texts wait in a queue, get a row when one is free, and give it up when they end, are cancelled, or
have taken too long. The odd thing: the model is used by this thread alone, so nothing of it is
locked; requests and pieces are all that other threads hand in and get back.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hipgpt_cli.serve.logprobs import TokenScore, as_float32, score
from hipgpt_cli.serve.problems import ApiError
from hipgpt_cli.serve.tickets import Ticket, TicketQueue, shutting_down

if TYPE_CHECKING:
    from hipgpt_cli.serve.answer import Answer, Piece
    from hipgpt_cli.serve.limits import Limits
    from hipgpt_cli.serve.slots import Slots, Token
    from hipgpt_model.gpt import GPT

PREFILL_TOKENS = 512
"""Prompt tokens that are read before the rows that are being written get their next token."""

SCORED_LOGITS = 1 << 22
"""Logits that are copied from the device at once where a whole prompt is scored: 16 MB."""


@dataclass
class Counts:
    """What has happened since the start, for /metrics."""

    requests: int = 0
    refused: int = 0
    cancelled: int = 0
    timed_out: int = 0
    failed: int = 0
    texts: int = 0
    prompt_tokens: int = 0
    tokens: int = 0
    steps: int = 0
    busy_s: float = 0.0


@dataclass(frozen=True)
class _Row:
    """A text that is being written."""

    ticket: Ticket
    answer: Answer
    began: float


class Engine:
    """Writes texts until it is stopped.

    Args:
        model: used by the engine's thread alone.
        slots: the rows.
        limits: of queue and time.

    Attributes:
        counts: for people who watch the server.
    """

    def __init__(self, model: GPT, slots: Slots, limits: Limits) -> None:
        self.counts = Counts()
        self._model = model
        self._slots = slots
        self._limits = limits
        self._queue = TicketQueue(limits.queue)
        self._rows: dict[int, _Row] = {}
        self._row_s = 0.0  # running mean of how long a text holds its row
        self._thread = threading.Thread(target=self._run, name="hipgpt-engine", daemon=True)

    # --- called from any thread ---------------------------------------------------------------

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """End every request with status 503, and the thread."""
        self._queue.close()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether texts are being written."""
        return self._thread.is_alive() and not self._queue.closed

    @property
    def running(self) -> int:
        """Texts that hold a row."""
        return len(self._rows)

    @property
    def waiting(self) -> int:
        """Texts that wait for a row."""
        return len(self._queue)

    def submit(self, ticket: Ticket) -> None:
        """Put a request into the queue.

        Raises:
            ApiError: 429, too many wait; 503, the engine has stopped.
        """
        try:
            self._queue.put(ticket, self._slots.capacity - len(self._rows), self._patience)
        except ApiError:
            self.counts.refused += 1
            raise
        self.counts.requests += 1

    def cancel(self, ticket: Ticket) -> None:
        """Nobody waits for this request any more: its rows will be free at the next step."""
        if self._queue.finish(ticket):
            self.counts.cancelled += 1

    def _patience(self, waiting: int) -> int:
        """Seconds after which there may be room: about the time of the texts that wait."""
        return min(60, 1 + int(self._row_s * waiting / self._slots.capacity))

    # --- the engine's thread ------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._wait():
                began = time.monotonic()
                self._sweep(began)
                try:
                    self._admit()
                    self._step()
                except Exception as error:  # noqa: BLE001 - one request must not end the server
                    self._fail(error, {row.ticket for row in self._rows.values()})
                    self._rows.clear()
                    self._slots.reset()
                self.counts.busy_s += time.monotonic() - began
        finally:
            self._queue.close()
            for ticket in self._all_tickets():
                self._end(ticket, shutting_down())

    def _wait(self) -> bool:
        """Sleep until there is something to do; False: the end has come."""
        with self._queue.changed:
            while not (self._queue.closed or self._rows or self._queue.tickets()):
                self._queue.changed.wait()
            return not self._queue.closed

    def _all_tickets(self) -> set[Ticket]:
        return {*self._queue.tickets(), *(row.ticket for row in self._rows.values())}

    def _end(self, ticket: Ticket, error: ApiError) -> bool:
        """End a request early; False: it had ended."""
        if not self._queue.finish(ticket):
            return False
        ticket.sink(error)
        return True

    def _sweep(self, now: float) -> None:
        """End the requests whose time is up; free the rows of those that are over."""
        for ticket in self._all_tickets():
            if now > ticket.deadline:
                self.counts.timed_out += self._end(
                    ticket,
                    ApiError(
                        504,
                        f"the request took more than {self._limits.seconds:g} s: ask for fewer "
                        "tokens or texts, or again when the server is less busy",
                        code="timeout",
                    ),
                )
        for slot in [slot for slot, row in self._rows.items() if row.ticket.over]:
            self._slots.remove(slot)
            self._free(slot)

    def _free(self, slot: int) -> None:
        row = self._rows.pop(slot)
        held = time.monotonic() - row.began
        self._row_s = held if self._row_s == 0 else 0.9 * self._row_s + 0.1 * held

    def _admit(self) -> None:
        """Give free rows to texts that wait, some prompt tokens at a time."""
        read = 0
        while self._slots.free and read < PREFILL_TOKENS and (turn := self._queue.next()):
            ticket, answer = turn
            if answer.wants_logits:
                self._settle(ticket)
            try:
                self._begin(ticket, answer)
            except Exception as error:  # noqa: BLE001 - it belongs to this request alone
                self._fail(error, {ticket})
            read += len(answer.ids)

    def _settle(self, ticket: Ticket) -> None:
        """Hand out all that is on its way, as a text with log-probabilities needs it to begin."""
        try:
            self._hand_out(self._slots.settle())
        except Exception as error:
            self._fail(error, {ticket})  # those that hold a row are seen to by the caller
            raise

    def _begin(self, ticket: Ticket, answer: Answer) -> None:
        """Give the prompt out where it is wanted; then a row to the text."""
        self.counts.prompt_tokens += len(answer.ids)
        if answer.echo:
            scored = answer.logprobs is not None
            piece = answer.begin(self._scores(answer.ids, answer.logprobs or 0) if scored else ())
            self._give(ticket, [piece])
            if piece.finish:
                return
        slot = self._slots.add(answer.ids, answer.sampling)
        self._rows[slot] = _Row(ticket, answer, time.monotonic())

    def _step(self) -> None:
        """One token for every row."""
        if not self._rows:
            return
        wanted = {slot for slot, row in self._rows.items() if row.answer.wants_logits}
        drawn = self._slots.step(wanted)
        self.counts.steps += 1
        self._hand_out(drawn)

    def _hand_out(self, drawn: list[Token]) -> None:
        """Make text of tokens, and give it to their requests."""
        self.counts.tokens += len(drawn)
        news: dict[Ticket, list[Piece]] = {}
        for token in drawn:
            row = self._rows.get(token.slot)
            if row is None:  # a stop string has ended it
                continue
            answer = row.answer
            # A stop id is not given out; there is one at most.
            id_ = next(iter(answer.sampling.stop_ids)) if token.id is None else token.id
            scored = None
            if token.logits is not None:
                scored = score(token.logits, id_, answer.logprobs or 0)
            piece = answer.take(id_, scored)
            if piece.finish:
                if not token.ended:
                    self._slots.remove(token.slot)
                self._free(token.slot)
            if piece.text or piece.scores or piece.finish:
                news.setdefault(row.ticket, []).append(piece)
        for ticket, pieces in news.items():
            self._give(ticket, pieces)

    def _give(self, ticket: Ticket, pieces: list[Piece]) -> None:
        """Hand out pieces; the last text's last piece ends the request."""
        finished = sum(piece.finish is not None for piece in pieces)
        self.counts.texts += finished
        ticket.unfinished -= finished
        if ticket.over:  # cancelled
            return
        if ticket.unfinished == 0:
            self._queue.finish(ticket)
        ticket.sink(pieces)

    def _scores(self, ids: list[int], count: int) -> list[TokenScore]:
        """A score for each id of a prompt of at most S; the first has none."""
        backend, V = self._model.backend, self._model.config.vocab_size
        logits = self._model.logits(backend.from_numpy(np.array([ids], np.int32)))[0]  # (T, V)
        scores = [TokenScore(ids[0], None, None)]
        last, some = len(ids) - 1, max(1, SCORED_LOGITS // V)
        for start in range(0, last, some):
            rows = as_float32(backend, logits[start : min(start + some, last)])  # (≤ some, V)
            scores += [score(row, ids[at], count) for at, row in enumerate(rows, start + 1)]
        return scores

    def _fail(self, error: Exception, tickets: set[Ticket]) -> None:
        """End requests with status 500."""
        reason = str(error)
        if not isinstance(error, FloatingPointError):
            reason = f"a defect in hipgpt, {type(error).__name__}: {error}"
        for ticket in tickets:
            self.counts.failed += self._end(ticket, ApiError(500, reason, code="failed"))
