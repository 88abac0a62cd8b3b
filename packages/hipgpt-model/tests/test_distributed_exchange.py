"""Sums over the ranks and copies to all of them, by MPI."""

import pytest

from .ranks_launch import launch


@pytest.mark.parametrize("zero", [0, 1])
@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_get_the_sums_that_numpy_gives(ranks, zero):
    said = launch(ranks, "exchange.py", zero).stdout
    assert said.count("well") == ranks  # the ranks write at once, so lines may mix
