"""A program: train, be killed at random instants, go on, until there were enough kills.

    python kill_loop.py FOLDER KILLS SEED TRAIN-OPTION…

FOLDER/whole becomes a run that nobody disturbed; FOLDER/killed-0, … are the same run, killed again
and again. The last line printed is JSON: {"kills": …, "while": {…}, "runs": […]}. The odd thing:
every life is a fork of this process, in which all is imported, so 50 of them take seconds.
"""

import contextlib
import json
import os
import random
import signal
import sys
import time
from importlib import import_module
from pathlib import Path

from hipgpt_cli.main import cli

for module in (
    *("cli.commands.train", "cli.fit", "cli.resume", "cli.sample", "cli.session", "cli.writing"),
    *("kernels.native.backend", "model.generate", "model.saving", "model.train", "tokenizer"),
):  # what a life would import one by one, before the first fork
    import_module(f"hipgpt_{module}")


def live(folder, name, options, log):
    """Start a life of the run; its process."""
    begun = (folder / name / "config.json").is_file()
    arguments = ["train", "--runs-dir", str(folder), "--run-name", name]
    arguments += ["--resume"] if begun else options
    process = os.fork()
    if process:
        return process
    status = 1
    with contextlib.suppress(BaseException):
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        try:
            cli(arguments, prog_name="hipgpt")
        except SystemExit as end:
            status = end.code
        sys.stdout.flush()
    os._exit(status or 0)


def ended(process, seconds):
    """Whether a life ends by itself within so many seconds; its status must then be 0."""
    deadline = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            assert status == 0, f"a life ended with status {status}"
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.0005)


def state(folder):
    """What a run that was killed just now looks like on disk."""
    if not (folder / "config.json").is_file():
        return "preparing"
    if list(folder.glob("checkpoints/.*.part")):
        return "writing a checkpoint"
    if not list(folder.glob("checkpoints/*")):
        return "before the first checkpoint"
    return "training"


def main(folder, kills, seed, *options):
    folder, kills, chance = Path(folder), int(kills), random.Random(int(seed))
    log = folder.parent / "log"

    began = time.monotonic()
    assert ended(live(folder, "whole", options, log), 300)
    whole_s = time.monotonic() - began
    began = time.monotonic()
    first = live(folder, "start-up", options, log)
    while not (folder / "start-up" / "config.json").is_file():
        time.sleep(0.0005)
    start_s = time.monotonic() - began
    assert ended(first, 300)

    done, seen, runs = 0, {}, ["killed-0"]
    while done < kills:
        life = live(folder, runs[-1], options, log)
        # Half of them while it starts, half while it trains for a twentieth of its time.
        if ended(life, chance.uniform(0, start_s + whole_s / 20)):
            runs.append(f"killed-{len(runs)}")
            continue
        os.kill(life, signal.SIGKILL)
        os.waitpid(life, 0)
        done += 1
        what = state(folder / runs[-1])
        seen[what] = seen.get(what, 0) + 1
    assert ended(live(folder, runs[-1], options, log), 300)
    print(json.dumps({"kills": done, "while": seen, "runs": runs}))


if __name__ == "__main__":
    main(*sys.argv[1:])
