"""Windows of tokens for training and validation, in an order that is a function of a single number.

A window is T + 1 ids in a row: T inputs, and T targets one further on. The last part of the tokens
is validation text. Training windows are shuffled without replacement, anew in every epoch, and cut
at another offset each time, so that their borders move. The odd thing: the shuffle is computed, not
stored. Window number i of an epoch is permutation(i), a small keyed cipher over the window numbers,
so a corpus of any size needs no list, and "how many windows were consumed" is the whole state.
"""

from __future__ import annotations

import math
import zlib
from functools import cached_property

import numpy as np

from hipgpt_kernels.philox import philox4x32
from hipgpt_model.random_streams import shuffle_stream

_ROUNDS = 6
"""Of the cipher; each mixes one half with a function of the other."""

_IDS_AT_ONCE = 1 << 22
"""Ids read in one go from an array that may be a file."""


class TokenData:
    """A corpus of ids, split and cut into windows.

    Args:
        tokens: (N,) uint16 or uint32; an array in memory or a `numpy.memmap`.
        T: length of a row.
        validation_fraction: how much of the tokens, at their end, is kept for validation; at least
            one window.

    Attributes:
        tokens: (N,), as given.
        T: length of a row.
        train_tokens: how many tokens the training part has; the validation part has the rest.
        train_windows: windows in one epoch.
        validation_windows: windows in the validation part, none overlapping another's targets.

    Raises:
        TypeError: the tokens have another dtype.
        ValueError: a wrong size, or too few tokens for one window in each part.
    """

    def __init__(self, tokens: np.ndarray, T: int, validation_fraction: float = 0.1) -> None:
        if tokens.dtype not in (np.uint16, np.uint32):
            raise TypeError(f"tokens must be uint16 or uint32; got {tokens.dtype}")
        if tokens.ndim != 1:
            raise ValueError(f"tokens must be one row of ids, (N,); got shape {tokens.shape}")
        if T < 1:
            raise ValueError(f"T, the length of a row, must be at least 1; got {T}")
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
        self.tokens = tokens
        self.T = T
        self.train_tokens = max(len(tokens) - validation, window)
        # Windows share their border: the last target of one is the first input of the next. One
        # window less than would fit leaves room for the offset, where there is more than one.
        self.train_windows = max(self.train_tokens // T - 1, 1)
        self._offsets = min(self.train_tokens - self.train_windows * T, T)  # 0 … _offsets − 1
        self.validation_windows = (len(tokens) - self.train_tokens - 1) // T

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
            offset = int(words[_ROUNDS]) % self._offsets
            windows = permute(np.arange(index, index + count), self.train_windows, words[:_ROUNDS])
            starts[done : done + count] = offset + windows * self.T
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
        starts = (self.train_tokens + windows * self.T).astype(np.int64)
        return [starts[i : i + B] for i in range(0, wanted, B)]

    def check_ids(self, vocab_size: int) -> None:
        """Raise ValueError unless every id is below vocab_size."""
        for start in range(0, len(self.tokens), _IDS_AT_ONCE):
            largest = int(self.tokens[start : start + _IDS_AT_ONCE].max())
            if largest >= vocab_size:
                raise ValueError(
                    f"the tokens hold the id {largest}, but vocab_size is {vocab_size}: "
                    "encode the text with the model's own tokenizer, or raise vocab_size"
                )

    def fingerprint(self) -> dict[str, int]:
        """What a checkpoint remembers of the data: sizes, and the CRC-32 of all ids as uint32."""
        return dict(self._fingerprint)

    @cached_property
    def _fingerprint(self) -> dict[str, int]:
        """Read once: the whole corpus goes through it, and every checkpoint asks for it."""
        crc = 0
        for start in range(0, len(self.tokens), _IDS_AT_ONCE):
            ids = self.tokens[start : start + _IDS_AT_ONCE].astype("<u4")
            crc = zlib.crc32(ids.data, crc)
        return {
            "tokens": len(self.tokens),
            "train_tokens": self.train_tokens,
            "row": self.T,
            "crc32": crc,
        }


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
