"""Both merge algorithms do what the definition says."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from hipgpt_tokenizer import bpe


def by_definition(ids, merges):
    """Merge the leftmost pair of the lowest rank until none is left."""
    ranks = {(left, right): rank for rank, (left, right, _) in enumerate(merges)}
    ids = list(ids)
    while True:
        found = [(ranks[pair], place) for place, pair in enumerate(pairwise(ids)) if pair in ranks]
        if not found:
            return ids
        rank, place = min(found)
        ids[place : place + 2] = [merges[rank][2]]


def random_merges(source, letters):
    """Merges of random pairs, in an order that no training would give."""
    merges = []
    size = letters
    for _ in range(source.randrange(1, 30)):
        pair = source.randrange(size), source.randrange(size)
        if pair not in [merge[:2] for merge in merges]:
            merges.append((*pair, size))
            size += 1
    source.shuffle(merges)
    return merges


@pytest.mark.parametrize("algorithm", [bpe._merge_short, bpe._merge_long])
def test_algorithm_follows_the_definition(algorithm):
    source = random.Random(1)
    for _ in range(2000):
        letters = source.randrange(1, 5)
        merges = random_merges(source, letters)
        ids = [source.randrange(letters) for _ in range(source.randrange(2, 40))]
        expected = by_definition(ids, merges)
        assert algorithm(ids, bpe.merge_table(merges)) == expected


@pytest.mark.parametrize("ids", [[], [3]])
def test_nothing_to_merge(ids):
    assert bpe.apply_merges(list(ids), {}) == ids
