"""Embedding: rows of a table, and their gradients added back; repeated ids must add up."""

import numpy as np
import pytest

from . import reference
from .arrays import normal, on_device, result_both_ways
from .exactness import assert_exact, assert_same_bits

SHAPES = [
    (1, 1, 2, 1, 1),
    (2, 3, 5, 4, 3),
    (1, 257, 50_257, 300, 5),
    (3, 1, 4, 9, 7),
    (4, 32, 300, 32, 128),
    (7, 13, 97, 29, 33),
]
"""B, T, V, S, E: tiny, odd, the widest vocabulary, one token, aligned, what nothing divides."""


@pytest.mark.parametrize(("B", "T", "V", "S", "E"), SHAPES)
def test_forward(backend, rng, B, T, V, S, E):
    tokens = rng.integers(0, V, (B, T), np.int32)
    token_table, position_table = normal(rng, V, E), normal(rng, S, E)
    device = on_device(backend, tokens, token_table, position_table)
    out = result_both_ways(backend, lambda **o: backend.embedding_forward(*device, **o), (B, T, E))
    assert_exact(out, reference.embedding_forward, tokens, token_table, position_table)


def test_forward_at_a_position(backend, rng):
    """The row of position + t is added, up to the last row of the table."""
    tokens, token_table, position_table = (
        rng.integers(0, 5, (2, 3), np.int32),
        normal(rng, 5, 4),
        normal(rng, 9, 4),
    )
    device = on_device(backend, tokens, token_table, position_table)
    for position in (0, 1, 6):
        out = backend.to_numpy(backend.embedding_forward(*device, position=position))
        assert_exact(
            out, reference.embedding_forward, tokens, token_table, position_table, position
        )


def test_forward_without_positions_copies_rows(backend, rng):
    tokens, token_table = rng.integers(0, 5, (2, 3), np.int32), normal(rng, 5, 4)
    out = backend.embedding_forward(*on_device(backend, tokens, token_table))
    assert_same_bits(backend.to_numpy(out), token_table[tokens])


@pytest.mark.parametrize(("B", "T", "V", "S", "E"), SHAPES)
@pytest.mark.parametrize("vocabulary", ["all", "one id"])
def test_backward_adds(backend, rng, B, T, V, S, E, vocabulary):
    """Also where every token is the same id: B·T rows add into one."""
    tokens = rng.integers(0, V if vocabulary == "all" else 1, (B, T), np.int32)
    dout, start_token, start_position = normal(rng, B, T, E), normal(rng, V, E), normal(rng, S, E)
    dtoken_table, dposition_table = on_device(backend, start_token, start_position)
    backend.embedding_backward(*on_device(backend, dout, tokens), dtoken_table, dposition_table)
    dtoken_table, dposition_table = map(backend.to_numpy, (dtoken_table, dposition_table))

    def formula(dout, start_token, start_position):
        dtoken, dposition = reference.embedding_backward(dout, tokens, V, S)
        return start_token + dtoken, start_position + dposition

    assert_exact((dtoken_table, dposition_table), formula, dout, start_token, start_position)
    absent = np.setdiff1d(np.arange(V), tokens)
    assert_same_bits(dtoken_table[absent], start_token[absent])
    assert_same_bits(dposition_table[T:], start_position[T:])


def test_backward_without_positions(backend, rng):
    tokens, dout = rng.integers(0, 5, (2, 3), np.int32), normal(rng, 2, 3, 4)
    dtoken_table = backend.zeros((5, 4))
    backend.embedding_backward(*on_device(backend, dout, tokens), dtoken_table)
    assert_exact(
        backend.to_numpy(dtoken_table),
        lambda dout: reference.embedding_backward(dout, tokens, 5, 3)[0],
        dout,
    )


def test_backward_gives_the_same_bits_twice(backend, rng):
    """Many tokens on few rows: where an atomic add would show."""
    tokens, dout = rng.integers(0, 3, (8, 64), np.int32), normal(rng, 8, 64, 32)
    results = []
    for _ in range(2):
        tables = on_device(backend, np.zeros((3, 32), np.float32), np.zeros((64, 32), np.float32))
        backend.embedding_backward(*on_device(backend, dout, tokens), *tables)
        results.append([backend.to_numpy(table) for table in tables])
    for first, second in zip(*results, strict=True):
        assert_same_bits(first, second)
