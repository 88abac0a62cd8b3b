"""Random numbers as their paper reads, in plain Python integers: Philox, dropout, sampling.

The odd thing: like `reference.py`, what computes with floats does so in the dtype of its input, so
that the same lines are the float64 reference and the plain float32 yardstick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hipgpt_kernels.reference import softmax

if TYPE_CHECKING:
    from hipgpt_kernels.reference import Array

MASK32 = 0xFFFFFFFF


def philox4x32_10(
    counter: tuple[int, int, int, int], key: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Philox4x32-10 (Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3", section 3).

    Each of ten rounds maps (c0, c1, c2, c3) with key (k0, k1) to
    (hi(M1·c2) ⊕ c1 ⊕ k0, lo(M1·c2), hi(M0·c0) ⊕ c3 ⊕ k1, lo(M0·c0)) and then adds the Weyl
    constants to the key. Four 32-bit words of counter, two of key, four of output.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0 = 0xD2511F53 * c0
        p1 = 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & MASK32, (p0 >> 32) ^ c3 ^ k1, p0 & MASK32
        k0, k1 = (k0 + 0x9E3779B9) & MASK32, (k1 + 0xBB67AE85) & MASK32
    return c0, c1, c2, c3


def random_words(count: int, seed: int, stream: int) -> list[int]:
    """The first `count` words: word i is word i % 4 of Philox with counter i // 4.

    The counter's words are (lo(c), hi(c), lo(stream), hi(stream)), the key's (lo(seed), hi(seed)).
    """
    words: list[int] = []
    for c in range(-(-count // 4)):
        counter = (c & MASK32, c >> 32, stream & MASK32, stream >> 32)
        words.extend(philox4x32_10(counter, (seed & MASK32, seed >> 32)))
    return words[:count]


def dropout_keep(size: int, probability: float, seed: int, stream: int) -> Array:
    """keep[i] = word i ≥ round(probability · 2³²)."""
    threshold = round(probability * 2**32)
    return np.array([word >= threshold for word in random_words(size, seed, stream)], bool)


def dropout_forward(
    x: Array, probability: float, seed: int, stream: int, residual: Array | None = None
) -> Array:
    """out[i] = x[i] · keep[i] / (1 − probability) + residual[i]."""
    keep = dropout_keep(x.size, probability, seed, stream).reshape(x.shape)
    out = x * keep / (1 - probability)
    return out if residual is None else out + residual


def uniform(row: int, seed: int, position: int) -> float:
    """u = (word + 1/2) / 2³², inside (0, 1), with word number `row` of stream `position`."""
    counter = (row // 4, 0, position & MASK32, position >> 32)
    word = philox4x32_10(counter, (seed & MASK32, seed >> 32))[row % 4]
    return (word + 0.5) / 2**32


def filtered_probabilities(
    z: Array,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    seen: Array | None = None,
) -> Array:
    """What one row of logits may draw, and how likely; (V,) -> (V,) probabilities.

    In order: repetition penalty (Keskar et al. 2019, section 4.1), temperature, top-k, top-p (the
    smallest set of likeliest ids whose probability reaches top_p), min-p (at least min_p times the
    likeliest), each on what the ones before left, renormalised. Ties go to the smaller id.
    """
    if seen is not None:
        penalised = np.where(z > 0, z / repetition_penalty, z * repetition_penalty)
        z = np.where(seen != 0, penalised, z)
    order = np.argsort(-z, kind="stable")  # likeliest first, the smaller id first among equals
    if temperature == 0:
        return (np.arange(len(z)) == order[0]).astype(z.dtype)
    p = softmax(z / temperature)
    if top_k > 0:
        p[order[top_k:]] = 0
        p = p / p.sum()
    if top_p < 1:
        reached = np.cumsum(p[order]) >= top_p
        p[order[1:][reached[:-1]]] = 0  # an id goes when the likelier ones suffice; the first stays
        p = p / p.sum()
    p = np.where(p >= min_p * p.max(), p, 0)
    return p / p.sum()


def draw(p: Array, u: float) -> int:
    """The smallest id whose cumulative probability exceeds u · total."""
    cumulative = np.cumsum(p)
    return int(np.flatnonzero(cumulative > u * cumulative[-1])[0])


def sample(
    logits: Array, *, seed: int = 0, position: int = 0, seen: Array | None = None, **filters: Any
) -> Array:
    """One id for each row of (B, V) logits."""
    ids = []
    for b, row in enumerate(logits):
        p = filtered_probabilities(row, seen=None if seen is None else seen[b], **filters)
        ids.append(draw(p, uniform(b, seed, position)))
    return np.array(ids, np.int32)
