"""How much one client may ask for, and all of them together; `hipgpt serve` sets these numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of the server; each has an option of `hipgpt serve`.

    Attributes:
        rows: texts that are written at once; each holds a row of the KV cache.
        queue: texts that wait for a row; more are refused with status 429.
        tokens: most `max_tokens` of a request.
        request_rows: most texts of one request: prompts × max(n, best_of).
        seconds: most time for a request, its waiting included.
        body_bytes: most bytes of a request's body.
        body_seconds: most time for the body to arrive.
        stops: most stop strings, and the most characters of one is stop_characters.
        stop_characters: see stops.
        logprobs: most alternatives for each token.
    """

    rows: int = 16
    queue: int = 256
    tokens: int = 4096
    request_rows: int = 128
    seconds: float = 600.0
    body_bytes: int = 1 << 20
    body_seconds: float = 30.0
    stops: int = 16
    stop_characters: int = 1000
    logprobs: int = 20

    @property
    def most_texts(self) -> int:
        """Most texts of one request: more than rows and queue hold could never be taken."""
        return min(self.request_rows, self.rows + self.queue)
