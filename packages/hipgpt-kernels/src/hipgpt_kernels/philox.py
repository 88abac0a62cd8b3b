"""Philox4x32-10: random words from a counter and a key, with no state to carry or to save.

Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3. Word
(counter, seed, stream) is the same on every backend, in whatever order or blocks it is computed:
that is what makes dropout and sampling equal everywhere and resumable.
"""

from __future__ import annotations

import numpy as np

MASK = np.uint64(0xFFFFFFFF)
SHIFT = np.uint64(32)
MULTIPLIER_0 = np.uint64(0xD2511F53)
MULTIPLIER_1 = np.uint64(0xCD9E8D57)
WEYL_0 = 0x9E3779B9
WEYL_1 = 0xBB67AE85
ROUNDS = 10


def philox4x32(counter: np.ndarray, seed: int, stream: int) -> np.ndarray:
    """Four random 32-bit words for each counter.

    Args:
        counter: (n,) uint64, the low half of the 128-bit counter.
        seed: the 64-bit key.
        stream: the high half of the counter, 64 bits: one number for each use of randomness.

    Returns:
        (n, 4) uint32.

    Example:
        >>> [hex(word) for word in philox4x32(np.zeros(1, np.uint64), 0, 0)[0]]
        ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    counter = np.asarray(counter, dtype=np.uint64)
    c0 = counter & MASK
    c1 = counter >> SHIFT
    c2 = np.full_like(counter, stream & 0xFFFFFFFF)
    c3 = np.full_like(counter, (stream >> 32) & 0xFFFFFFFF)
    key0 = seed & 0xFFFFFFFF
    key1 = (seed >> 32) & 0xFFFFFFFF
    product0 = np.empty_like(counter)
    product1 = np.empty_like(counter)
    for _ in range(ROUNDS):
        np.multiply(c0, MULTIPLIER_0, out=product0)  # (n,) 64-bit products of 32-bit words
        np.multiply(c2, MULTIPLIER_1, out=product1)
        c0, c2 = (
            (product1 >> SHIFT) ^ c1 ^ np.uint64(key0),
            (product0 >> SHIFT) ^ c3 ^ np.uint64(key1),
        )
        c1 = product1 & MASK
        c3 = product0 & MASK
        key0 = (key0 + WEYL_0) & 0xFFFFFFFF
        key1 = (key1 + WEYL_1) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def uniform(index: int, seed: int, stream: int) -> float:
    """One number in (0, 1): word `index` of a stream, as (word + 1/2) / 2³²."""
    word = philox4x32(np.array([index // 4], dtype=np.uint64), seed, stream)[0, index % 4]
    return (float(word) + 0.5) / 2.0**32
