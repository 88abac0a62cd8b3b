"""Bytes go to a GPU and come back, and are filled, copied, converted and added there."""

import numpy as np
import pytest

from hipgpt_kernels.hip.dtypes import bfloat16


@pytest.mark.parametrize("size", [0, 1, 3, 1000, (4 << 20) // 4, (9 << 20) // 4 + 1])
def test_bytes_come_back_as_they_went(hip, rng, size):
    """Sizes around the halves of the page-locked memory that copies go through."""
    values = rng.standard_normal(size, dtype=np.float32)
    assert (hip.to_numpy(hip.from_numpy(values)) == values).all()


def test_an_upload_may_be_followed_by_a_change(hip):
    """What was given to from_numpy is the caller's again at once."""
    values = np.zeros(3 << 20, np.float32)
    arrays = []
    for number in range(4):
        values[:] = number
        arrays.append(hip.from_numpy(values))
    for number, array in enumerate(arrays):
        assert (hip.to_numpy(array) == number).all()


def test_copies_with_gaps(hip, rng):
    values = rng.standard_normal((2, 3, 4, 5, 6), dtype=np.float32)
    array = hip.from_numpy(values)
    view = array[:, 1:, ::2].transpose(0, 2, 1, 4, 3)
    assert (hip.to_numpy(view) == values[:, 1:, ::2].transpose(0, 2, 1, 4, 3)).all()
    target = hip.zeros((2, 3, 4, 5, 6))
    hip.copy(target[:, 1:, ::2], array[:, :2, 1::2])
    expected = np.zeros_like(values)
    expected[:, 1:, ::2] = values[:, :2, 1::2]
    assert (hip.to_numpy(target) == expected).all()
    hip.copy(target[:, 0], values[:, 2])
    expected[:, 0] = values[:, 2]
    assert (hip.to_numpy(target) == expected).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8, np.int32, np.int64, bfloat16])
@pytest.mark.parametrize("size", [1, 5, 16, 1003])
def test_fill(hip, dtype, size):
    array = hip.zeros((size + 2,), dtype)
    hip.fill(array[1 : size + 1], 7)
    result = hip.to_numpy(array)
    assert (result[1:-1] == 7).all()
    assert result[0] == result[-1] == 0
    hip.fill(array[::2], 3)
    result[::2] = 3
    assert (hip.to_numpy(array) == result).all()


def test_fill_refuses_what_an_integer_cannot_hold(hip):
    with pytest.raises(ValueError, match=r"value is 0\.5, which int32 cannot hold"):
        hip.fill(hip.zeros((3,), np.int32), 0.5)


@pytest.mark.parametrize("size", [1, 4, 1001])
@pytest.mark.parametrize("dtype", [bfloat16, np.float16])
def test_convert_rounds_to_nearest_even(hip, rng, size, dtype):
    """There and back, against what the host does; with infinities, NaN and subnormals."""
    values = (rng.standard_normal(size) * 10.0 ** rng.integers(-8, 6, size)).astype(np.float32)
    values[:: max(1, size // 5)] = np.inf
    if size > 8:
        values[1:4] = np.nan, -np.inf, np.float32(2**-24)
    expected = hip.to_numpy(hip.from_numpy(values, dtype))
    narrow = hip.convert(hip.from_numpy(values), dtype)
    assert narrow.dtype == dtype
    np.testing.assert_array_equal(hip.to_numpy(narrow), expected)
    wide = hip.convert(narrow, np.float32)
    np.testing.assert_array_equal(hip.to_numpy(wide), expected.astype(np.float32))


@pytest.mark.parametrize("dtype", [bfloat16, np.float16])
def test_add_in_low_precision(hip, rng, dtype):
    x, y = (hip.from_numpy(rng.standard_normal(1001, dtype=np.float32), dtype) for _ in range(2))
    total = hip.to_numpy(x).astype(np.float32) + hip.to_numpy(y).astype(np.float32)
    expected = hip.to_numpy(hip.from_numpy(total, dtype))
    np.testing.assert_array_equal(hip.to_numpy(hip.add(x, y)), expected)
