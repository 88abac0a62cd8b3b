"""Learn merges: again and again join the pair of neighbours that occurs most.

Ties go to the pair with the smallest ids, as in Hugging Face's BpeTrainer, whose merges these
are. Counts are kept up to date as pairs are merged; nothing is ever counted twice.

Odd thing: all words lie in one list, a token's id at its first and at its last byte, with -1
between words. So the neighbours of a token are found by its length, with no links to maintain:
the token "the" in " the" is [220, 1169, (old), 1169], and the token before it ends one to the left.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from .model import ID_BITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .counting import Progress

_PAIR_BITS = 2 * ID_BITS
_PAIR = (1 << _PAIR_BITS) - 1
_ID = (1 << ID_BITS) - 1
_BORDER = -1

# Merges between two calls of progress.
_REPORT_EVERY = 256


def learn_merges(
    words: Mapping[bytes, int],
    tokens: list[bytes],
    wanted: int,
    min_frequency: int,
    progress: Progress | None = None,
) -> list[tuple[int, int, int]]:
    """Return merges (left, right, result) and append each new token to tokens.

    Args:
        words: The bytes of each piece, and how often it occurs.
        tokens: The 256 byte tokens by id; grows to at most `wanted`.
        wanted: Size of the vocabulary at which to stop.
        min_frequency: Do not merge a pair that occurs less often.
        progress: Called with "merge", the tokens made and the tokens wanted.

    >>> learn_merges({b"aab": 2}, [b"a", b"b"], 4, 1)
    [(0, 0, 2), (2, 1, 3)]
    """
    first = len(tokens)
    id_of = {token: id_ for id_, token in enumerate(tokens)}
    lengths = [len(token) for token in tokens]
    line, frequencies = _lay_out(words, id_of)
    counts, places = _count_pairs(line, frequencies)
    least = max(min_frequency, 1)

    # The heap holds (-count, left, right) as one int. An entry is only a promise: the count may
    # have fallen since, which is found out when it comes up.
    heap = [(-count << _PAIR_BITS) + pair for pair, count in counts.items() if count >= least]
    heapify(heap)
    merges: list[tuple[int, int, int]] = []
    report = first + _REPORT_EVERY

    while heap and len(tokens) < wanted:
        entry = heappop(heap)
        pair = entry & _PAIR
        count = counts[pair]
        if count != -(entry >> _PAIR_BITS):
            if count >= least and pair in places:
                heappush(heap, (-count << _PAIR_BITS) + pair)
            continue
        occurrences = places.pop(pair, None)
        if occurrences is None:
            continue
        left, right = pair >> ID_BITS, pair & _ID
        token = tokens[left] + tokens[right]
        new = id_of.get(token)
        known = new is not None
        if new is None:
            new = id_of[token] = len(tokens)
            tokens.append(token)
            lengths.append(len(token))
        merges.append((left, right, new))
        if left == right:
            # "aaa" holds the pair twice, and the left one counts: it must come first.
            occurrences.sort()

        # What the loop needs is in local names: it runs once for each merge in each word.
        left_length, right_length = lengths[left], lengths[right]
        new_key, right_key = new << ID_BITS, right << ID_BITS
        changed: list[int] = []
        for place in occurrences:
            middle = place + left_length
            if line[place] != left or line[middle] != right:
                continue  # one of the two has been merged with something else
            end = middle + right_length
            frequency = frequencies[place]
            line[middle] = _BORDER  # subtle: no old id may stay where a token began
            line[place] = line[end - 1] = new
            before = line[place - 1]
            if before >= 0:
                before_key = before << ID_BITS
                counts[before_key | left] -= frequency
                key = before_key | new
                if key in counts:
                    counts[key] += frequency
                    places.setdefault(key, []).append(place - lengths[before])
                    if known:
                        changed.append(key)
                else:
                    counts[key] = frequency
                    places[key] = [place - lengths[before]]
                    changed.append(key)
            after = line[end]
            if after >= 0:
                counts[right_key | after] -= frequency
                key = new_key | after
                if key in counts:
                    counts[key] += frequency
                    places.setdefault(key, []).append(place)
                    if known:
                        changed.append(key)
                else:
                    counts[key] = frequency
                    places[key] = [place]
                    changed.append(key)
        for key in set(changed) if known else changed:
            count = counts[key]
            if count >= least:
                heappush(heap, (-count << _PAIR_BITS) + key)
        if progress and len(tokens) >= report:
            progress("merge", len(tokens) - first, wanted - first)
            report = len(tokens) + _REPORT_EVERY
    if progress:
        progress("merge", len(tokens) - first, len(tokens) - first)
    return merges


def _lay_out(words: Mapping[bytes, int], id_of: Mapping[bytes, int]) -> tuple[list[int], list[int]]:
    """Put all words of two bytes and more in one line of ids, and their frequencies beside it."""
    base = [id_of.get(bytes([byte]), _BORDER) for byte in range(256)]
    line = [_BORDER]
    frequencies = [0]
    for word, frequency in words.items():
        if len(word) > 1:
            line += [base[byte] for byte in word]
            line.append(_BORDER)
            frequencies += [frequency] * (len(word) + 1)
    return line, frequencies


def _count_pairs(
    line: list[int], frequencies: list[int]
) -> tuple[dict[int, int], dict[int, list[int]]]:
    """Return how often each pair of neighbours occurs, and where."""
    counts: dict[int, int] = {}
    places: dict[int, list[int]] = {}
    left = _BORDER
    for place, right in enumerate(line):
        if left >= 0 and right >= 0:
            pair = left << ID_BITS | right
            if pair in counts:
                counts[pair] += frequencies[place]
                places[pair].append(place - 1)
            else:
                counts[pair] = frequencies[place]
                places[pair] = [place - 1]
        left = right
    return counts, places
