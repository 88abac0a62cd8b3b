"""The endpoints over a real connection: answers, refusals, clients that leave, the end."""

import json
import math
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

JSON = {"Content-Type": "application/json"}


# --- what is served -----------------------------------------------------------------------------


def test_models(client):
    status, _, body = client.request("GET", "/v1/models")
    (model,) = json.loads(body)["data"]
    assert status == 200
    assert (model["id"], model["object"], model["max_model_len"]) == ("tiny", "model", 8)
    assert json.loads(client.request("GET", "/v1/models/tiny")[2]) == model
    assert client.request("GET", "/v1/models/other")[0] == 404


def test_health_and_metrics(client):
    client.complete(prompt="the", max_tokens=3)
    status, _, body = client.request("GET", "/health")
    assert (status, json.loads(body)["status"]) == (200, "ok")
    status, headers, body = client.request("GET", "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain")
    lines = [line for line in body.decode().splitlines() if not line.startswith("#")]
    values = {name: float(value) for name, value in (line.split(" ") for line in lines)}
    assert values["hipgpt_tokens_total"] >= 3
    assert values["hipgpt_rows_running"] == 0


def test_shape_of_a_response(client):
    body = client.complete(model="tiny", prompt="the", max_tokens=3, ignore_eos=True)
    assert body["id"].startswith("cmpl-")
    assert body["object"] == "text_completion"
    assert body["model"] == "tiny"
    assert abs(body["created"] - time.time()) < 60
    (choice,) = body["choices"]
    assert choice.keys() == {"text", "index", "logprobs", "finish_reason"}
    assert (choice["index"], choice["logprobs"], choice["finish_reason"]) == (0, None, "length")
    prompt = len(client.tokenizer.encode("the"))
    assert body["usage"] == {"prompt_tokens": prompt, "completion_tokens": 3,
                             "total_tokens": prompt + 3}  # fmt: skip


def test_a_seed_gives_the_same_text_and_none_another(client):
    asked = {"prompt": "the", "max_tokens": 30}
    assert client.text(**asked, seed=4) == client.text(**asked, seed=4)
    assert client.text(**asked) != client.text(**asked)


def test_prompts_of_every_form_give_the_same(client):
    ids = client.tokenizer.encode("the fox")
    asked = {"max_tokens": 10, "seed": 1}
    text = client.text(prompt="the fox", **asked)
    assert client.text(prompt=ids, **asked) == text
    assert client.text(prompt=["the fox"], **asked) == text
    body = client.complete(prompt=[[5, 6], ids, ids], **asked)
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    assert [choice["text"] for choice in body["choices"][1:]] == [text, text]
    assert body["choices"][0]["text"] == client.text(prompt=[5, 6], **asked)


def test_an_empty_prompt_is_the_separator(client):
    asked = {"max_tokens": 10, "seed": 1}
    assert client.text(**asked) == client.text(prompt="<|endoftext|>", **asked)
    assert client.text(prompt="", **asked) == client.text(prompt=[client.tokenizer.eot_id], **asked)


def test_choices_have_the_seeds_that_follow(client):
    asked = {"prompt": ["the", "dog"], "max_tokens": 12}
    choices = client.complete(**asked, n=3, seed=10)["choices"]
    for place, prompt in enumerate(asked["prompt"]):
        for choice in range(3):
            alone = client.text(prompt=prompt, max_tokens=12, seed=10 + choice)
            assert choices[3 * place + choice]["text"] == alone
            assert choices[3 * place + choice]["index"] == 3 * place + choice


def test_best_of_keeps_the_likeliest(client):
    asked = {"prompt": "the", "max_tokens": 8, "seed": 5, "logprobs": 0}
    every = client.complete(**asked, n=6)["choices"]
    means = [np.mean(choice["logprobs"]["token_logprobs"]) for choice in every]
    best = client.complete(**asked, n=2, best_of=6)
    order = np.argsort(means)[::-1][:2]
    assert [choice["text"] for choice in best["choices"]] == [every[i]["text"] for i in order]
    assert [choice["index"] for choice in best["choices"]] == [0, 1]
    assert best["usage"]["completion_tokens"] == sum(len(c["logprobs"]["tokens"]) for c in every)


def test_stop_strings_end_the_text_before_them(client):
    whole = client.text(prompt="the", seed=3, max_tokens=40)
    stop = whole[10:13]
    body = client.complete(prompt="the", seed=3, max_tokens=40, stop=["not in it", stop])
    (choice,) = body["choices"]
    assert choice["text"] == whole[: whole.index(stop)]
    assert choice["finish_reason"] == "stop"
    assert body["usage"]["completion_tokens"] < 40


