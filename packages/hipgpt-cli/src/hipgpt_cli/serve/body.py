"""A request's body as a JSON value, with a bound on its size, its time and its depth."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect

from hipgpt_cli.serve.problems import ApiError

if TYPE_CHECKING:
    from starlette.requests import Request

    from hipgpt_cli.serve.limits import Limits


async def read_json(request: Request, limits: Limits) -> Any:
    """The decoded body.

    Raises:
        ApiError: it is no JSON (400), takes too long (408), is too large (413), or says that it is
            something else (415). The last is more than pedantry: a page of another site can have a
            browser send what needs no permission, and application/json does.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, f"Content-Type must be application/json; got {kind[:100] or 'none'}")
    try:
        async with asyncio.timeout(limits.body_seconds):
            data = await _read(request, limits.body_bytes)
    except TimeoutError as error:
        raise ApiError(
            408, f"the body did not arrive within {limits.body_seconds:g} s", code="timeout"
        ) from error
    except ClientDisconnect as error:
        raise ApiError(400, "the connection closed before the body had arrived") from error
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ApiError(400, "the body is nested too deeply") from error
    except ValueError as error:  # not UTF-8, not JSON, or a number of thousands of digits
        raise ApiError(400, f"the body is not valid JSON: {error}") from error


async def _read(request: Request, limit: int) -> bytes:
    declared = request.headers.get("content-length", "")
    parts: list[bytes] = []
    size = int(declared) if declared.isdecimal() and len(declared) < 20 else 0
    if size <= limit:
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > limit:
                break
            parts.append(part)
    if size > limit:
        raise ApiError(413, f"the body is larger than {limit} bytes: send fewer or shorter prompts")
    return b"".join(parts)
