"""Which random numbers belong to whom: one 64-bit stream number for every use.

Philox gives each (seed, stream, counter) its own random words, so nothing here has a state: a
resumed run draws what the uninterrupted one would have drawn. The odd thing: independence is
bookkeeping. Two uses with the same stream would draw the same numbers, so the top byte says who.
"""

from __future__ import annotations

import zlib

_INITIALIZATION = 1 << 56
_SHUFFLE = 2 << 56
_DROPOUT = 3 << 56


def initialization_stream(name: str) -> int:
    """The stream of one parameter, by its name: adding a layer changes no other tensor's values."""
    return _INITIALIZATION | zlib.crc32(name.encode())


def shuffle_stream(epoch: int) -> int:
    """The stream that orders the training windows of one epoch."""
    return _SHUFFLE | epoch


def dropout_stream(forward_pass: int, uses: int, use: int) -> int:
    """The stream of one dropout in one forward pass.

    Args:
        forward_pass: a number that no other pass of the run has.
        uses: how many dropouts a pass has.
        use: which of them, 0 … uses − 1.
    """
    return _DROPOUT | (forward_pass * uses + use)
