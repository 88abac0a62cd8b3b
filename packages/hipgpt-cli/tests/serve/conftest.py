"""A server in this process for the tests here, and a client that sends exactly what it is told.

The odd thing: there is a real socket and uvicorn between them, because clients that leave and
bodies that lie are what is to be proven. The model has random weights.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

pytest.importorskip("starlette", reason="the server needs hipgpt-cli[serve]")
pytest.importorskip("uvicorn", reason="the server needs hipgpt-cli[serve]")

from hipgpt_cli.serve import server
from hipgpt_cli.serve.api import Service, make_app
from hipgpt_cli.serve.engine import Engine
from hipgpt_cli.serve.limits import Limits
from hipgpt_cli.serve.slots import Slots
from hipgpt_kernels import load_backend
from hipgpt_model import GPT, GPTConfig, Parameters
from hipgpt_tokenizer import Tokenizer

JSON = {"Content-Type": "application/json"}


class SlowSlots(Slots):
    """Rows whose steps take so many seconds more."""

    pause_s = 0.0

    def step(self, wanted=()):
        time.sleep(self.pause_s)
        return super().step(wanted)


@dataclass
class Client:
    """Requests to one port of this machine."""

    port: int
    engine: Engine
    slots: SlowSlots
    tokenizer: Tokenizer
    limits: Limits
    _connections: list = field(default_factory=list)

    def request(self, method, path, body=None, headers=None):
        """(status, headers, body) of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def ask(self, **fields):
        """(status, decoded body, headers) of a completion."""
        status, headers, body = self.request(
            "POST", "/v1/completions", json.dumps(fields).encode(), JSON
        )
        return status, json.loads(body), headers

    def complete(self, **fields):
        """The response, which must be one."""
        status, body, _ = self.ask(**fields)
        assert status == 200, body
        return body

    def text(self, **fields):
        """The text of the only choice."""
        (choice,) = self.complete(**fields)["choices"]
        return choice["text"]

    def refused(self, **fields):
        """(status, the error object)."""
        status, body, _ = self.ask(**fields)
        assert status >= 400, body
        return status, body["error"]

    def stream(self, **fields):
        """The events' objects; the last event must be [DONE]."""
        status, headers, body = self.request(
            "POST", "/v1/completions", json.dumps({**fields, "stream": True}).encode(), JSON
        )
        assert status == 200, body
        assert headers["content-type"].startswith("text/event-stream")
        events = [line for line in body.decode().split("\n\n") if line and line[0] != ":"]
        assert events.pop() == "data: [DONE]"
        return [json.loads(event.removeprefix("data: ")) for event in events]

    @contextmanager
    def open(self, **fields):
        """A streamed response that is read by nobody; leaving it closes the connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", "/v1/completions", json.dumps(fields).encode(), JSON)
            yield connection
        finally:
            connection.close()

    def wait(self, condition, seconds=10):
        """Wait until something is true of the engine."""
        deadline = time.monotonic() + seconds
        while not condition(self.engine):
            assert time.monotonic() < deadline, (self.engine.running, self.engine.counts)
            time.sleep(0.005)


@pytest.fixture(scope="session")
def _tiny_model():
    """(a model of S = 8 that writes a token in a fraction of a millisecond, its tokenizer)."""
    text = (
        "the quick brown fox jumps over a lazy dog and then it sleeps in the sun until noon. " * 9
    )
    tokenizer = Tokenizer.train(text, 300, special_tokens=["<|endoftext|>"])
    config = GPTConfig(
        vocab_size=tokenizer.vocab_size, max_seq_len=8, embed_dim=16, num_heads=2, num_layers=1,
        ff_dim=16,
    )  # fmt: skip
    backend = load_backend("cpu")
    parameters = Parameters(config, backend, training=False)
    parameters.initialize(seed=1)
    # Larger than a training begins with, so that what is written depends on what stands before.
    larger = {name: array * (25 if array.ndim == 2 else 1) for name, array in parameters.items()}
    parameters.load(larger)
    return GPT(config, backend, parameters), tokenizer


@contextmanager
def _serving(model, tokenizer, limits, pause_s):
    slots = SlowSlots(model, limits.rows)
    slots.pause_s = pause_s
    engine = Engine(model, slots, limits)
    service = Service(engine, tokenizer, limits, "tiny", 1, model.config.max_seq_len,
                      {"parameters": model.config.num_parameters()})  # fmt: skip
    made = server.listen("127.0.0.1", 0)
    running = []
    thread = threading.Thread(
        target=server.run,
        args=(make_app(service), made),
        kwargs={"stop": engine.stop, "grace_s": 5, "access_log": False, "ready": running.append},
    )
    thread.start()
    port = made.getsockname()[1]
    deadline = time.monotonic() + 20
    while not (running and running[0].started):
        assert thread.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    try:
        yield Client(port, engine, slots, tokenizer, limits)
    finally:
        running[0].should_exit = True
        thread.join(20)
        assert not thread.is_alive()
        assert not engine.alive


@pytest.fixture(scope="session")
def _client(_tiny_model):
    with _serving(*_tiny_model, Limits(rows=4), 0) as client:
        yield client


@pytest.fixture
def client(_client):
    """A server with four rows; after the test it must be idle, with every row free."""
    yield _client
    _client.wait(lambda engine: engine.running == engine.waiting == 0)
    assert _client.slots.free == _client.limits.rows
    assert _client.engine.alive


@pytest.fixture
def serving(_tiny_model):
    """serving(pause_s=…, rows=…, …) -> a client of a server with these limits, in a with."""

    def start(pause_s=0.0, **limits):
        return _serving(*_tiny_model, Limits(**limits), pause_s)

    return start


@pytest.fixture
def tiny_model(_tiny_model):
    """The model; only for tests that start no server, because an engine shares it with nobody."""
    return _tiny_model[0]


@pytest.fixture
def tiny_tokenizer(_tiny_model):
    """The model's tokenizer."""
    return _tiny_model[1]
