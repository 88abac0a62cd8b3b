"""The page of GET / and its two files, with a policy that lets it talk to this server alone."""

from __future__ import annotations

from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page may load and call nothing but this server."""

PAGE = {
    "/": ("index.html", "text/html"),
    "/style.css": ("style.css", "text/css"),
    "/script.js": ("script.js", "text/javascript"),
}


def routes() -> list[Route]:
    """One route for each file."""
    return [Route(path, partial(_file, *what)) for path, what in PAGE.items()]


async def _file(name: str, media_type: str, request: Request) -> Response:  # noqa: ARG001
    data = files("hipgpt_cli.serve").joinpath("page", name).read_bytes()
    headers = {
        "content-security-policy": POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }
    return Response(data, media_type=media_type, headers=headers)
