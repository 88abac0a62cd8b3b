"""One process at a time: refused with a sentence, and nothing stale is left by a dead one."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from hipgpt_cli import lock
from hipgpt_cli.errors import UserError
from hipgpt_cli.lock import locked

HOLD = """
import sys, time
from pathlib import Path
from hipgpt_cli.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds tmp_path/r/lock."""
    (tmp_path / "r").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "r" / "lock")], stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_refused_with_a_sentence(holder, tmp_path):
    with (
        pytest.raises(UserError, match=rf"run r is being trained by process {holder.pid} on "),
        locked(tmp_path / "r" / "lock"),
    ):
        pass
    assert (tmp_path / "r" / "lock").is_file()


def test_the_lock_of_a_killed_process_is_taken_over(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    path = tmp_path / "r" / "lock"
    assert json.loads(path.read_text())["process"] == holder.pid
    with locked(path):
        assert json.loads(path.read_text())["process"] == os.getpid()
    assert not path.exists()


def test_this_process_cannot_hold_it_twice(tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "keep").touch()
    with locked(tmp_path / "r" / "lock"):
        with pytest.raises(UserError, match="by this process"), locked(tmp_path / "r" / "lock"):
            pass
        assert (tmp_path / "r" / "lock").is_file()
    with locked(tmp_path / "r" / "lock"):
        pass


def test_a_file_that_was_deleted_meanwhile_is_not_the_lock(tmp_path, monkeypatch):
    """Whoever waits on the old file gets the new one, not a lock that nobody sees."""
    path, first = tmp_path / "lock", []
    original = lock._lock

    def delete_first(file):
        if not first:
            first.append(file)
            path.unlink()
        return original(file)

    monkeypatch.setattr(lock, "_lock", delete_first)
    (tmp_path / "other").touch()
    with locked(path):
        assert path.is_file()


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ('{"process": 1, "host": "HERE", "since": "then"}', True),
        ('{"process": 4194304, "host": "HERE", "since": "then"}', False),
        ('{"process": 1, "host": "elsewhere", "since": "then"}', True),
        ("", False),
        ("[", False),
        ('{"process": "x"}', False),
    ],
)
def test_without_locks_the_text_decides(tmp_path, monkeypatch, text, refused):
    """As some network file systems are: a dead process of this host holds nothing."""
    fcntl = pytest.importorskip("fcntl", reason="Windows has locks of its own")

    def no_locks(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", no_locks)
    (tmp_path / "keep").touch()
    (tmp_path / "lock").write_text(text.replace("HERE", lock.socket.gethostname()))
    if refused:
        with (
            pytest.raises(UserError, match="where that is over, delete"),
            locked(tmp_path / "lock"),
        ):
            pass
    else:
        with locked(tmp_path / "lock"):
            assert json.loads((tmp_path / "lock").read_text())["process"] == os.getpid()


def test_empty_folders_are_taken_away(tmp_path):
    (tmp_path / "runs" / "r").mkdir(parents=True)
    (tmp_path / "other").touch()
    with locked(tmp_path / "runs" / "r" / "lock"):
        time.sleep(0)
    assert not (tmp_path / "runs").exists()
