"""Apply merges to one piece: the lowest rank first, the leftmost of equals first.

Odd thing: there are two algorithms with one result. Short pieces use lists and C's min(),
which costs n squared but beats anything clever up to a hundred bytes; longer ones use a heap
over a linked list, so that a word of a million characters takes seconds and not days.
"""

from __future__ import annotations

import itertools
from heapq import heapify, heappop, heappush

from .model import ID_BITS

TYPE_CHECKING = False  # importing typing would cost half of the import time
if TYPE_CHECKING:
    from collections.abc import Iterable

MASK = (1 << ID_BITS) - 1

# A rank above every real one: what a pair that does not merge has.
_NEVER = 1 << 62

# Where the heap becomes faster: at 100 to 200 ids, measured on random letters and on runs.
_LONG = 128

MergeTable = dict[int, int]
"""left << ID_BITS | right  ->  rank << ID_BITS | result."""


def merge_table(merges: Iterable[tuple[int, int, int]]) -> MergeTable:
    """Index merges by their pair.

    >>> merge_table([(0, 1, 2)]) == {0 << ID_BITS | 1: 0 << ID_BITS | 2}
    True
    """
    return {
        left << ID_BITS | right: rank << ID_BITS | result
        for rank, (left, right, result) in enumerate(merges)
    }


def apply_merges(ids: list[int], table: MergeTable) -> list[int]:
    """Merge ids until no pair is in the table; the list given is used up.

    >>> apply_merges([0, 1, 0, 1, 0], merge_table([(0, 1, 2), (2, 2, 3)]))
    [3, 0]
    """
    if len(ids) < 2:
        return ids
    return _merge_short(ids, table) if len(ids) <= _LONG else _merge_long(ids, table)


def _merge_short(ids: list[int], table: MergeTable) -> list[int]:
    get = table.get
    ranks = [get(left << ID_BITS | right, _NEVER) for left, right in itertools.pairwise(ids)]
    while ranks:
        best = min(ranks)
        if best == _NEVER:
            break
        place = ranks.index(best)
        new = ids[place] = best & MASK
        del ids[place + 1], ranks[place]
        if place:
            ranks[place - 1] = get(ids[place - 1] << ID_BITS | new, _NEVER)
        if place < len(ranks):
            ranks[place] = get(new << ID_BITS | ids[place + 1], _NEVER)
    return ids


def _merge_long(ids: list[int], table: MergeTable) -> list[int]:
    get = table.get
    count = len(ids)
    shift = count.bit_length()
    places = (1 << shift) - 1
    following = list(range(1, count + 1))
    before = list(range(-1, count - 1))

    # An entry is rank and result, then the place: one int, so that the heap compares fast.
    heap = []
    for place, (left, right) in enumerate(itertools.pairwise(ids)):
        found = get(left << ID_BITS | right, _NEVER)
        if found != _NEVER:
            heap.append(found << shift | place)
    heapify(heap)

    while heap:
        entry = heappop(heap)
        place = entry & places
        found = entry >> shift
        other = following[place]
        # subtle: an entry is stale when its pair has changed since; -1 marks a merged-away id
        if ids[place] < 0 or other >= count:
            continue
        if get(ids[place] << ID_BITS | ids[other]) != found:
            continue
        new = ids[place] = found & MASK
        ids[other] = -1
        after = following[place] = following[other]
        if after < count:
            before[after] = place
            found = get(new << ID_BITS | ids[after], _NEVER)
            if found != _NEVER:
                heappush(heap, found << shift | place)
        previous = before[place]
        if previous >= 0:
            found = get(ids[previous] << ID_BITS | new, _NEVER)
            if found != _NEVER:
                heappush(heap, found << shift | previous)
    return [id_ for id_ in ids if id_ >= 0]
