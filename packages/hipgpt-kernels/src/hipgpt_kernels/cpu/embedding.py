"""Token and position rows: gathered forward, summed by token backward in a fixed order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks

if TYPE_CHECKING:
    from hipgpt_kernels.cpu.threads import Workers


def check_ids(op: str, tokens: np.ndarray, V: int) -> None:
    """Refuse ids outside the vocabulary."""
    if tokens.size and (tokens.min() < 0 or tokens.max() >= V):
        wrong = int(tokens[(tokens < 0) | (tokens >= V)].flat[0])
        raise ValueError(f"{op}: tokens holds {wrong}, expected ids in [0, {V})")


def gather_batch(
    workers: Workers,  # noqa: ARG001  # one gather is a few kilobytes: no work to share
    tokens: np.ndarray,
    starts: np.ndarray,
    inputs: np.ndarray,
    targets: np.ndarray,
) -> None:
    """See `Backend.gather_batch`."""
    last = checks.gather_batch(tokens, starts, inputs, targets)
    if starts.size and (starts.min() < 0 or starts.max() > last):
        wrong = int(starts[(starts < 0) | (starts > last)][0])
        raise ValueError(
            f"gather_batch: starts holds {wrong}, expected positions in [0, {last}] "
            f"of {len(tokens)} tokens"
        )
    T = inputs.shape[1]
    for row, start in enumerate(starts):
        inputs[row] = tokens[start : start + T]
        targets[row] = tokens[start + 1 : start + T + 1]


def embedding_forward(
    workers: Workers,
    tokens: np.ndarray,
    token_table: np.ndarray,
    position_table: np.ndarray | None = None,
    *,
    position: int = 0,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """See `Backend.embedding_forward`."""
    B, T, V, E = checks.embedding_forward(tokens, token_table, position_table, position, out)
    check_ids("embedding_forward", tokens, V)
    out = np.empty((B, T, E), np.float32) if out is None else out

    def work(start: int, stop: int) -> None:
        # The ids are checked: "clip" only spares take() a second check and a copy.
        np.take(token_table, tokens[start:stop], axis=0, out=out[start:stop], mode="clip")
        if position_table is not None:
            out[start:stop] += position_table[position : position + T]

    workers.run(work, B, elements=B * T * E)
    return out


def embedding_backward(
    workers: Workers,  # noqa: ARG001  # the sums run in the order of the tokens, on one thread
    dout: np.ndarray,
    tokens: np.ndarray,
    dtoken_table: np.ndarray,
    dposition_table: np.ndarray | None = None,
) -> None:
    """See `Backend.embedding_backward`."""
    _B, T, V, E = checks.embedding_backward(dout, tokens, dtoken_table, dposition_table)
    check_ids("embedding_backward", tokens, V)
    if tokens.size == 0:
        return
    flat = tokens.reshape(-1)
    order = np.argsort(flat, kind="stable")
    sorted_ids = flat[order]
    starts = np.flatnonzero(np.diff(sorted_ids, prepend=-1))  # first row of each id
    rows = np.take(dout.reshape(-1, E), order, axis=0)
    dtoken_table[sorted_ids[starts]] += np.add.reduceat(rows, starts, axis=0)
    if dposition_table is not None:
        dposition_table[:T] += dout.sum(axis=0)
