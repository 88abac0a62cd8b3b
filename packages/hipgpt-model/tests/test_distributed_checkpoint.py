"""One checkpoint file by all ranks: the bytes that one process would write."""

import pytest

from .ranks_launch import launch


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_write_the_bytes_that_one_process_writes(ranks, tmp_path):
    assert launch(ranks, "saving.py", tmp_path).stdout.count("well") == ranks
