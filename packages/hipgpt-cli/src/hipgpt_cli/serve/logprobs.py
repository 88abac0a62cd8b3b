"""Log-probabilities of the model's own distribution, before temperature and filters.

The odd thing: the sum is in float64 over float32 logits, so a value is as exact as its logits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from hipgpt_kernels import Backend


class TokenScore(NamedTuple):
    """One token of an answer.

    Attributes:
        id: the token.
        logprob: log p(token | what stands before it), or None where nothing does.
        top: (id, logprob) of the likeliest, best first, and the token itself at the end where it
            is not among them; None where logprob is.
    """

    id: int
    logprob: float | None
    top: list[tuple[int, float]] | None


def score(logits: np.ndarray, token: int, count: int) -> TokenScore:
    """One token's score.

    Args:
        logits: (V,).
        token: the id that was drawn, or stands there.
        count: alternatives wanted.
    """
    scores = logits.astype(np.float64)  # (V,)
    most = scores.max()
    scores -= most + np.log(np.exp(scores - most).sum())
    top = [(int(id_), float(scores[id_])) for id_ in likeliest(scores, count)]
    if count and all(id_ != token for id_, _ in top):
        top.append((token, float(scores[token])))
    return TokenScore(token, float(scores[token]), top)


def likeliest(scores: np.ndarray, count: int) -> np.ndarray:
    """The ids of the `count` largest scores (V,), largest first; of equals the smaller id."""
    V = scores.size
    count = min(count, V)
    if count == 0:
        return np.empty(0, np.int64)
    threshold = np.partition(scores, V - count)[V - count]
    ids = np.flatnonzero(scores >= threshold)
    return ids[np.argsort(-scores[ids], kind="stable")][:count]


def as_float32(backend: Backend, logits: Any) -> np.ndarray:
    """Logits of any precision, copied from the device."""
    return backend.to_numpy(logits).astype(np.float32, copy=False)
