"""Sees that every rank is alive and moves, and ends the job where one does not, saying which.

MPI and RCCL wait for ever for a rank that hangs. So each rank tells rank 0 once a second, by a TCP
connection of its own, how often it has come to a meeting point (`beat`). A connection that breaks
is a rank that died; one that stands still behind the others for `timeout` seconds hangs. The odd
thing: threads do all this, and they end the process without asking anybody, because the main thread
may be stuck in a library that never returns.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from hipgpt_model.distributed.world import World

BEAT_S = 1.0
"""Seconds between two messages of a rank."""
SILENCE = 10
"""Messages that may be missing before a rank counts as dead: its machine is gone, or frozen."""
GRACE_S = 2.0
"""For the news to reach the others before the job is torn down."""


@dataclass
class _Rank:
    """What rank 0 knows of another rank."""

    host: str
    beats: int = 0
    moved: float = 0.0  # when `beats` last grew
    heard: float = 0.0  # when it last said anything


class Watch:
    """Watches a job from when it is made until `stop`.

    Args:
        world: the ranks; made on all of them at the same time.
        timeout: seconds that a rank may stand still.
        end: what ends the job, given a sentence; None prints it and aborts.

    Raises:
        OSError: rank 0 cannot be reached from here.
    """

    def __init__(
        self, world: World, timeout: float, end: Callable[[str], None] | None = None
    ) -> None:
        self.world = world
        self.timeout = timeout
        self._end = end or self._abort
        self._beats = 0
        self._done = threading.Event()
        self._ranks: dict[int, _Rank] = {}
        self._lock = threading.Lock()
        self._clients: list[socket.socket] = []
        server = None
        place = None
        if world.leads:
            server = socket.create_server(("", 0), backlog=world.size)
            place = (world.host, _outward_address(), server.getsockname()[1], secrets.token_hex(16))
        host, address, port, self._token = world.share(place)
        if server is not None:
            self._accept(server)
        else:
            near = host == world.host
            self._connection = _connect(["127.0.0.1"] if near else [host, address], port)
            self._say({"token": self._token, "rank": world.rank, "host": world.host})
            self._start(self._talk)
            self._start(self._listen)
        world.barrier()
        if world.leads:
            self._start(self._judge)

    def beat(self) -> None:
        """This rank has come to the next point where all ranks meet."""
        self._beats += 1

    def stop(self) -> None:
        """The job is done: from here on ranks may leave."""
        self.world.barrier()
        self._done.set()
        self.world.barrier()  # nobody closes a connection before everyone knows that it is no death

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        threading.Thread(target=work, args=arguments, daemon=True).start()

    # --- every rank but 0 ---------------------------------------------------------------------

    def _say(self, message: dict[str, object]) -> None:
        self._connection.sendall(json.dumps(message).encode() + b"\n")

    def _talk(self) -> None:
        while not self._done.wait(BEAT_S):
            with suppress(OSError):  # `_listen` sees it too
                self._say({"beats": self._beats})

    def _listen(self) -> None:
        try:
            sentence = self._connection.makefile().read()  # until rank 0 ends or says why
        except OSError:
            sentence = ""
        if not self._done.is_set():
            time.sleep(0.0 if sentence else BEAT_S)  # the launcher may be ending everything anyway
            self._end(sentence or "rank 0 has died: the connection to it broke")

    # --- rank 0 -------------------------------------------------------------------------------

    def _accept(self, server: socket.socket) -> None:
        """Wait until all others are there."""

        def work() -> None:
            while len(self._ranks) < self.world.size - 1:
                connection, _ = server.accept()
                lines = connection.makefile()
                with suppress(ValueError, KeyError, TypeError):
                    hello = json.loads(lines.readline(4096))
                    if hello["token"] != self._token:
                        continue
                    now = time.monotonic()
                    with self._lock:
                        self._ranks[hello["rank"]] = _Rank(hello["host"], 0, now, now)
                        self._clients.append(connection)
                    self._start(self._hear, hello["rank"], lines)
            server.close()

        self._start(work)

    def _hear(self, rank: int, lines: socket.SocketIO) -> None:
        """Note what a rank says, until it says nothing more."""
        known = self._ranks[rank]
        try:
            for line in lines:
                beats, now = json.loads(line)["beats"], time.monotonic()
                known.heard = now
                if beats > known.beats:
                    known.beats, known.moved = beats, now
        except (OSError, ValueError):
            pass
        if not self._done.is_set():
            self._tell(f"rank {rank} on {known.host} has died: the connection to it broke")

    def _judge(self) -> None:
        """Look for a rank that stands still."""
        own = _Rank(self.world.host, 0, time.monotonic())
        while not self._done.wait(BEAT_S):
            now = time.monotonic()
            if self._beats > own.beats:
                own.beats, own.moved = self._beats, now
            own.heard = now
            ranks = {0: own, **self._ranks}
            for rank, known in ranks.items():
                if now - known.heard > SILENCE * BEAT_S:
                    return self._tell(
                        f"rank {rank} on {known.host} has said nothing for "
                        f"{now - known.heard:.0f} s: its machine is gone or frozen"
                    )
            if now - max(known.moved for known in ranks.values()) < self.timeout:
                continue
            behind = min(known.beats for known in ranks.values())
            late = [rank for rank, known in ranks.items() if known.beats == behind]
            if len(late) == len(ranks):
                who = "no rank has"
            else:
                who = " and ".join(f"rank {rank} on {ranks[rank].host}" for rank in late) + (
                    " has" if len(late) == 1 else " have"
                )
            return self._tell(
                f"{who} not moved for {self.timeout:.0f} s, so the job cannot go on: see what it "
                "waits for; --timeout gives it longer"
            )
        return None

    def _tell(self, sentence: str) -> None:
        """End the job, on every rank, with one sentence."""
        if self._done.is_set():
            return
        self._done.set()
        with self._lock:
            for client in self._clients:
                with suppress(OSError):
                    client.sendall(sentence.encode())
                    client.shutdown(socket.SHUT_WR)
        self._end(sentence)

    def _abort(self, sentence: str) -> None:
        """Say it once and end every process."""
        self._done.set()
        if self.world.leads or sentence.startswith("rank 0"):
            os.write(
                2, f"Error: {sentence}. The last checkpoint is whole; resume from it.\n".encode()
            )
        sys.stdout.flush()
        if self.world.leads:
            time.sleep(GRACE_S)
            threading.Timer(GRACE_S, os._exit, (1,)).start()  # should MPI be stuck as well
            self.world.abort(1)
        os._exit(1)


def _outward_address() -> str:
    """This machine's address as others see it; no packet is sent to find out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address that is nobody's (RFC 5737)
            address: str = probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"
        return address


def _connect(places: list[str], port: int) -> socket.socket:
    """A connection to the first place that answers."""
    problem: OSError | None = None
    for place in places:
        try:
            connection = socket.create_connection((place, port), timeout=10)
        except OSError as error:
            problem = error
        else:
            connection.settimeout(None)
            return connection
    raise OSError(f"rank 0 cannot be reached at {' or '.join(places)}, port {port}: {problem}")
