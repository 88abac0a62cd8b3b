"""What is refused of the arguments of generation's ops beside its layers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels.checks.arrays import dimensions, needed, shape, writable, written
from hipgpt_kernels.checks.layers import heads
from hipgpt_kernels.checks.numbers import at_least, fraction, word64

if TYPE_CHECKING:
    from hipgpt_kernels.backend.terms import Array


def attention_cached(
    q: Array,
    k: Array,
    v: Array,
    k_cache: Array,
    v_cache: Array,
    position: int,
    out: Array | None,
) -> tuple[int, int, int, int]:
    """Return B, T, H and D."""
    op = "attention_cached"
    B, T, H, D = heads(op, q=q, k=k, v=v)
    if out is not None:
        heads(op, q=q, out=out)
        writable(op, "out", out)
    needed(op, k_cache=k_cache, v_cache=v_cache)
    written(op, k_cache=k_cache, v_cache=v_cache)
    dimensions(op, "k_cache", k_cache, 4, "(B, H, S, D)")
    S = k_cache.shape[2]
    shape(op, "k_cache", k_cache, (B, H, S, D), "(B, H, S, D)")
    shape(op, "v_cache", v_cache, (B, H, S, D), "(B, H, S, D)")
    at_least(op, "position", position, 0)
    if position + T > S:
        raise ValueError(f"{op}: {T} tokens from position {position} do not fit a cache of S = {S}")
    return B, T, H, D


def sample(
    logits: Array,
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
    repetition_penalty: float,
    seen: Array | None,
    seed: int,
    position: int,
    out: Array | None,
) -> tuple[int, int]:
    """Return B and V."""
    op = "sample"
    needed(op, logits=logits)
    written(op, logits=logits)
    written(op, np.uint8, seen=seen)
    written(op, np.int32, out=out)
    dimensions(op, "logits", logits, 2, "(B, V)")
    B, V = logits.shape
    if V == 0:
        raise ValueError(f"{op}: logits has shape {(B, V)}, expected at least one column")
    at_least(op, "temperature", temperature, 0.0)
    at_least(op, "top_k", top_k, 0)
    fraction(op, "top_p", top_p, one=True)
    fraction(op, "min_p", min_p, one=True)
    word64(op, seed=seed, position=position)
    if not 0.0 < repetition_penalty < math.inf:
        raise ValueError(
            f"{op}: repetition_penalty is {repetition_penalty}, expected a number above 0"
        )
    if repetition_penalty != 1.0 and seen is None:
        raise ValueError(f"{op}: repetition_penalty needs seen, the ids that have occurred")
    if seen is not None:
        shape(op, "seen", seen, (B, V), "(B, V)")
    if out is not None:
        shape(op, "out", out, (B,), "(B,)")
    return B, V
