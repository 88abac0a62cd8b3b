"""Requests on their way into the engine: who waits, whose turn it is, who is refused.

The odd thing: requests take turns, not texts, so that a request for a hundred texts does not keep
one for a single text waiting.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hipgpt_cli.serve.problems import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from hipgpt_cli.serve.answer import Answer, Piece


@dataclass(eq=False)
class Ticket:
    """A request in the engine.

    Args:
        answers: its texts.
        sink: called in the engine's thread with pieces, or with the error that ends the request;
            must return at once.
        deadline: on the clock of time.monotonic.

    Attributes:
        waiting: answers that have not begun.
        unfinished: how many answers have not ended.
        over: nothing more will be given to the sink.
    """

    answers: list[Answer]
    sink: Callable[[list[Piece] | ApiError], None]
    deadline: float
    waiting: deque[Answer] = field(init=False)
    unfinished: int = field(init=False)
    over: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.waiting = deque(self.answers)
        self.unfinished = len(self.answers)


class TicketQueue:
    """The tickets with texts that wait. Every method may be called from any thread.

    Args:
        limit: texts that may wait.

    Attributes:
        changed: notified when there is something to do; its lock guards the queue and `over`.
        closed: no ticket is taken any more.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.changed = threading.Condition(threading.RLock())
        self.closed = False
        self._tickets: deque[Ticket] = deque()

    def __len__(self) -> int:
        """Texts that wait."""
        with self.changed:
            return sum(len(ticket.waiting) for ticket in self._tickets if not ticket.over)

    def put(self, ticket: Ticket, free: int, patience: Callable[[int], int]) -> None:
        """Let a ticket wait.

        Args:
            ticket: the ticket.
            free: texts that need not wait, since there are rows for them.
            patience: texts that wait -> seconds after which it is worth asking again.

        Raises:
            ApiError: 429, too many wait; 503, the queue is closed.
        """
        with self.changed:
            if self.closed:
                raise shutting_down()
            waiting = len(self)
            if waiting + len(ticket.answers) > self.limit + free:
                raise ApiError(
                    429,
                    f"the server is busy and {waiting} texts wait for their turn, of at most "
                    f"{self.limit}: ask again later",
                    kind="requests",
                    code="rate_limit_exceeded",
                    retry_after=patience(waiting),
                )
            self._tickets.append(ticket)
            self.changed.notify_all()

    def next(self) -> tuple[Ticket, Answer] | None:
        """The next text; its ticket goes to the end of the queue. None: nobody waits."""
        with self.changed:
            while self._tickets:
                ticket = self._tickets.popleft()
                if ticket.over or not ticket.waiting:
                    continue
                answer = ticket.waiting.popleft()
                if ticket.waiting:
                    self._tickets.append(ticket)
                return ticket, answer
        return None

    def tickets(self) -> list[Ticket]:
        """The tickets with texts that wait; those that are over are forgotten."""
        with self.changed:
            self._tickets = deque(ticket for ticket in self._tickets if not ticket.over)
            return list(self._tickets)

    def finish(self, ticket: Ticket) -> bool:
        """Mark a ticket as over; return whether it was not so before."""
        with self.changed:
            if ticket.over:
                return False
            ticket.over = True
            self.changed.notify_all()
            return True

    def close(self) -> None:
        """Take no more tickets."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()


def shutting_down() -> ApiError:
    """What a request is told that comes, or is still here, at the end."""
    return ApiError(503, "the server is shutting down", code="shutting_down", retry_after=5)
