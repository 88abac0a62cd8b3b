"""From the engine's thread to a client: pieces of text as they come, or all at once.

The odd thing: a request is cancelled as soon as its client has gone, streamed or not, because the
row of the cache that it holds is what the next request waits for.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from hipgpt_cli.serve.events import DONE, QUIET_S, disconnected, event
from hipgpt_cli.serve.problems import ApiError
from hipgpt_cli.serve.responses import count_usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from hipgpt_cli.serve.answer import Answer, Piece
    from hipgpt_cli.serve.responses import Completion
    from hipgpt_cli.serve.schemas import CompletionRequest


def sink(news: asyncio.Queue[list[Piece] | ApiError]) -> Any:
    """A function for the engine's thread that puts news into the event loop's queue."""
    loop = asyncio.get_running_loop()

    def sink(what: list[Piece] | ApiError) -> None:
        try:
            loop.call_soon_threadsafe(news.put_nowait, what)
        except RuntimeError:  # the loop is closed: nobody is left to be told
            return

    return sink


async def gather(news: asyncio.Queue[list[Piece] | ApiError], count: int) -> list[list[Piece]]:
    """Wait for the end of all texts; the pieces of each.

    Raises:
        ApiError: the request failed.
    """
    texts: list[list[Piece]] = [[] for _ in range(count)]
    unfinished = count
    while unfinished:
        what = await news.get()
        if isinstance(what, ApiError):
            raise what
        for piece in what:
            texts[piece.index].append(piece)
            unfinished -= piece.finish is not None
    return texts


async def unless_disconnected(request: Request, work: Any, cancel: Any) -> Any:
    """The result of the work; where the client goes away first, the request is cancelled."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(disconnected(request.receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ApiError(499, "the client closed the connection")
        return working.result()
    finally:
        cancel()
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def events(
    asked: CompletionRequest,
    completion: Completion,
    answers: list[Answer],
    prompts: list[list[int]],
    news: asyncio.Queue[list[Piece] | ApiError],
) -> AsyncIterator[bytes]:
    """The events of a stream, those that have come meanwhile together."""
    chunk = partial(completion.chunk, with_usage=asked.include_usage, usage=None)
    unfinished = len(answers)
    while unfinished:
        try:
            async with asyncio.timeout(QUIET_S):
                what = await news.get()
        except TimeoutError:
            yield b""
            continue
        if isinstance(what, ApiError):
            yield event(what.body())
            return
        unfinished -= sum(piece.finish is not None for piece in what)
        yield b"".join(event(chunk(piece)) for piece in what)
    if asked.include_usage:
        usage = count_usage(answers, prompts)
        yield event(completion.chunk(None, with_usage=True, usage=usage))
    yield DONE


def best(
    texts: list[list[Piece]], answers: list[Answer], asked: CompletionRequest
) -> list[list[Piece]]:
    """Of each prompt's best_of texts the n with the highest log-probability a token."""
    kept: list[list[Piece]] = []
    for start in range(0, len(texts), asked.best_of):
        some = range(start, start + asked.best_of)
        ranked = sorted(some, key=lambda i: -answers[i].logprob / max(answers[i].tokens, 1))
        kept += [texts[i] for i in ranked[: asked.n]]
    return kept
