"""`hipgpt serve` as a process: it says where it is, serves the run, and ends when it is told to."""

import http.client
import importlib.util
import json
import re
import signal
import socket
import time
import urllib.request
from pathlib import Path

import pytest

posix = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals are a Unix thing")


@pytest.fixture
def served(process, trained):
    """served("--option", …) -> (port, the process)."""

    def start(*options):
        made = process("serve", "--port", "0", *options)
        said = ""
        for line in made.stdout:
            said += line.decode()
            if found := re.search(r"API .*:(\d+)/v1", said):
                return int(found[1]), made, said
        pytest.fail(said + made.stderr.read().decode())

    return start


def post(port, **fields):
    """The decoded response to a completion."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/completions",
        json.dumps(fields).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


@posix
def test_serves_the_newest_run_and_ends_with_0(served, run):
    port, made, said = served()
    assert "step 12" in said
    generated = run("generate", "--prompt", "the quick", "--seed", "7", "--num-tokens", "30")
    body = post(port, prompt="the quick", seed=7, max_tokens=30, top_k=5)
    assert body["choices"][0]["text"] + "\n" == generated.stdout
    assert body["model"] == "tiny"
    made.send_signal(signal.SIGTERM)
    assert made.wait(20) == 0


@posix
def test_ctrl_c_lets_a_text_finish_and_the_time_of_grace_ends_it(served):
    port, made, _ = served("--grace", "0.3", "--max-tokens", "100000000", "--model-name", "m")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    asked = {"prompt": "the", "max_tokens": 10**8, "stream": True, "ignore_eos": True, "model": "m"}
    connection.request(
        "POST", "/v1/completions", json.dumps(asked), {"Content-Type": "application/json"}
    )
    response = connection.getresponse()
    assert response.readline().startswith(b"data: {")
    made.send_signal(signal.SIGINT)
    events = response.read().decode().strip().split("\n\n")
    assert json.loads(events[-1].removeprefix("data: "))["error"]["code"] == "shutting_down"
    connection.close()
    assert made.wait(20) == 0
    assert b"Traceback" not in made.stderr.read()


@posix
def test_ctrl_c_twice_ends_at_once(served):
    """In good order all the same: the stream is told, and nothing else is said."""
    port, made, _ = served("--max-tokens", "100000000")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    asked = {"prompt": "the", "max_tokens": 10**8, "stream": True, "ignore_eos": True}
    connection.request(
        "POST", "/v1/completions", json.dumps(asked), {"Content-Type": "application/json"}
    )
    response = connection.getresponse()
    response.readline()
    began = time.monotonic()
    made.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert made.poll() is None  # it has ten seconds
    made.send_signal(signal.SIGINT)
    assert b"shutting_down" in response.read()
    connection.close()
    assert made.wait(20) == 0
    assert time.monotonic() - began < 8
    assert made.stderr.read() == b"Stopped.\n"


def test_a_port_in_use_is_told_before_anything_is_loaded(run, trained):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("serve", "--port", port, "--run", "there-is-none")
    assert result.exit_code == 1
    assert "another program has this port" in result.stderr


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--host", "256.0.0.1"], "no address of this machine"),
        (["--host", "192.0.2.1"], "no such address"),
        (["--run", "other"], "other"),
    ],
)
def test_what_cannot_be_is_one_sentence(run, trained, options, word):
    result = run("serve", "--port", "0", *options)
    assert result.exit_code == 1
    assert word in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1


def test_without_the_extra_it_says_what_to_install(run, trained, monkeypatch):
    monkeypatch.setattr("hipgpt_cli.commands.serve.find_spec", lambda _: None)
    result = run("serve")
    assert result.exit_code == 1
    assert "pip install 'hipgpt-cli[serve]'" in result.stderr


@posix
@pytest.mark.slow
def test_64_clients(served, tmp_path):
    """For some seconds; benchmarks/bench_serve.py does it for a minute and more.

    Clients that read, leave, send garbage and too long prompts: every text is the one that its
    request gets alone, every row is given back, and memory does not grow.
    """
    path = Path(__file__).parents[2] / "benchmarks" / "bench_serve.py"
    spec = importlib.util.spec_from_file_location("bench_serve", path)
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    options = bench.arguments(["--clients", "64", "--seconds", "4", "--seq", "32", "--dim", "32"])
    with bench.serving(["--checkpoint", str(bench.save_model(tmp_path, options))]) as (port, made):
        result = bench.run(port, made.pid, options)
    assert result["problems"] == []
    assert result["requests"]["right"] > 64
    memory = result["memory_mb"]
    assert not memory or memory["at the end"] < 1.3 * memory["after a quarter"]


def test_the_page_is_small_and_names_no_other_place(served):
    port, made, _ = served()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as response:
        page = response.read()
    assert len(page) < 10_000
    assert b"//" not in page
    made.kill()