def test_the_separator_ends_a_text_unless_told_otherwise(client):
    """With a seed of whose text it is a part; with a vocabulary of 300 that is soon found."""
    for seed in range(200):
        body = client.complete(prompt="the", seed=seed, max_tokens=60, temperature=3)
        if body["choices"][0]["finish_reason"] == "stop":
            break
    ended = body["choices"][0]["text"]
    on = client.complete(prompt="the", seed=seed, max_tokens=60, temperature=3, ignore_eos=True)
    assert on["choices"][0]["text"].startswith(ended + "<|endoftext|>")
    assert on["usage"]["completion_tokens"] == 60


# --- echo and log-probabilities -----------------------------------------------------------------


def test_echo(client):
    asked = {"prompt": "the fox", "seed": 2, "max_tokens": 5}
    assert client.text(**asked, echo=True) == "the fox" + client.text(**asked)
    body = client.complete(**{**asked, "max_tokens": 0}, echo=True)
    assert body["choices"][0]["text"] == "the fox"
    assert body["usage"]["completion_tokens"] == 0


def test_logprobs_are_those_of_the_model(client, tiny_tokenizer):
    """Of prompt and text, against the logits of one pass over both, whatever the temperature."""
    ids = tiny_tokenizer.encode("the")
    body = client.complete(prompt=ids, max_tokens=8 - len(ids), logprobs=3, echo=True,
                           ignore_eos=True, temperature=2, top_k=7, seed=8)  # fmt: skip
    (choice,) = body["choices"]
    scores = choice["logprobs"]
    model = client.engine._model
    client.wait(lambda engine: engine.running == 0)
    every = [int(id_) for id_ in ids]
    position = 0
    for name in scores["tokens"][len(ids) :]:
        raw = name.removeprefix("bytes:")
        data = bytes.fromhex(raw.replace("\\x", "")) if name.startswith("bytes:") else name.encode()
        every.append(tiny_tokenizer.token_to_id(data))
    logits = model.backend.to_numpy(model.logits(np.array([every], np.int32)))[0].astype(float)
    expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert scores["token_logprobs"][0] is None
    assert scores["top_logprobs"][0] is None
    for place in range(1, 8):
        row = expected[place - 1]
        assert math.isclose(scores["token_logprobs"][place], row[every[place]], abs_tol=1e-5)
        top = scores["top_logprobs"][place]
        assert len(top) in {3, 4}
        assert math.isclose(max(top.values()), row.max(), abs_tol=1e-5)
        assert top[scores["tokens"][place]] == scores["token_logprobs"][place]
    for offset, name in zip(scores["text_offset"], scores["tokens"], strict=True):
        if not name.startswith("bytes:"):
            assert choice["text"][offset : offset + len(name)] == name
        assert offset >= position
        position = offset


def test_what_an_evaluation_harness_asks(client):
    """Ids, one token, echo, log-probabilities: always one score more than the prompt has ids."""
    prompts = [[id_ % 300 for id_ in range(start, start + 7)] for start in range(40)]
    body = client.complete(prompt=prompts, temperature=0, max_tokens=1, logprobs=1, seed=1234,
                           echo=True, model="tiny")  # fmt: skip
    for choice in sorted(body["choices"], key=lambda choice: choice["index"]):
        scores = choice["logprobs"]
        assert len(scores["token_logprobs"]) == len(scores["top_logprobs"]) == 8
        for chosen, top in zip(scores["token_logprobs"][1:], scores["top_logprobs"][1:],
                               strict=True):  # fmt: skip
            assert 1 <= len(top) <= 2
            assert chosen <= max(top.values())


def test_logprobs_0_has_no_alternatives(client):
    scores = client.complete(prompt="the", logprobs=0, max_tokens=2)["choices"][0]["logprobs"]
    assert scores["top_logprobs"] is None
    assert len(scores["token_logprobs"]) == 2


# --- streams ------------------------------------------------------------------------------------


def test_a_stream_is_the_response_in_pieces(client):
    asked = {"prompt": ["the", "a dog é"], "n": 2, "max_tokens": 12, "seed": 3, "logprobs": 2,
             "echo": True, "stop": "q"}  # fmt: skip
    whole = client.complete(**asked)
    events = client.stream(**asked, stream_options={"include_usage": True})
    *chunks, last = events
    assert last["choices"] == []
    assert last["usage"] == whole["usage"]
    assert len({event["id"] for event in events}) == 1
    assert all(chunk["usage"] is None for chunk in chunks)
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    for choice in whole["choices"]:
        mine = [chunk["choices"][0] for chunk in chunks
                if chunk["choices"][0]["index"] == choice["index"]]  # fmt: skip
        assert "".join(piece["text"] for piece in mine) == choice["text"]
        assert [p["finish_reason"] for p in mine if p["finish_reason"]] == [choice["finish_reason"]]
        for name, values in choice["logprobs"].items():
            assert [value for piece in mine for value in piece["logprobs"][name]] == values


