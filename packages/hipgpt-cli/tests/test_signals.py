"""Ctrl-C, SIGTERM and a full disk, on real processes."""

import json
import os
import signal
import subprocess
import sys

import pytest

from hipgpt_cli.runs import Run
from hipgpt_model.checkpoint import read_header

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


@pytest.fixture
def endless(sizes):
    """A tiny training that nobody waits for."""
    return [*sizes, "--steps", "10000000", "--log-every", "5", "--ckpt-every", "0",
            "--eval-every", "0", "--run-name", "r"]  # fmt: skip


def until(process, text):
    """Read standard output up to a line that has this text."""
    for line in process.stdout:
        if text in line.decode():
            return
    pytest.fail(f"{text!r} never came: {process.stderr.read().decode()}")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_a_signal_saves_and_says_how_to_go_on(
    process, run, text, tmp_path, number, status, endless
):
    made = process("train", "--data", text, *endless)
    until(made, "[Step 10]")
    made.send_signal(number)
    _, errors = made.communicate(timeout=30)
    assert made.returncode == status, errors
    assert b"To go on: hipgpt train --resume" in errors
    assert b"Traceback" not in errors
    run_ = Run(tmp_path / "runs" / "r")
    step = read_header(run_.newest_checkpoint()).step
    assert step >= 10
    assert not list(run_.path.rglob(".*"))
    result = run("train", "--resume", "--steps", str(step + 5))
    assert result.exit_code == 0, result.output
    steps = [json.loads(line)["step"] for line in run_.metrics.read_text().splitlines()]
    assert steps == sorted(steps)


def test_a_signal_before_the_first_step_leaves_nothing(process, tmp_path, endless):
    """The text comes through a pipe that never ends; nothing is made before it does."""
    made = process("train", "--data", "-", *endless, stdin=subprocess.PIPE)
    until(made, "Device")
    made.send_signal(signal.SIGINT)
    _, errors = made.communicate(timeout=30)
    assert made.returncode == 130
    assert errors.decode() == "Stopped before the first step.\n"
    assert not (tmp_path / "runs").exists()


def test_a_second_signal_stops_at_once(tmp_path):
    """In the middle of a step that takes for ever, and says what there is."""
    from hipgpt_cli.errors import StoppedError
    from hipgpt_cli.signals import Interrupts

    with Interrupts() as interrupts, interrupts.deferred():
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.signal == signal.SIGINT
        with pytest.raises(StoppedError) as stopped:
            os.kill(os.getpid(), signal.SIGINT)
    assert stopped.value.signal == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_stopped_at_once_names_what_is_there(run, text, tiny, monkeypatch):
    """Two signals within the sixth step: it is lost, the checkpoint of the fourth is not."""
    from hipgpt_model.train import Trainer

    whole_step = Trainer.train_step

    def interrupted_step(trainer, **kwargs):
        if trainer.step == 5:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return whole_step(trainer, **kwargs)

    monkeypatch.setattr(Trainer, "train_step", interrupted_step)
    result = run("train", "--data", text, "--run-name", "r", *tiny)
    assert result.exit_code == 130
    assert result.stderr == (
        "Stopped at once; kept: runs/r/checkpoints/step-00000004.msgpack, "
        "from which --resume goes on.\n"
    )


LIMITED = (
    "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}));"
    "from hipgpt_cli.main import main; sys.argv = ['hipgpt', *{1!r}]; main()"
)
"""A program whose files may not grow beyond a size; the system refuses as on a full disk."""


def limited(size, *arguments):
    program = LIMITED.format(size, [str(argument) for argument in arguments])
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )


def test_a_full_disk_at_the_first_checkpoint(text, tmp_path, sizes):
    """Nothing was kept, which is said, and nothing is left."""
    done = limited(30_000, "train", "--data", text, *sizes, "--steps", "4", "--ckpt-every", "2")
    assert done.returncode == 1
    assert "no room left to write it" in done.stderr
    assert "nothing of this run is kept" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_full_disk_later_keeps_the_last_checkpoint(trained, tmp_path):
    """The checkpoint before is still named, whole, and goes on when there is room again."""
    before = Run(trained).newest_checkpoint()
    done = limited(30_000, "train", "--resume", "--steps", "20")
    assert done.returncode == 1
    assert f"kept: {before.relative_to(tmp_path)}, from which --resume goes on" in done.stderr
    assert Run(trained).newest_checkpoint() == before
    assert not list(trained.rglob(".*"))
