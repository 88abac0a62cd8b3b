"""How well a model predicts text: mean loss, perplexity, and how often its first guess is right.

The odd thing: a window's first tokens have little context and are predicted worse. With a stride
below S every token but the first few is predicted with at least S − stride tokens before it, at
S / stride times the cost; figures are comparable only at equal strides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from hipgpt_model.gpt import GPT

_TOKENS_AT_ONCE = 4096
"""Of one batch: enough to keep a CPU busy, little enough that activations stay small."""


@dataclass(frozen=True)
class EvalReport:
    """A model's figures on some text.

    Attributes:
        loss: mean −ln p(token), in nats.
        perplexity: e to the loss.
        accuracy: how often the likeliest id was the right one, 0 … 1.
        tokens: how many tokens were predicted.
    """

    loss: float
    perplexity: float
    accuracy: float
    tokens: int

    @classmethod
    def from_sums(cls, loss: float, correct: float, tokens: int) -> EvalReport:
        """The report on `tokens` tokens whose losses sum to `loss`, `correct` of them right."""
        mean = loss / tokens
        perplexity = math.exp(mean) if mean < 700 else math.inf  # e⁷¹⁰ overflows a float
        return cls(mean, perplexity, correct / tokens, tokens)


def perplexity(model: GPT, tokens: np.ndarray, stride: int | None = None) -> EvalReport:
    """Figures over a whole array of tokens, each but the first predicted exactly once.

    Args:
        model: the model.
        tokens: (N,) integers, N ≥ 2.
        stride: how far each window of S tokens moves, 1 … S; None: S, so that windows do not
            overlap.

    Raises:
        ValueError: fewer than two tokens, a stride outside 1 … S, or an id outside the vocabulary.
    """
    S, V = model.config.max_seq_len, model.config.vocab_size
    stride = S if stride is None else stride
    if not 1 <= stride <= S:
        raise ValueError(f"stride must be 1 … {S}, the model's max_seq_len; got {stride}")
    if len(tokens) < 2:
        raise ValueError(f"nothing to predict: got {len(tokens)} tokens, need at least 2")
    if int(tokens.max()) >= V or int(tokens.min()) < 0:
        raise ValueError(
            f"tokens must lie in 0 … {V - 1}, the model's vocabulary; they span "
            f"{int(tokens.min())} … {int(tokens.max())}: was the text encoded by another tokenizer?"
        )

    # Window w starts at w · stride; the last one reaches the last target or beyond.
    windows = 1 + max(-(-(len(tokens) - 1 - S) // stride), 0)
    B = max(_TOKENS_AT_ONCE // S, 1)
    backend = model.backend
    loss = correct = 0.0
    for first in range(0, windows, B):
        numbers = range(first, min(first + B, windows))
        inputs = np.zeros((len(numbers), S), np.int32)
        targets = np.full((len(numbers), S), -1, np.int32)  # −1: does not count
        for row, window in enumerate(numbers):
            start = window * stride
            text = tokens[start : start + S + 1]
            inputs[row, : len(text) - 1] = text[:-1]  # what follows in the row changes nothing here
            seen = 0 if window == 0 else S - stride  # predicted by the window before
            targets[row, seen : len(text) - 1] = text[seen + 1 :]
        hits = backend.empty((inputs.size,))
        losses = model.loss(backend.from_numpy(inputs), backend.from_numpy(targets), correct=hits)
        loss += backend.mean(losses) * inputs.size
        correct += backend.mean(hits) * inputs.size
    return EvalReport.from_sums(loss, correct, len(tokens) - 1)
