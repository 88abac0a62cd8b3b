"""One text of a request: tokens in, pieces of text and scores out, until something ends it.

The odd thing: the text runs behind the tokens, because half a character and what may become a stop
string are held back; a token's score is given out with the piece in which its text begins.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from hipgpt_cli.stops import StopFilter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hipgpt_cli.serve.logprobs import TokenScore
    from hipgpt_model.generate import SamplingConfig
    from hipgpt_tokenizer import Tokenizer


@dataclass
class Piece:
    """Some more of one text.

    Attributes:
        index: which text of its request.
        text: characters.
        scores: (token's score, where its text begins in the whole text).
        finish: why the text has ended, or None.
    """

    index: int
    text: str = ""
    scores: list[tuple[TokenScore, int]] = field(default_factory=list)
    finish: Literal["stop", "length"] | None = None


class Answer:
    """One text.

    Args:
        index: which text of its request.
        ids: the prompt's, at least one.
        sampling: how tokens are chosen, and how many at most; its stop_ids end the text.
        tokenizer: for the text.
        stops: strings that end the text and are not part of it.
        echo: give out the prompt as well.
        logprobs: alternatives for each token, or None for no scores.
        ranked: keep count of `logprob` though no scores are given out.

    Attributes:
        tokens: tokens drawn so far, one that ended the text included.
        logprob: sum of the log-probabilities of the tokens drawn, where they are known.
    """

    def __init__(
        self,
        index: int,
        ids: list[int],
        sampling: SamplingConfig,
        tokenizer: Tokenizer,
        *,
        stops: Sequence[str] = (),
        echo: bool = False,
        logprobs: int | None = None,
        ranked: bool = False,
    ) -> None:
        self.index = index
        self.ids = ids
        self.sampling = sampling
        self.echo = echo
        self.logprobs = logprobs
        self.ranked = ranked
        self.tokens = 0
        self.logprob = 0.0
        self._stop = StopFilter(stops)
        self._decoder = tokenizer.stream()
        self._decoded = 0  # characters
        self._given = 0  # characters
        self._held: deque[tuple[TokenScore, int]] = deque()

    @property
    def wants_logits(self) -> bool:
        """Whether `take` needs a score."""
        return self.logprobs is not None or self.ranked

    def begin(self, scores: Sequence[TokenScore] = ()) -> Piece:
        """The prompt, which is not searched for stop strings; ends a text of no tokens.

        Args:
            scores: one for each of the prompt's tokens, where scores are wanted.
        """
        text = ""
        for place, id_ in enumerate(self.ids):
            if scores:
                self._held.append((scores[place], len(text)))
            text += self._decoder.feed(id_)
        if self.sampling.num_tokens == 0:
            text += self._decoder.flush()
            return self._piece(text, "length")
        self._decoded = len(text)
        return self._piece(text)

    def take(self, token: int, score: TokenScore | None = None) -> Piece:
        """The next token."""
        self.tokens += 1
        if score is not None and score.logprob is not None:
            self.logprob += score.logprob
        if score is not None and self.logprobs is not None:
            self._held.append((score, self._decoded))
        if token in self.sampling.stop_ids:
            return self._end("stop")
        text = self._decoder.feed(token)
        self._decoded += len(text)
        text = self._stop.feed(text)
        if self._stop.found is not None:
            end = self._given + len(text)
            self._held = deque((score, at) for score, at in self._held if at < end)
            return self._piece(text, "stop")
        if self.tokens == self.sampling.num_tokens:
            return self._end("length", text)
        return self._piece(text)

    def _end(self, finish: Literal["stop", "length"], text: str = "") -> Piece:
        """What was held back is text after all, unless it completes a stop string."""
        text += self._stop.feed(self._decoder.flush())
        if self._stop.found is not None:
            finish = "stop"
        return self._piece(text + self._stop.flush(), finish)

    def _piece(self, text: str, finish: Literal["stop", "length"] | None = None) -> Piece:
        self._given += len(text)
        piece = Piece(self.index, text, finish=finish)
        while self._held and (finish or self._held[0][1] < self._given):
            piece.scores.append(self._held.popleft())
        return piece
