"""Causal attention by tiles of query rows, which never look at the keys they may not see.

A tile is some batch rows × some heads × some queries; its scores fit in a core's cache. The
backward makes the probabilities again from the log-sum-exp. The same forward serves the KV cache,
where the first query stands at a position above 0.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hipgpt_kernels.cpu.threads import Workers

TILE_SCORES = 1 << 17
"""Scores of a tile: 512 KB in float32, half of a usual second-level cache."""
TILE_QUERIES = 128
"""Queries of a tile in a long sequence: large enough for the product, small enough to skip the
masked half of the scores."""


def by_head(array: np.ndarray) -> np.ndarray:
    """View (B, T, H, D) as (B, H, T, D)."""
    return array.transpose(0, 2, 1, 3)


def tiles(T: int, position: int, pairs: int, heads: int) -> Iterator[tuple[int, int]]:
    """Spans of queries for `pairs` × `heads` score matrices that are handled at once."""
    queries = max(1, min(TILE_QUERIES, TILE_SCORES // max(1, pairs * heads * (position + T))))
    for start in range(0, T, queries):
        yield start, min(start + queries, T)


def groups(B: int, H: int, T: int, keys: int) -> tuple[int, int]:
    """How many batch rows and heads to take at once, so that short sequences fill a tile."""
    matrix = min(T, TILE_QUERIES) * keys
    if matrix * H <= TILE_SCORES:
        return max(1, min(B, TILE_SCORES // (matrix * H))), H
    return 1, max(1, min(H, TILE_SCORES // matrix))


def mask_future(scores: np.ndarray, first_query: int) -> None:
    """scores[..., i, j] = −∞ where key j lies after query first_query + i. In place."""
    queries, keys = scores.shape[-2:]
    if keys > first_query + 1:
        tail = scores[..., first_query + 1 :]  # key first_query + 1 + j is masked for query i <= j
        columns = keys - first_query - 1
        future = np.arange(columns)[None, :] >= np.arange(queries)[:, None]
        tail[..., future] = -np.inf


def attend(
    workers: Workers,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    position: int,
    out: np.ndarray,
    lse: np.ndarray | None,
) -> None:
    """Causal attention of q, out (B, H, T, D) over k, v (B, H, position + T, D); lse (B, H, T)."""
    B, H, T, D = q.shape
    scale = np.float32(1.0 / math.sqrt(D))
    some_rows, some_heads = groups(B, H, T, position + T)
    head_groups = -(-H // some_heads)

    def work(start: int, stop: int) -> None:
        for unit in range(start, stop):
            row, head = unit // head_groups * some_rows, unit % head_groups * some_heads
            at = (slice(row, row + some_rows), slice(head, head + some_heads))
            pairs, heads = q[at].shape[:2]
            for a, b in tiles(T, position, pairs, heads):
                keys = position + b
                scores = np.matmul(  # (pairs, heads, b-a, keys)
                    q[at][:, :, a:b] * scale, k[at][:, :, :keys].swapaxes(-1, -2)
                )
                mask_future(scores, position + a)
                most = scores.max(axis=-1, keepdims=True)
                scores -= most
                np.exp(scores, out=scores)
                total = scores.sum(axis=-1, keepdims=True)
                result = np.matmul(scores, v[at][:, :, :keys])  # (pairs, heads, b-a, D)
                result /= total
                out[at][:, :, a:b] = result
                if lse is not None:
                    lse[at][:, :, a:b] = (most + np.log(total))[..., 0]

    units = -(-B // some_rows) * head_groups
    workers.run(work, units, elements=B * H * T * (position + T))


def attention_forward(
    workers: Workers,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    *,
    out: np.ndarray | None = None,
    lse: np.ndarray | None = None,
) -> np.ndarray:
    """See `Backend.attention_forward`."""
    checks.attention_forward(q, k, v, out, lse)
    out = np.empty(q.shape, np.float32) if out is None else out
    attend(workers, by_head(q), by_head(k), by_head(v), 0, by_head(out), lse)
    return out


def attention_backward(
    workers: Workers,
    dout: np.ndarray,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    out: np.ndarray,
    lse: np.ndarray,
    dq: np.ndarray,
    dk: np.ndarray,
    dv: np.ndarray,
) -> None:
    """See `Backend.attention_backward`. With P = exp(scale·q·kᵀ − lse) and δ = Σ dout·out:

    dv = Pᵀ·dout;  dS = P ∘ (dout·vᵀ − δ)·scale;  dq = dS·k;  dk = dSᵀ·q.
    """
    B, T, H, D = checks.attention_backward(dout, q, k, v, out, lse, dq, dk, dv)
    scale = np.float32(1.0 / math.sqrt(D))
    some_rows, some_heads = groups(B, H, T, 2 * T)  # two matrices of scores at once
    head_groups = -(-H // some_heads)
    q, k, v, dout, out, dq, dk, dv = map(by_head, (q, k, v, dout, out, dq, dk, dv))

    def work(start: int, stop: int) -> None:
        for unit in range(start, stop):
            row, head = unit // head_groups * some_rows, unit % head_groups * some_heads
            at = (slice(row, row + some_rows), slice(head, head + some_heads))
            pairs, heads = q[at].shape[:2]
            delta = np.einsum("bhtd,bhtd->bht", dout[at], out[at])[..., None]
            first = True
            # The last tile first: it sees all keys, so it writes dk and dv and the others add.
            for a, b in reversed(list(tiles(T, 0, 2 * pairs, heads))):
                query, gradient = q[at][:, :, a:b] * scale, dout[at][:, :, a:b]
                p = np.matmul(query, k[at][:, :, :b].swapaxes(-1, -2))
                mask_future(p, a)
                p -= lse[at][:, :, a:b, None]
                np.exp(p, out=p)
                ds = np.matmul(gradient, v[at][:, :, :b].swapaxes(-1, -2))
                ds -= delta[:, :, a:b]
                ds *= p
                dv_part = np.matmul(p.swapaxes(-1, -2), gradient)  # (pairs, heads, b, D)
                dk_part = np.matmul(ds.swapaxes(-1, -2), query)
                dq_part = np.matmul(ds, k[at][:, :, :b])
                dq_part *= scale
                dq[at][:, :, a:b] = dq_part
                if first:
                    dv[at][...] = dv_part
                    dk[at][...] = dk_part
                    first = False
                else:
                    dv[at][:, :, :b] += dv_part
                    dk[at][:, :, :b] += dk_part

    units = -(-B // some_rows) * head_groups
    workers.run(work, units, elements=B * H * T * T)


def attention_cached(
    workers: Workers,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    k_cache: np.ndarray,
    v_cache: np.ndarray,
    position: int,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """See `Backend.attention_cached`."""
    _B, T, _H, _D = checks.attention_cached(q, k, v, k_cache, v_cache, position, out)
    end = position + T
    out = np.empty(q.shape, np.float32) if out is None else out
    k_cache[:, :, position:end] = by_head(k)
    v_cache[:, :, position:end] = by_head(v)
    attend(
        workers, by_head(q), k_cache[:, :, :end], v_cache[:, :, :end], position, by_head(out), None
    )
    return out
