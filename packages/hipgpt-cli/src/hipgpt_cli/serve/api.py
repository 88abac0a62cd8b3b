"""The ASGI application: the endpoints, and how each way to fail becomes a status and JSON.

The odd thing: the engine lives as long as the application, whose lifespan starts and stops it.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from hipgpt_cli.serve import metrics, static
from hipgpt_cli.serve.answer import Answer
from hipgpt_cli.serve.body import read_json
from hipgpt_cli.serve.delivery import best, events, gather, sink, unless_disconnected
from hipgpt_cli.serve.events import EventStream
from hipgpt_cli.serve.problems import ApiError
from hipgpt_cli.serve.prompts import QUICK_CHARACTERS, PromptReader
from hipgpt_cli.serve.responses import Completion, count_usage, dump
from hipgpt_cli.serve.schemas import CompletionRequest, parse
from hipgpt_cli.serve.tickets import Ticket
from hipgpt_model.generate import SamplingConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from hipgpt_cli.serve.answer import Piece
    from hipgpt_cli.serve.engine import Engine
    from hipgpt_cli.serve.limits import Limits
    from hipgpt_tokenizer import Tokenizer


@dataclass(frozen=True)
class Service:
    """What the endpoints serve.

    Attributes:
        name: the model's, for clients.
        created: when it was trained or saved, seconds since 1970.
        facts: more about the model, for the page and /v1/models.
    """

    engine: Engine
    tokenizer: Tokenizer
    limits: Limits
    name: str
    created: int
    context: int
    facts: dict[str, Any]


def make_app(service: Service) -> Starlette:
    """The application; its lifespan starts and stops the engine."""
    endpoints = _Endpoints(service)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:  # noqa: ARG001
        service.engine.start()
        try:
            yield
        finally:
            await asyncio.to_thread(service.engine.stop)

    routes = [
        Route("/v1/models", endpoints.models),
        Route("/v1/models/{name:path}", endpoints.model),
        Route("/v1/completions", endpoints.completions, methods=["POST"]),
        Route("/v1/chat/completions", endpoints.chat, methods=["POST"]),
        Route("/health", endpoints.health),
        Route("/metrics", endpoints.metrics),
        *static.routes(),
    ]
    return Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={
            ApiError: _api_error,
            HTTPException: _http_error,
            Exception: _defect,
        },
    )


class _Endpoints:
    def __init__(self, service: Service) -> None:
        self.service = service
        self.prompts = PromptReader(service.tokenizer, service.context)

    async def models(self, request: Request) -> Response:  # noqa: ARG002
        return _json({"object": "list", "data": [self._model()]})

    async def model(self, request: Request) -> Response:
        self._check_name(request.path_params["name"])
        return _json(self._model())

    async def health(self, request: Request) -> Response:  # noqa: ARG002
        engine = self.service.engine
        status = "ok" if engine.alive else "stopped"
        state = {"status": status, "running": engine.running, "waiting": engine.waiting}
        return _json(state, 200 if engine.alive else 503)

    async def metrics(self, request: Request) -> Response:  # noqa: ARG002
        text = metrics.exposition(self.service.engine)
        return Response(text, headers={"content-type": metrics.CONTENT_TYPE})

    async def chat(self, request: Request) -> Response:  # noqa: ARG002
        raise ApiError(
            404,
            "there is no chat here: the model continues text and knows no roles; send the text of "
            "the dialogue to /v1/completions, with a stop string before the next speaker's name",
            code="unsupported_endpoint",
        )

    async def completions(self, request: Request) -> Response:
        service = self.service
        asked = parse(await read_json(request, service.limits), service.limits)
        if asked.model is not None:
            self._check_name(asked.model)
        prompts = await self._read_prompts(asked)
        answers = self._answers(asked, prompts)
        completion = Completion(
            service.name,
            service.tokenizer,
            logprobs=asked.logprobs is not None,
            top=bool(asked.logprobs),
        )
        news: asyncio.Queue[list[Piece] | ApiError] = asyncio.Queue()
        ticket = Ticket(answers, sink(news), time.monotonic() + service.limits.seconds)
        service.engine.submit(ticket)
        cancel = partial(service.engine.cancel, ticket)
        if asked.stream:
            return EventStream(events(asked, completion, answers, prompts, news), cancel)
        texts = await unless_disconnected(request, gather(news, len(answers)), cancel)
        if asked.best_of > asked.n:
            texts = best(texts, answers, asked)
        return _json(completion.whole(texts, count_usage(answers, prompts)))

    async def _read_prompts(self, asked: CompletionRequest) -> list[list[int]]:
        def read() -> list[list[int]]:
            return [self.prompts.read(prompt, asked.truncate) for prompt in asked.prompts]

        if sum(map(len, asked.prompts)) <= QUICK_CHARACTERS:
            return read()
        return await asyncio.to_thread(read)

    def _answers(self, asked: CompletionRequest, prompts: list[list[int]]) -> list[Answer]:
        """The texts of a request: of each prompt best_of, one after the other."""
        eot = self.service.tokenizer.eot_id
        sampling = SamplingConfig(
            num_tokens=asked.max_tokens,
            temperature=asked.temperature,
            top_k=asked.top_k,
            top_p=asked.top_p,
            min_p=asked.min_p,
            repetition_penalty=asked.repetition_penalty,
            stop_ids=frozenset() if asked.ignore_eos or eot is None else frozenset({eot}),
        )
        return [
            Answer(
                place * asked.best_of + choice,
                ids,
                replace(sampling, seed=(asked.seed + choice) % 2**64),
                self.service.tokenizer,
                stops=asked.stops,
                echo=asked.echo,
                logprobs=asked.logprobs,
                ranked=asked.best_of > asked.n,
            )
            for place, ids in enumerate(prompts)
            for choice in range(asked.best_of)
        ]

    def _model(self) -> dict[str, Any]:
        service = self.service
        return {
            "id": service.name,
            "object": "model",
            "created": service.created,
            "owned_by": "hipgpt",
            "max_model_len": service.context,
            **service.facts,
        }

    def _check_name(self, name: str) -> None:
        if name != self.service.name:
            raise ApiError(
                404,
                f"there is no model {name[:100]!r} here; this server has {self.service.name!r}",
                param="model",
                code="model_not_found",
            )


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(dump(value), status, headers, media_type="application/json")


async def _api_error(request: Request, error: Exception) -> Response:  # noqa: ARG001
    assert isinstance(error, ApiError)
    return _json(error.body(), error.status, error.headers())


async def _http_error(request: Request, error: Exception) -> Response:
    """Starlette's own: no such path, or not with this method."""
    assert isinstance(error, HTTPException)
    path = request.url.path[:100]
    message = {
        404: f"there is no {path} here; /v1/completions, /v1/models, /health and /metrics are",
        405: f"{path} does not answer {request.method}",
    }.get(error.status_code, str(error.detail))
    problem = ApiError(error.status_code, message, code="not_found")
    return _json(problem.body(), error.status_code, dict(error.headers or {}))


async def _defect(request: Request, error: Exception) -> Response:  # noqa: ARG001
    problem = ApiError(
        500, f"a defect in hipgpt, {type(error).__name__}; the server's log has more"
    )
    return _json(problem.body(), 500)
