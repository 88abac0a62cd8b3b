"""The JSON objects of the completions endpoint, made from pieces of text.

The odd thing: a token's name in `logprobs` is its text, and where it is a part of a character
"bytes:" and its bytes, as OpenAI writes it.
"""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING, Any

from hipgpt_cli import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hipgpt_cli.serve.answer import Answer, Piece
    from hipgpt_cli.serve.logprobs import TokenScore
    from hipgpt_tokenizer import Tokenizer


class Completion:
    """What all objects of one response have in common.

    Args:
        model: the served model's name.
        tokenizer: for the names of tokens.
        logprobs: whether scores are given out.
        top: whether alternatives are, beside the token's own.
    """

    def __init__(self, model: str, tokenizer: Tokenizer, *, logprobs: bool, top: bool) -> None:
        self._head = {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": f"hipgpt-{__version__}",
        }
        self._tokenizer = tokenizer
        self._logprobs = logprobs
        self._top = top

    def chunk(
        self, piece: Piece | None, *, usage: dict[str, int] | None, with_usage: bool
    ) -> dict[str, Any]:
        """One event of a stream; without a piece the last one, which tells the usage."""
        chunk = {**self._head, "choices": [] if piece is None else [self._choice([piece])]}
        if with_usage:
            chunk["usage"] = usage
        return chunk

    def whole(self, texts: Iterable[list[Piece]], usage: dict[str, int]) -> dict[str, Any]:
        """The whole response.

        Args:
            texts: the pieces of each text, in the order in which the choices are numbered.
            usage: see `count_usage`.
        """
        choices = [self._choice(pieces, index) for index, pieces in enumerate(texts)]
        return {**self._head, "choices": choices, "usage": usage}

    def _choice(self, pieces: list[Piece], index: int | None = None) -> dict[str, Any]:
        return {
            "text": "".join(piece.text for piece in pieces),
            "index": pieces[0].index if index is None else index,
            "logprobs": self._scores(pieces) if self._logprobs else None,
            "finish_reason": pieces[-1].finish,
        }

    def _scores(self, pieces: list[Piece]) -> dict[str, Any]:
        scores = [scored for piece in pieces for scored in piece.scores]
        return {
            "tokens": [token_name(self._tokenizer, score.id) for score, _ in scores],
            "token_logprobs": [score.logprob for score, _ in scores],
            "top_logprobs": [self._alternatives(score) for score, _ in scores]
            if self._top
            else None,
            "text_offset": [offset for _, offset in scores],
        }

    def _alternatives(self, score: TokenScore) -> dict[str, float] | None:
        if score.top is None:
            return None
        named: dict[str, float] = {}
        for id_, value in score.top:  # best first: of two tokens with one name the likelier stays
            named.setdefault(token_name(self._tokenizer, id_), value)
        return named


def token_name(tokenizer: Tokenizer, id_: int) -> str:
    r"""A token's text, or "bytes:\xe2\x82" where it is no whole characters."""
    data = tokenizer.token_bytes(id_)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def count_usage(answers: list[Answer], prompts: list[list[int]]) -> dict[str, int]:
    """Tokens read, each prompt once, and drawn, those of texts that best_of dropped included."""
    prompt = sum(map(len, prompts))
    drawn = sum(answer.tokens for answer in answers)
    return {"prompt_tokens": prompt, "completion_tokens": drawn, "total_tokens": prompt + drawn}


def dump(value: Any) -> bytes:
    """JSON; a number that JSON has no word for would be a defect, and raises."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(
        "utf-8", "replace"
    )
