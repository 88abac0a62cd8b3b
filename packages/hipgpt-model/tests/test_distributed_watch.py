"""A rank that dies or hangs is named, and the job ends soon; a sound job is left alone."""

import time

import pytest

from .ranks_launch import launch


def test_a_sound_job_is_left_alone():
    said = launch(3, "watched.py", "nothing", 0)
    assert said.stdout.count("well") == 3
    assert "Error" not in said.stderr


@pytest.mark.parametrize("who", [1, 2])
def test_a_rank_that_hangs_is_named(who):
    began = time.monotonic()
    said = launch(3, "watched.py", "hang", who, check=False)
    assert said.returncode != 0
    assert time.monotonic() - began < 20
    assert f"Error: rank {who} on " in said.stderr
    assert "not moved for 3 s" in said.stderr


def test_rank_0_may_be_the_one_that_hangs():
    said = launch(2, "watched.py", "hang", 0, check=False)
    assert said.returncode != 0
    assert "Error: rank 0 on " in said.stderr


def test_a_rank_that_is_killed_ends_the_job():
    began = time.monotonic()
    said = launch(3, "watched.py", "kill", 2, check=False)
    assert said.returncode != 0
    assert time.monotonic() - began < 20
    # MPICH's launcher may end all ranks before rank 0 can speak; then it has named the process.
    assert "rank 2 on " in said.stderr or "BAD TERMINATION" in said.stdout, said
