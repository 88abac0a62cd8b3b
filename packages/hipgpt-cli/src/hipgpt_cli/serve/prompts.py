"""From a request's prompts to ids that the model can read, or to the reason why not.

The odd thing: an empty prompt is the token that separates documents, as in `hipgpt generate`,
because a model only continues.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hipgpt_cli.errors import UserError
from hipgpt_cli.serve.problems import ApiError
from hipgpt_cli.writing import prompt_ids

if TYPE_CHECKING:
    from hipgpt_tokenizer import Tokenizer

QUICK_CHARACTERS = 4000
"""A prompt of so many characters is made into ids in about a millisecond."""


class PromptReader:
    """Makes ids of prompts, and checks that they fit.

    Args:
        tokenizer: the model's.
        context: S, tokens that the model can see.
    """

    def __init__(self, tokenizer: Tokenizer, context: int) -> None:
        self._tokenizer = tokenizer
        self._context = context
        longest = max(len(tokenizer.token_bytes(id_)) for id_ in range(tokenizer.vocab_size))
        self._most_characters = longest * context

    def read(self, prompt: str | list[int], truncate: int | None) -> list[int]:
        """The ids of a prompt, 1 … S of them.

        Args:
            prompt: a text, in which special tokens count as such, or ids.
            truncate: keep so many of the last ids; −1: S; None: keep all.

        Raises:
            ApiError: status 400.
        """
        ids = self._ids_of_text(prompt, truncate) if isinstance(prompt, str) else prompt
        V = self._tokenizer.vocab_size
        for place, id_ in enumerate(ids):
            if not 0 <= id_ < V:
                raise ApiError(
                    400,
                    f"id {id_ if id_.bit_length() < 64 else '(very large)'} at place {place} of "
                    f"the prompt is outside the model's vocabulary, 0 … {V - 1}",
                    param="prompt",
                )
        if truncate is not None:
            ids = ids[-(self._context if truncate == -1 else truncate) :]
        if len(ids) > self._context:
            raise self._too_long(f"{len(ids)} tokens")
        return ids

    def _ids_of_text(self, prompt: str, truncate: int | None) -> list[int]:
        if truncate is None and len(prompt.encode("utf-8", "replace")) > self._most_characters:
            raise self._too_long(f"{len(prompt)} characters")  # without the time to count tokens
        try:
            return prompt_ids(self._tokenizer, prompt)
        except (UserError, ValueError) as error:
            reason = error.message if isinstance(error, UserError) else str(error)
            raise ApiError(400, f"the prompt cannot be read: {reason}", param="prompt") from error

    def _too_long(self, length: str) -> ApiError:
        return ApiError(
            400,
            f"the prompt has {length} and the model sees {self._context} tokens at once: shorten "
            "it, or have its beginning left out with truncate_prompt_tokens -1",
            param="prompt",
            code="context_length_exceeded",
        )
