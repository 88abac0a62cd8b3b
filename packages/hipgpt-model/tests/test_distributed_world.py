"""How many processes were started, and what is said where they cannot work together."""

import sys

import pytest

from hipgpt_model.distributed.world import DistributedError, World, find_world, launched_processes


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, 1),
        ({"OMPI_COMM_WORLD_SIZE": "8"}, 8),
        ({"PMI_SIZE": "2"}, 2),
        ({"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "16"}, 16),
        ({"SLURM_NTASKS": "16"}, 1),  # sbatch's own shell, without srun
        ({"PMI_SIZE": "many"}, 1),
    ],
)
def test_the_launcher_says_how_many(environment, expected):
    assert launched_processes(environment) == expected


def test_a_process_by_itself_has_no_world(monkeypatch):
    for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_SIZE", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)
    assert find_world() is None


def test_without_mpi4py_it_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "4")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(DistributedError, match=r"4 processes .*hipgpt-cli\[distributed\]"):
        World()
