"""Server-sent events: a response that goes out piece by piece, and knows when nobody listens.

The odd thing: this is no StreamingResponse of Starlette, which leaves it to the garbage collector
when the source of the pieces learns that the client is gone; here that frees a row of the cache.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from starlette.responses import Response

from hipgpt_cli.serve.responses import dump

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.types import Receive, Scope, Send

QUIET_S = 15.0
"""After so long without a piece a comment is sent, lest something between closes the connection."""

DONE = b"data: [DONE]\n\n"


def event(value: object) -> bytes:
    """One event: a JSON object."""
    return b"data: " + dump(value) + b"\n\n"


class EventStream(Response):
    """A response of events.

    Args:
        source: gives bytes of whole events; b"" where nothing has happened for a while.
        closed: called once when the response has ended, however it did.
    """

    def __init__(self, source: AsyncIterator[bytes], closed: Callable[[], None]) -> None:
        super().__init__(media_type="text/event-stream")
        del self.headers["content-length"]
        self.headers["cache-control"] = "no-store"
        self.headers["x-accel-buffering"] = "no"
        self._source = source
        self._closed = closed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send until the source or the client ends."""
        sending = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(disconnected(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                await sending  # raises what it raised
        finally:
            self._closed()
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    async def _send(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        with suppress(OSError):  # the client is gone
            await send(start)
            async for data in self._source:
                body = data or b": still here\n\n"
                await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def disconnected(receive: Receive) -> None:
    """Return when the client has gone; its body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass
