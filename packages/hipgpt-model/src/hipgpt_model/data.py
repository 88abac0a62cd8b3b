"""Windows of tokens for training and validation, in an order that is a function of a single number.

A window is T + 1 ids in a row: T inputs, and T targets one further on. The tokens are one array,
whose last part is validation text, or the shards of prepared data, put one behind the other in
thought: a position counts through all of them, and no window crosses from one into the next.
Training windows are shuffled without replacement over all shards, anew in every epoch, and cut at
another offset each time, so that their borders move. The odd thing: the shuffle is computed, not
stored. Window number i of an epoch is permutation(i), a small keyed cipher over the window numbers,
so a corpus of any size needs no list, and "how many windows were consumed" is the whole state.
"""

from __future__ import annotations

import math
import zlib
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np

from hipgpt_kernels.philox import philox4x32
from hipgpt_model.random_streams import shuffle_stream

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROUNDS = 6
"""Of the cipher; each mixes one half with a function of the other."""

_IDS_AT_ONCE = 1 << 22
"""Ids read in one go from an array that may be a file."""


class TokenData:
    """A corpus of ids, split and cut into windows.

    Args:
        tokens: (N,) uint16 or uint32; an array in memory or a `numpy.memmap`. For shards there is
            `of_shards`.
        T: length of a row.
        validation_fraction: how much of the tokens, at their end, is kept for validation; at least
            one window.

    Attributes:
        shards: the arrays, each (n,); one behind the other they are the N ids of the corpus.
        T: length of a row.
        train_tokens: how many tokens the training part has, which comes first; the validation part
            has the rest.
        train_windows: windows in one epoch.
        validation_windows: windows in the validation part, none overlapping another's targets.

    Raises:
        TypeError: the tokens have another dtype.
        ValueError: a wrong size, or too few tokens for one window in each part.
    """

    def __init__(self, tokens: np.ndarray, T: int, validation_fraction: float = 0.1) -> None:
        _check_array(tokens)
        _check_row(T)
        if not 0 < validation_fraction < 1:
            raise ValueError(
                f"validation_fraction must be above 0 and below 1; got {validation_fraction}"
            )
        window = T + 1
        if len(tokens) < 2 * window:
            raise ValueError(
                f"the text has {len(tokens)} tokens; rows of {T} need at least {2 * window}, one "
                "window for training and one for validation: use a longer text or shorter rows"
            )
        validation = max(int(len(tokens) * validation_fraction), window)
        train_tokens = max(len(tokens) - validation, window)
        self._set_up(
            (tokens,), [(0, train_tokens)], [(train_tokens, len(tokens) - train_tokens)], T
        )
        self._known: tuple[int, int] | None = None

    @classmethod
    def of_shards(
        cls,
        train: Sequence[np.ndarray],
        validation: Sequence[np.ndarray],
        T: int,
        *,
        checksum: int,
        vocab_size: int,
    ) -> Self:
        """Data whose split was made when it was prepared.

        Args:
            train: shards of training text, each (n,), all of one dtype.
            validation: shards of validation text, likewise.
            T: length of a row; a shard that is shorter than a window has none.
            checksum: 32 bits that stand for all ids, so that they need not be read for it.
            vocab_size: every id is below it, as was checked when the ids were written.

        Raises:
            TypeError: as for an array.
            ValueError: as for an array, or shards of several dtypes.
        """
        shards = (*train, *validation)
        for shard in shards:
            _check_array(shard)
        _check_row(T)
        if len({shard.dtype for shard in shards}) > 1:
            raise ValueError("the shards have several dtypes; all must be uint16 or all uint32")
        for part, name in ((train, "training"), (validation, "validation")):
            longest = max(map(len, part), default=0)
            if longest < T + 1:
                raise ValueError(
                    f"the longest {name} shard has {longest} tokens; rows of {T} need at least "
                    f"{T + 1} in a shard: prepare more text for {name}, or use shorter rows"
                )
        self = cls.__new__(cls)
        ends = np.cumsum([len(shard) for shard in shards])
        segments = [(int(end) - len(shard), len(shard)) for end, shard in zip(ends, shards)]  # noqa: B905 - equal by construction
        self._set_up(shards, segments[: len(train)], segments[len(train) :], T)
        self._known = checksum, vocab_size
        return self

    def _set_up(
        self,
        shards: tuple[np.ndarray, ...],
        train: list[tuple[int, int]],
        validation: list[tuple[int, int]],
        T: int,
    ) -> None:
        """Cut segments (position, length), each within one shard, into windows."""
        self.shards = shards
        self.T = T
        self.train_tokens = sum(length for _, length in train)
        self._begins = np.cumsum([0, *map(len, shards)])  # of each shard, and the end of the last
        # Windows share their border: the last target of one is the first input of the next. One
        # window less than would fit leaves room for the offset, where there is more than one.
        windows = [max(length // T - 1, int(length > T)) for _, length in train]
        self._train_begins = np.array([begin for begin, _ in train], np.int64)
        self._train_ends = np.cumsum(
            windows
        )  # window numbers below it lie in this segment or before
        self._offsets = np.array(  # 0 … offsets − 1
            [
                max(min(length - count * T, T), 1)
                for (_, length), count in zip(train, windows, strict=True)
            ]
        )
        self.train_windows = int(self._train_ends[-1])
        held_out = [max(length - 1, 0) // T for _, length in validation]
        self._validation_begins = np.array([begin for begin, _ in validation], np.int64)
        self._validation_ends = np.cumsum(held_out)
        self.validation_windows = int(self._validation_ends[-1])

    # --- the ids ------------------------------------------------------------------------------

    @property
    def tokens(self) -> np.ndarray:
        """The one array, (N,), where there is one.

        Raises:
            ValueError: there are several shards; `read` and `fill` read them.
        """
        if len(self.shards) > 1:
            raise ValueError(f"this data has {len(self.shards)} shards; use read() or fill()")
        return self.shards[0]

    @property
    def dtype(self) -> np.dtype:
        """uint16 or uint32."""
        return self.shards[0].dtype

    def __len__(self) -> int:
        """N: how many ids there are."""
        return int(self._begins[-1])

    def read(self, start: int, stop: int) -> np.ndarray:
        """The ids from one position up to another, (stop − start,) or fewer at the end: a copy."""
        parts = [
            shard[max(start - begin, 0) : max(stop - begin, 0)]
            for begin, shard in zip(self._begins[:-1].tolist(), self.shards, strict=True)
        ]
        return np.concatenate(parts)

    def fill(self, starts: np.ndarray, inputs: np.ndarray, targets: np.ndarray) -> None:
        """inputs[b, t] = ids[starts[b] + t]; targets[b, t] = ids[starts[b] + t + 1].

        Args:
            starts: (B,) int64, of windows that lie in one shard each.
            inputs: (B, T) int32, written.
            targets: (B, T) int32, written.
        """
        which = np.searchsorted(self._begins, starts, side="right") - 1
        T = inputs.shape[1]
        for row, (number, start) in enumerate(zip(which.tolist(), starts.tolist(), strict=True)):
            at = start - int(self._begins[number])
            window = self.shards[number][at : at + T + 1]
            inputs[row] = window[:-1]
            targets[row] = window[1:]

    # --- the windows --------------------------------------------------------------------------

    def train_batch(self, position: int, B: int, seed: int) -> np.ndarray:
        """Where the next B training windows start.

        Args:
            position: how many windows were consumed before.
            B: how many are wanted; a batch may reach into the next epoch.
            seed: of the order.

        Returns:
            (B,) int64. Each epoch has every window exactly once.
        """
        starts = np.empty(B, np.int64)
        done = 0
        while done < B:
            epoch, index = divmod(position + done, self.train_windows)
            count = min(B - done, self.train_windows - index)
            # One call gives the epoch its keys: a word for each round, and one for the offset.
            words = philox4x32(np.arange(2, dtype=np.uint64), seed, shuffle_stream(epoch)).ravel()
            windows = permute(np.arange(index, index + count), self.train_windows, words[:_ROUNDS])
            offsets = int(words[_ROUNDS]) % self._offsets
            segment, within = _locate(windows, self._train_ends)
            starts[done : done + count] = (
                self._train_begins[segment] + offsets[segment] + within * self.T
            )
            done += count
        return starts

    def validation_batches(self, B: int, count: int) -> list[np.ndarray]:
        """Where the windows of up to `count` validation batches start: the same ones every time.

        They are spread evenly over the validation part. The last batch may be smaller, and there
        are fewer batches where the part is short.

        Returns:
            Arrays (b,) int64 with 1 ≤ b ≤ B.
        """
        wanted = min(B * count, self.validation_windows)
        windows = np.arange(wanted) * self.validation_windows // wanted
        segment, within = _locate(windows, self._validation_ends)
        starts = self._validation_begins[segment] + within * self.T
        return [starts[i : i + B] for i in range(0, wanted, B)]

    # --- what they are ------------------------------------------------------------------------

    def check_ids(self, vocab_size: int) -> None:
        """Raise ValueError unless every id is below vocab_size."""
        if self._known is not None:
            if self._known[1] > vocab_size:
                raise ValueError(
                    f"the data was prepared with {self._known[1]} ids, but vocab_size is "
                    f"{vocab_size}: train with the tokenizer that prepared it, or raise vocab_size"
                )
            return
        for start in range(0, len(self), _IDS_AT_ONCE):
            largest = int(self.tokens[start : start + _IDS_AT_ONCE].max())
            if largest >= vocab_size:
                raise ValueError(
                    f"the tokens hold the id {largest}, but vocab_size is {vocab_size}: "
                    "encode the text with the model's own tokenizer, or raise vocab_size"
                )

    def fingerprint(self) -> dict[str, int]:
        """What a checkpoint remembers of the data: sizes, and 32 bits that stand for all ids.

        For one array they are the CRC-32 of the ids as uint32, for shards what `of_shards` got.
        """
        return dict(self._fingerprint)

    @cached_property
    def _fingerprint(self) -> dict[str, int]:
        """Read once: the whole corpus goes through it, and every checkpoint asks for it."""
        crc = 0
        if self._known is not None:
            crc = self._known[0]
        else:
            for start in range(0, len(self), _IDS_AT_ONCE):
                ids = self.tokens[start : start + _IDS_AT_ONCE].astype("<u4")
                crc = zlib.crc32(ids.data, crc)
        return {
            "tokens": len(self),
            "train_tokens": self.train_tokens,
            "row": self.T,
            "crc32": crc,
        }


def _check_array(tokens: np.ndarray) -> None:
    if tokens.dtype not in (np.uint16, np.uint32):
        raise TypeError(f"tokens must be uint16 or uint32; got {tokens.dtype}")
    if tokens.ndim != 1:
        raise ValueError(f"tokens must be one row of ids, (N,); got shape {tokens.shape}")


def _check_row(T: int) -> None:
    if T < 1:
        raise ValueError(f"T, the length of a row, must be at least 1; got {T}")


def _locate(windows: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which segment each window lies in, and its number there; ends are running sums of windows."""
    segment = np.searchsorted(ends, windows, side="right")
    return segment, windows - np.concatenate(([0], ends))[segment]


def permute(indices: np.ndarray, n: int, keys: np.ndarray) -> np.ndarray:
    """Where each index goes under a keyed permutation of 0 … n − 1.

    A Feistel network over pairs (a, b) of about √n values each, with addition for the mixing of
    halves, and cycle walking: a result of n or more is put through again (Black and Rogaway 2002,
    "Ciphers with Arbitrary Finite Domains", sections 4 and 5).

    Args:
        indices: (k,) integers, each in [0, n).
        n: how many there are.
        keys: (rounds,) uint32.

    Returns:
        (k,) int64, each in [0, n); different for different indices.
    """
    rows = math.isqrt(n - 1) + 1  # rows · columns ≥ n, by less than one row
    columns = -(-n // rows)
    result = np.asarray(indices, np.uint64)
    outside = np.ones(len(result), bool)
    while outside.any():
        left, right = np.divmod(result[outside], np.uint64(columns))
        for number, key in enumerate(keys):
            if number % 2 == 0:
                left = (left + _mix(right, key)) % np.uint64(rows)
            else:
                right = (right + _mix(left, key)) % np.uint64(columns)
        result[outside] = left * np.uint64(columns) + right
        outside = result >= n
    return result.astype(np.int64)


def _mix(values: np.ndarray, key: np.uint32) -> np.ndarray:
    """32 bits, as uint64, that depend on every bit of value and key. Need not be invertible."""
    mixed = (values + np.uint64(key)) * np.uint64(0x9E3779B97F4A7C15)  # 2⁶⁴ / golden ratio, wraps
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xD1342543DE82EF95)  # a good multiplier mod 2⁶⁴ (Steele and Vigna 2021)
    return mixed >> np.uint64(32)
