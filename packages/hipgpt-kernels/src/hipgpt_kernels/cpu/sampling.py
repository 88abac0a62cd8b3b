"""Draw ids from logits: penalty, temperature, top-k, top-p, min-p, then one number in (0, 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.philox import uniform

FIRST_CANDIDATES = 512
"""How many of the likeliest ids top-p looks at before it looks at more."""

if TYPE_CHECKING:
    from hipgpt_kernels.cpu.threads import Workers


def sample(
    workers: Workers,  # noqa: ARG001  # a row is one pass over V numbers
    logits: np.ndarray,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    seen: np.ndarray | None = None,
    seed: int = 0,
    position: int = 0,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """See `Backend.sample`."""
    B, _V = checks.sample(
        logits, temperature, top_k, top_p, min_p, repetition_penalty, seen, seed, position, out
    )
    out = np.empty(B, np.int32) if out is None else out
    for row in range(B):
        scores = logits[row]
        if not np.isfinite(scores.max()):
            raise FloatingPointError(
                "sample: the logits are not finite; the weights have overflowed or are damaged"
            )
        if repetition_penalty != 1.0 and seen is not None:
            penalize(scores, seen[row], repetition_penalty)
        if temperature == 0.0:
            out[row] = scores.argmax()
        else:
            ids, weights = keep(scores, temperature, top_k, top_p, min_p)
            out[row] = draw(ids, weights, uniform(row, seed, position))
        if seen is not None:
            seen[row, out[row]] = 1
    return out


def penalize(scores: np.ndarray, seen: np.ndarray, penalty: float) -> None:
    """Make the seen ids less likely (penalty > 1) or more (< 1). In place."""
    ids = np.flatnonzero(seen)
    chosen = scores[ids]
    scores[ids] = np.where(chosen > 0, chosen / np.float32(penalty), chosen * np.float32(penalty))


def keep(
    scores: np.ndarray, temperature: float, top_k: int, top_p: float, min_p: float
) -> tuple[np.ndarray, np.ndarray]:
    """The ids (n,) that the filters leave, in increasing order, and their weights (n,) float64."""
    V = scores.size
    if 0 < top_k < V:
        # Everything above the k-th largest, and of its equals the smallest ids.
        threshold = np.partition(scores, V - top_k)[V - top_k]
        above = np.flatnonzero(scores > threshold)
        equal = np.flatnonzero(scores == threshold)[: top_k - above.size]
        ids = np.sort(np.concatenate([above, equal]))
    else:
        ids = np.arange(V)
    chosen = scores[ids].astype(np.float64)
    weights = np.exp((chosen - chosen.max()) / temperature)
    if top_p < 1.0:
        kept = nucleus(weights, top_p * weights.sum())
        ids, weights = ids[kept], weights[kept]
    if min_p > 0.0:
        likely = weights >= min_p * weights.max()
        ids, weights = ids[likely], weights[likely]
    return ids, weights


def nucleus(weights: np.ndarray, limit: float) -> np.ndarray:
    """Which of the weights (n,) are the fewest likeliest that reach a sum, in increasing order.

    A model is mostly sure, so a few hundred candidates are sorted first, and more only if those do
    not reach the limit: sorting 50,257 weights takes 5 ms, as long as a small model's token.
    """
    wanted = FIRST_CANDIDATES
    while True:
        if wanted >= weights.size:
            candidates = np.arange(weights.size)
        else:  # with all equals of the last, so that ties are broken as among all
            least = np.partition(weights, weights.size - wanted)[weights.size - wanted]
            candidates = np.flatnonzero(weights >= least)
        order = candidates[np.argsort(-weights[candidates], kind="stable")]  # ties: smaller first
        sums = np.cumsum(weights[order])
        if sums[-1] >= limit or wanted >= weights.size:
            break
        wanted *= 16
    before = sums - weights[order]
    return np.sort(order[: max(1, int(np.count_nonzero(before < limit)))])


def draw(ids: np.ndarray, weights: np.ndarray, u: float) -> int:
    """The first id at which the sum of the weights exceeds u of their total."""
    sums = np.cumsum(weights)
    index = int(np.searchsorted(sums, u * sums[-1], side="right"))
    return int(ids[min(index, ids.size - 1)])