def test_without_usage_a_stream_has_none(client):
    assert all("usage" not in event for event in client.stream(prompt="the", max_tokens=3))


def test_pieces_come_while_the_text_is_written(serving):
    with serving(pause_s=0.05) as client, client.open(
        prompt="the", max_tokens=20, stream=True, ignore_eos=True
    ) as connection:  # fmt: skip
        began = time.monotonic()
        response = connection.getresponse()
        assert response.headers["cache-control"] == "no-store"
        first = response.readline()
        assert first.startswith(b"data: {")
        assert time.monotonic() - began < 0.8
        assert b"[DONE]" in response.read()
        assert time.monotonic() - began > 0.9


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "status", "code", "word"),
    [
        ({"model": "gpt-4"}, 404, "model_not_found", "'tiny'"),
        ({"prompt": "word " * 100}, 400, "context_length_exceeded", "8 tokens at once"),
        ({"prompt": "x" * 500_000}, 400, "context_length_exceeded", "500000 characters"),
        ({"prompt": [0] * 9}, 400, "context_length_exceeded", "9 tokens"),
        ({"prompt": [300]}, 400, None, "id 300 at place 0"),
        ({"prompt": [-1]}, 400, None, "id -1"),
        ({"prompt": [10**100]}, 400, None, "very large"),
        ({"prompt": "\ud800"}, 400, None, "the prompt cannot be read"),
        ({"prompt": ["the"] * 129}, 400, None, "129 texts"),
        ({"frequency_penalty": 1}, 400, "unsupported_parameter", "repetition_penalty"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_refusals(client, fields, status, code, word):
    got, error = client.refused(**fields)
    assert (got, error["code"]) == (status, code)
    assert word in error["message"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"


def test_a_long_prompt_can_be_read_from_its_end(client):
    ids = client.tokenizer.encode("the quick brown fox jumps over a lazy dog")
    asked = {"max_tokens": 5, "seed": 1}
    kept = client.text(prompt=ids[-8:], **asked)
    assert client.text(prompt=ids, truncate_prompt_tokens=-1, **asked) == kept
    kept = client.text(prompt=ids[-3:], **asked)
    assert client.text(prompt=ids, truncate_prompt_tokens=3, **asked) == kept


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"max_tokens": ' + b"9" * 10_000 + b"}", "not valid JSON"),
        (b'"text"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'{"temperature": NaN}', "temperature"),
        (b'{"temperature": 1e999}', "temperature"),
        (b'{"prompt": "\\ud800"}', "cannot be read"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_garbage_is_told_so(client, body, word):
    status, _, answer = client.request("POST", "/v1/completions", body, JSON)
    assert status == 400
    assert word in json.loads(answer)["error"]["message"]


def test_random_bytes_never_end_the_server(client):
    random = np.random.default_rng(0)
    good = json.dumps({"prompt": "the", "max_tokens": 2, "stop": ["x"], "logprobs": 1}).encode()
    for _ in range(150):
        data = bytearray(good)
        for _ in range(random.integers(1, 6)):
            data[random.integers(len(data))] = random.integers(256)
        status, _, answer = client.request("POST", "/v1/completions", bytes(data), JSON)
        assert status in {200, 400, 404}
        json.loads(answer)


def test_other_content_is_refused(client):
    """So that a page of another site cannot have a browser ask without permission."""
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        status, _, answer = client.request("POST", "/v1/completions", b"{}", {"Content-Type": kind})
        assert status == 415
        assert "application/json" in json.loads(answer)["error"]["message"]
    with_charset = {"Content-Type": "application/json; charset=utf-8"}
    assert client.request("POST", "/v1/completions", b'{"max_tokens":1}', with_charset)[0] == 200


def test_no_such_path_or_method(client):
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("GET", "/v1/completions", 405),
        ("POST", "/v1/models", 405),
        ("GET", "/../api.py", 404),
        ("GET", "/page/%2e%2e/api.py", 404),
    ):
        got, _, body = client.request(method, path)
        assert got == status, (method, path)
        assert "error" in json.loads(body)


def test_chat_is_told_what_to_do_instead(client):
    status, _, body = client.request("POST", "/v1/chat/completions", b"{}", JSON)
    assert status == 404
    assert "/v1/completions" in json.loads(body)["error"]["message"]


def test_large_bodies_are_refused_before_they_are_read(serving):
    with serving(body_bytes=1000) as client:
        status, error = client.refused(prompt="x" * 2000)
        assert status == 413
        assert "1000 bytes" in error["message"]
        # A length that is only claimed: the answer comes though the body never does.
        with socket.create_connection(("127.0.0.1", client.port), timeout=10) as raw:
            raw.sendall(
                b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Content-Length: 999999999999\r\n\r\n"
            )
            assert b" 413 " in raw.recv(1000)
        # And without a length, in chunks.
        with socket.create_connection(("127.0.0.1", client.port), timeout=10) as raw:
            raw.sendall(
                b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n" + b"1f4\r\n" + b" " * 500 + b"\r\n"
                b"1f5\r\n" + b" " * 501 + b"\r\n"
            )
            assert b" 413 " in raw.recv(1000)


def test_a_body_that_does_not_come_is_not_waited_for(serving):
    with serving(body_seconds=0.1) as client, socket.create_connection(
        ("127.0.0.1", client.port), timeout=10
    ) as raw:  # fmt: skip
        raw.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 10\r\n\r\n{"
        )
        assert b" 408 " in raw.recv(1000)


# --- many, gone, late ---------------------------------------------------------------------------


def test_requests_at_once_get_what_each_gets_alone(client):
    """Of several lengths, seeds, samplings and prompts, four rows for all of them."""
    random = np.random.default_rng(1)
    asked = [
        {
            "prompt": [int(id_) for id_ in random.integers(0, 300, random.integers(1, 9))],
            "max_tokens": int(random.integers(1, 40)),
            "seed": int(random.integers(2**32)),
            "temperature": float(random.choice([0, 0.7, 1, 1.5])),
            "top_k": int(random.choice([0, 5])),
            "repetition_penalty": float(random.choice([1, 1.3])),
            "echo": bool(random.integers(2)),
            "n": int(random.integers(1, 3)),
        }
        for _ in range(48)
    ]
    alone = [[choice["text"] for choice in client.complete(**one)["choices"]] for one in asked]
    with ThreadPoolExecutor(24) as pool:
        together = list(pool.map(lambda one: client.complete(**one)["choices"], asked))
    assert [[choice["text"] for choice in choices] for choices in together] == alone


def test_rows_of_clients_that_leave_are_free_again(serving):
    with serving(pause_s=0.01, rows=2) as client:
        for stream in (True, False):
            before = client.engine.counts.cancelled
            with client.open(prompt="the", max_tokens=4000, stream=stream, n=3, ignore_eos=True):
                client.wait(lambda engine: engine.running == 2)
            client.wait(lambda engine: engine.running == engine.waiting == 0)
            assert client.slots.free == 2
            assert client.engine.counts.cancelled == before + 1
        assert client.text(prompt="the", max_tokens=2)


def test_too_many_are_told_when_to_come_again(serving):
    with serving(pause_s=0.02, rows=1, queue=1) as client:
        asked = {"prompt": "the", "max_tokens": 4000, "stream": True, "ignore_eos": True}
        with client.open(**asked), client.open(**asked):
            client.wait(lambda engine: engine.running == engine.waiting == 1)
            status, body, headers = client.ask(prompt="the")
            assert status == 429
            assert body["error"]["code"] == "rate_limit_exceeded"
            assert int(headers["Retry-After"]) >= 1


def test_time_limit(serving):
    with serving(pause_s=0.05, seconds=0.2) as client:
        status, error = client.refused(prompt="the", max_tokens=1000, ignore_eos=True)
        assert (status, error["code"]) == (504, "timeout")
        asked = json.dumps({"max_tokens": 1000, "stream": True, "ignore_eos": True}).encode()
        status, _, body = client.request("POST", "/v1/completions", asked, JSON)
        events = body.decode().strip().split("\n\n")
        assert status == 200
        assert json.loads(events[-1].removeprefix("data: "))["error"]["code"] == "timeout"


def test_the_end_lets_requests_finish(serving):
    """Those that are running when the server is told to stop get their whole text."""
    results = []
    with serving(pause_s=0.02) as client:
        asking = threading.Thread(
            target=lambda: results.append(client.ask(max_tokens=20, seed=1, ignore_eos=True))
        )
        asking.start()
        client.wait(lambda engine: engine.running == 1)
    asking.join()
    status, body, _ = results[0]
    assert status == 200
    assert body["usage"]["completion_tokens"] == 20


def test_pipelined_requests_on_one_connection(client):
    body = json.dumps({"prompt": "the", "max_tokens": 2, "seed": 1}).encode()
    one = (
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body) + body
    )
    with socket.create_connection(("127.0.0.1", client.port), timeout=10) as raw:
        raw.sendall(one * 3)
        data = b""
        while data.count(b"total_tokens") < 3:
            data += raw.recv(65536)
    assert data.count(b"HTTP/1.1 200") == 3
    assert len(set(re.findall(rb'"text":"(.*?)"', data))) == 1
