"""The contract of what generation has beside layers: attention over a cache, and drawing ids."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hipgpt_kernels.backend.terms import Array


class Generation(ABC):
    """The ops of generation that training has not."""

    @abstractmethod
    def attention_cached(
        self,
        q: Array,
        k: Array,
        v: Array,
        k_cache: Array,
        v_cache: Array,
        position: int,
        *,
        out: Array | None = None,
    ) -> Array:
        """Put k and v into the cache at `position`, then attend from q over positions 0 … its own.

        Args:
            q: (B, T, H, D), tokens at positions position … position + T − 1; views welcome.
            k: (B, T, H, D).
            v: (B, T, H, D).
            k_cache: (B, H, S, D), rows position … position + T − 1 written; position + T <= S.
            v_cache: (B, H, S, D), likewise.
            position: how many tokens the cache holds already.
            out: (B, T, H, D).
        """

    @abstractmethod
    def sample(
        self,
        logits: Array,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        seen: Array | None = None,
        seed: int = 0,
        position: int = 0,
        out: Array | None = None,
    ) -> Array:
        """Draw one id from each row of logits. The logits may be overwritten.

        In this order, each filter working on what the ones before it left, renormalised:
        repetition penalty (Keskar et al. 2019, section 4.1: logits of seen ids are divided by the
        penalty where positive, multiplied where negative), temperature, top-k, top-p (the
        smallest set of most likely ids whose probability reaches top_p), min-p (ids at least
        min_p times as likely as the likeliest). The likeliest id always stays. Row b draws with
        word b % 4 of Philox counter b // 4 in stream `position`, so the draw does not depend on
        the backend. Ties go to the smaller id.

        Args:
            logits: (B, V).
            temperature: 0 takes the likeliest id.
            top_k: 0 keeps all.
            top_p: 1 keeps all.
            min_p: 0 keeps all.
            repetition_penalty: 1 changes nothing. Needs `seen`.
            seen: (B, V) uint8, 1 for ids that have occurred; the drawn id is set in it.
            seed: 64-bit key.
            position: number of the draw.
            out: (B,) int32.
        """
