"""Errors that only a kernel can see, such as an id outside the vocabulary, raised at the next wait.

The odd thing: no op waits for the device to look at its numbers. A kernel that meets a bad one does
without it, never touches memory outside its arrays, and leaves a record (csrc/errors.h); what waits
for the device anyway (`synchronize`, `to_numpy`, `mean`) calls `raise_errors` and hears of it. The
results of that op, and of what used them, mean nothing then; the arrays may have been written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from hipgpt_kernels.hip.array import DeviceArray
    from hipgpt_kernels.hip.backend import HipBackend

MESSAGES: dict[int, tuple[type[Exception], str]] = {
    1: (ValueError, "gather_batch: starts holds {value}, expected positions in [0, {limit}]"),
    2: (ValueError, "embedding_forward: tokens holds {value}, expected ids in [0, {limit})"),
    3: (ValueError, "embedding_backward: tokens holds {value}, expected ids in [0, {limit})"),
    4: (
        ValueError,
        "cross_entropy_forward: targets holds {value}, expected ids in [0, {limit}) or −1",
    ),
    5: (
        ValueError,
        "cross_entropy_forward_backward: targets holds {value}, expected ids in [0, {limit}) or −1",
    ),
    6: (
        FloatingPointError,
        (
            "sample: the logits of row {value} are not finite; "
            "the weights have overflowed or are damaged"
        ),
    ),
}
"""By the codes of csrc/errors.h."""


def error_record(backend: HipBackend) -> DeviceArray:
    """The backend's record, (3,) int64 of code, value and limit; zero while all is well."""
    record: DeviceArray | None = getattr(backend, "error_record", None)
    if record is None:
        record = backend.zeros((3,), np.int64)
        backend.error_record = record
    return record


def error_in(record: np.ndarray) -> Exception | None:
    """The exception for a record's contents, or None.

    Example:
        >>> error_in(np.int64([2, 9, 7]))
        ValueError('embedding_forward: tokens holds 9, expected ids in [0, 7)')
    """
    code, value, limit = (int(number) for number in record)
    if code == 0:
        return None
    kind, message = MESSAGES[code]
    return kind(message.format(value=value, limit=limit))
