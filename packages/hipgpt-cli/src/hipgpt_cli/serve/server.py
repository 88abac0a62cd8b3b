"""Run the application: a socket that is ours before anything is loaded, uvicorn, an orderly end.

The odd thing: uvicorn answers SIGINT and SIGTERM by itself and then raises them again; here the
first signal lets running requests finish for a while, the second ends them, and the status is 0.
"""

from __future__ import annotations

import errno
import signal
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from hipgpt_cli.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from starlette.applications import Starlette

CONNECTIONS = 1000
"""Connections at once; more are told 503 by uvicorn."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Args:
        host: an address or a name of this machine.
        port: 0 takes a free one.

    Raises:
        UserError: it cannot be had; the sentence says why.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise UserError(f"--host {host} is no address of this machine: {error}") from error
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(1024)
    except OSError as error:
        made.close()
        reason = {
            errno.EADDRINUSE: "another program has this port; --port 0 takes a free one",
            errno.EACCES: "ports below 1024 are for the system; take a larger --port",
            errno.EADDRNOTAVAIL: "this machine has no such address",
        }.get(error.errno or 0, error.strerror or str(error))
        raise UserError(f"cannot listen on {host}, port {port}: {reason}") from error
    return made


def url_of(made: socket.socket) -> str:
    """Where a browser on this machine finds the socket."""
    host, port = made.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - read, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """uvicorn, whose signals end it and nothing more.

    Args:
        config: uvicorn's.
        grace_s: seconds that running requests have to finish.
        stop: ends what is still running then; called in a thread of its own.
    """

    def __init__(self, config: uvicorn.Config, grace_s: float, stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._grace_s = grace_s
        self._stop = stop
        self._hurried = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: take no more requests. Second: end those that run. Third: leave."""
        if not self.should_exit:
            self.should_exit = True
        elif not self._hurried:
            self._hurried = True
            threading.Thread(target=self._stop).start()
        else:
            super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; requests that are not done in time end with an answer, not without."""
        timer = threading.Timer(self._grace_s, self._stop)
        timer.start()
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, without raising the signals again at the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run(
    app: Starlette,
    made: socket.socket,
    *,
    stop: Callable[[], None],
    grace_s: float,
    access_log: bool,
    ready: Callable[[uvicorn.Server], None] = lambda _: None,
) -> None:
    """Serve until a signal comes.

    Args:
        app: the application.
        made: from `listen`; closed at the end.
        stop: ends all requests at once, with an answer.
        grace_s: seconds that running requests have after the signal.
        access_log: write a line for each request to standard error.
        ready: called with the server before it starts; `server.should_exit = True` stops it.
    """
    config = uvicorn.Config(
        app,
        access_log=access_log,
        log_level="info" if access_log else "warning",
        timeout_graceful_shutdown=int(grace_s) + 10,
        limit_concurrency=CONNECTIONS,
        lifespan="on",
        server_header=False,
    )
    server = _Server(config, grace_s, stop)
    ready(server)
    server.run(sockets=[made])
