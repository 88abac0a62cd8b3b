"""Philox: the published vectors through the package's own function, and its layout of the words."""

import numpy as np
import pytest

from hipgpt_kernels.philox import philox4x32

from . import reference_random

KNOWN_ANSWERS = [
    (0, 0, 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (2**64 - 1, 2**64 - 1, 2**64 - 1, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        0x85A308D3_243F6A88,
        0x299F31D0_A4093822,
        0x03707344_13198A2E,
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
"""Counter, seed and stream as 64-bit numbers, low word first; the Random123 library's vectors."""


@pytest.mark.parametrize(("counter", "seed", "stream", "expected"), KNOWN_ANSWERS)
def test_known_answers(counter, seed, stream, expected):
    words = philox4x32(np.array([counter], np.uint64), seed, stream)
    assert tuple(words[0].tolist()) == expected


@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**63 + 12345])
@pytest.mark.parametrize("stream", [0, 2**32 - 1, 2**40 + 7])
def test_it_is_the_paper_s_in_plain_integers(rng, seed, stream):
    counters = rng.integers(0, 2**64 - 1, 20, np.uint64, endpoint=True)
    kept = counters.copy()
    words = philox4x32(counters, seed, stream)
    assert words.shape == (20, 4)
    assert words.dtype == np.uint32
    np.testing.assert_array_equal(counters, kept)
    for counter, row in zip(counters.tolist(), words.tolist(), strict=True):
        halves = [(number & 0xFFFFFFFF, number >> 32) for number in (counter, stream, seed)]
        assert tuple(row) == reference_random.philox4x32_10(halves[0] + halves[1], halves[2])


def test_no_counters_give_no_words():
    assert philox4x32(np.empty(0, np.uint64), 1, 2).shape == (0, 4)


def test_words_do_not_depend_on_how_the_counters_are_cut():
    counters = np.arange(1000, dtype=np.uint64)
    parts = [philox4x32(part, 3, 4) for part in np.split(counters, [1, 300, 301])]
    np.testing.assert_array_equal(np.concatenate(parts), philox4x32(counters, 3, 4))


def test_bits_are_balanced():
    """Each of 32 bits of each word is set in half of 20,000 counters, within five deviations."""
    words = philox4x32(np.arange(20_000, dtype=np.uint64), 1, 1)
    bits = (words[..., None] >> np.arange(32, dtype=np.uint32)) & 1  # (20000, 4, 32)
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 5 * 0.5 / np.sqrt(20_000)
