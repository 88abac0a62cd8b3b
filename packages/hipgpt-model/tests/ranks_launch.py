"""Starts a script on several ranks with mpiexec, or skips where there is none."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent / "ranks"


def launch(ranks, script, *arguments, timeout=60, check=True):
    """What the ranks printed; `check` wants them all to end well."""
    mpiexec = Path(sys.executable).parent / "mpiexec"
    program = str(mpiexec) if mpiexec.exists() else shutil.which("mpiexec")
    if program is None or importlib.util.find_spec("mpi4py") is None:
        pytest.skip("mpi4py and mpiexec are not installed (pip install mpi4py mpich)")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [program, "-n", str(ranks), sys.executable, *map(str, [SCRIPTS / script, *arguments])],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment,
        check=False,
    )
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done
