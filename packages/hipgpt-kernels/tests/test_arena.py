"""The arena: arrays that do not overlap, and the same addresses in every round.

The odd thing: an address is told by what is left in it. A later round's array is not written by
`empty`, so if it is the same memory it still holds what the earlier round put there.
"""

import numpy as np
import pytest

from hipgpt_kernels import Arena
from hipgpt_kernels.arena import ALIGNMENT, BLOCK_BYTES


@pytest.fixture
def arena(backend):
    return Arena(backend)


def take_round(backend, arena, number):
    """Arrays as a step takes them, more than one block of them, filled with their own numbers."""
    shapes = [(3,), (BLOCK_BYTES // 8, 1), (1, 1), (700, 301), (BLOCK_BYTES // 4, 2), (5, 7)]
    arrays = [arena.empty(shape) for shape in shapes]
    before = [backend.to_numpy(array) for array in arrays]
    for i, array in enumerate(arrays):
        backend.fill(array, 100 * number + i)
    return arrays, before


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.uint8, np.float64])
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (0, 4), (2, 3, 4, 5)])
def test_shape_and_dtype(backend, arena, shape, dtype):
    array = arena.empty(shape, dtype)
    assert tuple(array.shape) == shape
    assert array.dtype == dtype
    backend.fill(array, 7)
    np.testing.assert_array_equal(backend.to_numpy(array), np.full(shape, 7, dtype))


def test_float32_is_the_default(arena):
    assert arena.empty((2,)).dtype == np.float32


def test_arrays_do_not_overlap(backend, arena):
    """Each keeps its own number after all others were filled, in one block and across blocks."""
    arrays, _ = take_round(backend, arena, 1)
    for i, array in enumerate(arrays):
        assert (backend.to_numpy(array) == 100 + i).all()


def test_arrays_begin_on_multiples_of_the_alignment(backend):
    """Relative to their block, so that all are aligned as well as the backend's own arrays are."""
    arena = Arena(backend)
    arena.empty((1,), np.uint8)
    assert arena.mark()[1] == ALIGNMENT
    arena.empty((ALIGNMENT + 1,), np.uint8)
    assert arena.mark()[1] == 3 * ALIGNMENT


def test_a_released_place_is_taken_again(backend, arena):
    kept = arena.empty((10,))
    backend.fill(kept, 1)
    mark = arena.mark()
    backend.fill(arena.empty((100,)), 2)
    arena.release(mark)
    again = arena.empty((100,))
    assert (backend.to_numpy(again) == 2).all()
    assert (backend.to_numpy(kept) == 1).all()


def test_marks_nest(backend, arena):
    outer = arena.mark()
    backend.fill(arena.empty((10,)), 1)
    inner = arena.mark()
    arena.empty((20,))
    arena.release(inner)
    assert arena.mark() == inner
    arena.empty((BLOCK_BYTES,))  # into another block
    arena.release(inner)
    assert arena.mark() == inner
    arena.release(outer)
    assert (backend.to_numpy(arena.empty((10,))) == 1).all()


def test_later_rounds_take_the_same_addresses(backend, arena):
    """Round 2 joins the blocks; from round 3 on each array is where it was, and nothing grows."""
    take_round(backend, arena, 1)
    arena.reset()
    take_round(backend, arena, 2)
    capacity = arena.capacity
    for number in (3, 4):
        arena.reset()
        _, before = take_round(backend, arena, number)
        for i, contents in enumerate(before):
            assert (contents == 100 * (number - 1) + i).all()
        assert arena.capacity == capacity


def test_reset_joins_the_blocks(backend, arena):
    take_round(backend, arena, 1)
    high_water = arena.high_water
    arena.reset()
    assert high_water <= arena.capacity < high_water + BLOCK_BYTES
    take_round(backend, arena, 2)
    assert arena.mark()[0] == 0  # everything in the first block
    assert arena.high_water == high_water


def test_high_water_is_the_most_that_was_taken_at_once(arena):
    assert arena.high_water == 0
    mark = arena.mark()
    arena.empty((1000,), np.uint8)
    arena.empty((24,), np.uint8)
    assert arena.high_water == 1024 + ALIGNMENT
    arena.release(mark)
    arena.empty((100,), np.uint8)
    assert arena.high_water == 1024 + ALIGNMENT
    arena.reset()
    assert arena.high_water == 1024 + ALIGNMENT


def test_an_array_larger_than_any_block(backend, arena):
    small = arena.empty((3,))
    large = arena.empty((3 * BLOCK_BYTES,), np.uint8)
    backend.fill(small, 1)
    backend.fill(large, 2)
    assert (backend.to_numpy(small) == 1).all()
    assert (backend.to_numpy(large) == 2).all()


def test_ops_work_on_its_arrays(backend, arena, rng):
    x = rng.standard_normal((5, 6), np.float32)
    array, out = arena.empty((5, 6)), arena.empty((5, 6))
    backend.copy(array, x)
    backend.add(array, array, out=out)
    np.testing.assert_array_equal(backend.to_numpy(out), x + x)


def test_a_wider_round_after_the_join_grows_again(backend, arena):
    for size in (BLOCK_BYTES, 2 * BLOCK_BYTES, 5 * BLOCK_BYTES):
        for _ in range(2):
            arrays = [arena.empty((size,), np.uint8) for _ in range(3)]
            for i, array in enumerate(arrays):
                backend.fill(array, i)
            for i, array in enumerate(arrays):
                assert (backend.to_numpy(array) == i).all()
            arena.reset()
        assert arena.capacity >= 3 * size
