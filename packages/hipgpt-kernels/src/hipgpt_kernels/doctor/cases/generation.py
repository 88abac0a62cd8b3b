"""Attention over a cache, and drawing ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hipgpt_kernels import reference, reference_random
from hipgpt_kernels.doctor.cases.case import Case, case

if TYPE_CHECKING:
    from hipgpt_kernels.doctor.trial import Trial

CASES: list[Case] = []


def _cached(t: Trial, T: int, position: int) -> None:
    q, k, v = (t.normal(2, T, 2, 32) for _ in range(3))
    caches = t.normal(2, 2, 24, 32), t.normal(2, 2, 24, 32)
    keys, values = (t.copy(one) for one in caches)
    out = t.backend.attention_cached(q.device, k.device, v.device, keys, values, position)
    inputs = q, k, v, *caches, position
    for number, (name, array) in enumerate((("out", out), ("k_cache", keys), ("v_cache", values))):
        t.check(name, array, lambda *a, n=number: reference.attention_cached(*a)[n], *inputs)


@case(CASES, "attention_cached", "a prompt")
def _attention_cached(t: Trial) -> None:
    _cached(t, 9, 3)


@case(CASES, "attention_cached", "one token")
def _attention_cached_one(t: Trial) -> None:
    _cached(t, 1, 20)


@case(CASES, "sample")
def _sample(t: Trial) -> None:
    logits = t.normal(5, 211, scale=3.0)
    seen = t.ids(2, 5, 211, dtype=np.uint8)
    filters: dict[str, Any] = {
        "temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.2,
        "seed": 5, "position": 9,
    }  # fmt: skip
    expected = reference_random.sample(logits.host.astype(np.float64), seen=seen.host, **filters)
    drawn = t.backend.sample(t.copy(logits), seen=t.copy(seen), **filters)
    t.equal("ids", drawn, expected)
    greedy = t.backend.sample(t.copy(logits), temperature=0.0)
    t.equal("likeliest ids", greedy, logits.host.argmax(axis=1).astype(np.int32))
