"""llama.cpp's number formats: how far a number may move, and what is refused."""

import doctest

import numpy as np
import pytest

from hipgpt_model.interop import bfloat16
from hipgpt_model.interop.bfloat16 import from_bf16, to_bf16
from hipgpt_model.interop.errors import InteropError
from hipgpt_model.interop.quantize import dequantize, fits, quantize, quantized_bytes

KINDS = ["f32", "f16", "bf16", "q8_0", "q4_0"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 32), (7, 96), (3000, 64)])
def test_a_number_moves_by_at_most_half_a_step(rng, kind, shape):
    """q8_0: max/127 a step; q4_0: max/8, and a whole one at the end opposite to the maximum."""
    values = rng.standard_normal(shape).astype(np.float32)
    stored = quantize(values, kind, threads=2)
    assert stored.size == quantized_bytes(shape, kind)
    error = np.abs(dequantize(stored, shape, kind) - values)
    if kind in ("q8_0", "q4_0"):
        largest = np.abs(values.reshape(-1, 32)).max(axis=1, keepdims=True)
        step = 1 / 254 if kind == "q8_0" else 1 / 8
        bound = largest * (step + 1.01 * 2**-11)  # the scale is rounded to f16
        assert (error.reshape(-1, 32) <= bound).all()
    else:
        steps = {"f32": 0, "f16": 2**-11, "bf16": 2**-8}
        assert (error <= steps[kind] * np.abs(values) + (2**-24 if kind == "f16" else 0)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_stay_zeros(kind):
    values = np.zeros((2, 64), np.float32)
    assert not dequantize(quantize(values, kind), values.shape, kind).any()


def test_bf16_rounds_to_even_and_keeps_what_is_no_number():
    values = np.array([1 + 2**-8, 1 + 3 * 2**-8, -0.0, np.inf, np.nan, 3.4e38], np.float32)
    again = from_bf16(to_bf16(values))
    assert again[:4].tolist() == [1.0, 1 + 2**-6, 0.0, np.inf]
    assert np.signbit(again[2])
    assert np.isnan(again[4])
    assert np.isinf(again[5])


def test_numbers_too_large_are_refused(rng):
    values = rng.standard_normal((1, 64)).astype(np.float32)
    values[0, 3] = 7e4
    with pytest.raises(InteropError, match="f16 holds numbers up to 65504; a weight is 70000"):
        quantize(values, "f16")
    values[0, 3] = 1e38
    for kind in ("q8_0", "q4_0"):
        with pytest.raises(InteropError, match="too large to be quantised"):
            quantize(values, kind)
    values[0, 3] = np.nan
    for kind in ("q8_0", "q4_0", "f16"):
        with pytest.raises(InteropError):
            quantize(values, kind)


def test_the_examples_in_docstrings_are_true():
    assert doctest.testmod(bfloat16).failed == 0


def test_rows_are_whole_blocks():
    assert fits((3, 33), "f16")
    assert not fits((64, 33), "q8_0")
    with pytest.raises(ValueError, match="multiple of 32"):
        quantize(np.zeros((64, 33), np.float32), "q8_0")
