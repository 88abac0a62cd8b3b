"""How well a model predicts: perplexity over a text, and how likely one text is after another.

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
    from collections.abc import Callable, Iterator, Sequence

    from hipgpt_model.gpt import GPT

    Progress = Callable[[int, int], None]

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

    def bits_per_byte(self, nbytes: int) -> float:
        """The loss in bits over the bytes of the predicted text: equal whatever the tokenizer.

        Args:
            nbytes: of the tokens that were predicted, in UTF-8.
        """
        return self.loss * self.tokens / math.log(2) / nbytes

    @classmethod
    def from_sums(cls, loss: float, correct: float, tokens: int) -> EvalReport:
        """The report on `tokens` tokens whose losses sum to `loss`, `correct` of them right."""
        mean = loss / tokens
        perplexity = math.exp(mean) if mean < 700 else math.inf  # e⁷¹⁰ overflows a float
        return cls(mean, perplexity, correct / tokens, tokens)


@dataclass(frozen=True)
class Score:
    """How likely a model finds a text after another.

    Attributes:
        log_likelihood: Σ ln p(token), in nats.
        greedy: whether every token was the likeliest one.
    """

    log_likelihood: float
    greedy: bool


def perplexity(
    model: GPT,
    tokens: np.ndarray,
    stride: int | None = None,
    progress: Progress | None = None,
) -> EvalReport:
    """Figures over a whole array of tokens, each but the first predicted exactly once.

    Args:
        model: the model.
        tokens: (N,) integers, N ≥ 2.
        stride: how far each window of S tokens moves, 1 … S; None: S, so that windows do not
            overlap.
        progress: called with (windows done, windows in all).

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
        if progress is not None:
            progress(numbers.stop, windows)
    return EvalReport.from_sums(loss, correct, len(tokens) - 1)


def score(
    model: GPT,
    requests: Sequence[tuple[Sequence[int], Sequence[int]]],
    progress: Progress | None = None,
) -> list[Score]:
    """How likely each continuation is after its context. Requests of like length go together.

    Args:
        model: the model.
        requests: (context, continuation), ids, neither of them empty. Of a context that does not
            fit beside its continuation the last ids count.
        progress: called with (requests done, requests in all).

    Returns:
        One `Score` a request, in the order of the requests.

    Raises:
        ValueError: a context or continuation is empty, or a continuation is longer than S.
    """
    S, backend = model.config.max_seq_len, model.backend
    rows: list[tuple[Sequence[int], int]] = []  # the last S + 1 ids, how many of them count
    for number, (context, continuation) in enumerate(requests):
        if not context or not continuation:
            what = "continuation" if context else "context"
            raise ValueError(f"the {what} of request {number} is empty: expected at least one id")
        if len(continuation) > S:
            raise ValueError(
                f"the continuation of request {number} has {len(continuation)} tokens, more than "
                f"the model sees at once, {S}"
            )
        rows.append(([*context[-S:], *continuation][-(S + 1) :], len(continuation)))

    scores: dict[int, Score] = {}
    for batch in _of_like_length([len(row) - 1 for row, _ in rows]):
        T = max(len(rows[number][0]) for number in batch) - 1
        inputs = np.zeros((len(batch), T), np.int32)
        targets = np.full((len(batch), T), -1, np.int32)  # −1: does not count
        for b, number in enumerate(batch):
            row, count = rows[number]
            inputs[b, : len(row) - 1] = row[:-1]
            targets[b, len(row) - 1 - count : len(row) - 1] = row[-count:]
        hits = backend.empty((inputs.size,))
        losses = model.loss(backend.from_numpy(inputs), backend.from_numpy(targets), correct=hits)
        sums, right = (
            backend.to_numpy(array).reshape(inputs.shape).sum(axis=1, dtype=np.float64)
            for array in (losses, hits)
        )  # (B,) each
        for b, number in enumerate(batch):
            scores[number] = Score(-float(sums[b]), round(float(right[b])) == rows[number][1])
        if progress is not None:
            progress(len(scores), len(rows))
    return [scores[number] for number in range(len(rows))]


def _of_like_length(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Numbers of rows in batches: the longest first, so that a lack of memory shows at once."""
    batch: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > _TOKENS_AT_ONCE:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch
