"""A GPU's memory is used again, and says when there is no more."""

import gc

import numpy as np
import pytest


def test_memory_is_used_again(hip):
    hip.pool.trim()
    first = hip.empty((12345,))
    pointer = first.pointer
    del first
    gc.collect()
    assert hip.pool.cached > 0
    assert hip.empty((12345,)).pointer == pointer
    gc.collect()
    hip.pool.trim()
    assert hip.pool.cached == 0


def test_more_memory_than_there_is(hip):
    with pytest.raises(MemoryError, match="were asked for"):
        hip.empty((hip.device.memory,), np.float32)
