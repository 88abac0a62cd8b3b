"""Batches cut out of the corpus: inputs, and targets one token later."""

import numpy as np
import pytest

from . import reference
from .arrays import on_device, poisoned
from .exactness import assert_same_bits


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize(("N", "B", "T"), [(2, 1, 1), (10, 3, 4), (1000, 5, 33), (70_000, 1, 257)])
def test_gather_batch(backend, rng, dtype, N, B, T):
    """Any starts, among them the first and the last possible; ids up to the dtype's largest."""
    tokens = rng.integers(0, min(np.iinfo(dtype).max, 2**31 - 1), N, dtype, endpoint=True)
    tokens[-1] = min(np.iinfo(dtype).max, 2**31 - 1)
    starts = rng.integers(0, N - T - 1, B, np.int64, endpoint=True)
    starts[0], starts[-1] = 0, N - T - 1
    inputs, targets = (poisoned(backend, (B, T), np.int32) for _ in range(2))
    device = on_device(backend, tokens, starts)
    backend.gather_batch(*device, inputs, targets)
    expected_inputs, expected_targets = reference.gather_batch(tokens, starts, T)
    assert_same_bits(backend.to_numpy(inputs), expected_inputs)
    assert_same_bits(backend.to_numpy(targets), expected_targets)
    assert_same_bits(backend.to_numpy(device[0]), tokens)


def test_targets_are_the_inputs_one_token_later(backend):
    tokens, starts = on_device(backend, np.arange(100, dtype=np.uint16), np.int64([3, 50]))
    inputs, targets = (poisoned(backend, (2, 8), np.int32) for _ in range(2))
    backend.gather_batch(tokens, starts, inputs, targets)
    assert_same_bits(backend.to_numpy(targets), backend.to_numpy(inputs) + np.int32(1))


def test_from_a_file(tmp_path):
    """The CPU reads a corpus that is a memory map, as `hipgpt_model` keeps it."""
    from hipgpt_kernels import load_backend

    path = tmp_path / "tokens.bin"
    np.arange(1000, dtype=np.uint16).tofile(path)
    tokens = np.memmap(path, np.uint16, mode="r")
    inputs, targets = np.empty((1, 5), np.int32), np.empty((1, 5), np.int32)
    load_backend("cpu").gather_batch(tokens, np.int64([994]), inputs, targets)
    assert inputs.tolist() == [[994, 995, 996, 997, 998]]
    assert targets.tolist() == [[995, 996, 997, 998, 999]]
