"""HellaSwag: which of four endings goes on with a text (Zellers et al. 2019).

Texts are put together and cleaned, and both accuracies counted, as lm-evaluation-harness does it in
its task `hellaswag`, so that figures can be compared. The odd thing: an ending's tokens are those
that it has in the whole text, behind its context, not those that it would have alone.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hipgpt_model.evaluate import score

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from hipgpt_model.gpt import GPT


@dataclass(frozen=True)
class Question:
    """A context and its endings.

    Attributes:
        context: what comes before.
        endings: what may follow; one space stands between.
        label: number of the right ending.
    """

    context: str
    endings: tuple[str, ...]
    label: int


@dataclass(frozen=True)
class ChoiceReport:
    """How often a model chose the right ending.

    Attributes:
        acc: by log-likelihood.
        acc_norm: by log-likelihood over the ending's length in characters.
        questions: how many there were.
    """

    acc: float
    acc_norm: float
    questions: int

    def error(self, accuracy: float) -> float:
        """The standard error of an accuracy over so many questions."""
        return math.sqrt(accuracy * (1 - accuracy) / max(self.questions - 1, 1))


def read_questions(path: str | os.PathLike[str]) -> list[Question]:
    """The questions of a HellaSwag file: one JSON object a line.

    Raises:
        ValueError: a line is no such question; it is named.
    """
    path = Path(path)
    questions = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                questions.append(_question(json.loads(line.decode("utf-8"))))
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path}, line {number}: {error}") from None
    if not questions:
        raise ValueError(f"{path} holds no question")
    return questions


def _question(value: Any) -> Question:
    if not isinstance(value, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - it is the file that is wrong
    for key in ("activity_label", "ctx_a", "ctx_b"):
        if not isinstance(value.get(key), str):
            raise ValueError(f"{key} is missing or no text")  # noqa: TRY004 - as above
    endings, label = value.get("endings"), value.get("label")
    if (
        not isinstance(endings, list)
        or len(endings) < 2
        or not all(isinstance(ending, str) and clean(ending) for ending in endings)
    ):
        raise ValueError("endings is not a list of two or more texts")
    if isinstance(label, str) and label.isdecimal():
        label = int(label)
    if type(label) is not int or not 0 <= label < len(endings):
        raise ValueError(f"label is {value.get('label')!r}, expected the number of an ending")
    context = f"{value['activity_label']}: {value['ctx_a']} {value['ctx_b'].capitalize()}"
    return Question(clean(context), tuple(map(clean, endings)), label)


def clean(text: str) -> str:
    """A text without what WikiHow's pages left in it.

    Example:
        >>> clean(" Boil it [title] Wait [substeps] an  hour. ")
        'Boil it. Wait an hour.'
    """
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


def hellaswag(
    model: GPT,
    encode: Callable[[str], Sequence[int]],
    questions: Sequence[Question],
    progress: Callable[[int, int], None] | None = None,
) -> ChoiceReport:
    """Let a model answer.

    Args:
        model: the model.
        encode: text → ids.
        questions: at least one.
        progress: called with (endings scored, endings in all).
    """
    requests = [
        split_ids(encode, question.context, f" {ending}")
        for question in questions
        for ending in question.endings
    ]
    scores = iter(score(model, requests, progress))
    right = right_norm = 0
    for question in questions:
        likelihoods = [next(scores).log_likelihood for _ in question.endings]
        normed = [a / len(b) for a, b in zip(likelihoods, question.endings, strict=True)]
        right += likelihoods.index(max(likelihoods)) == question.label
        right_norm += normed.index(max(normed)) == question.label
    count = len(questions)
    return ChoiceReport(right / count, right_norm / count, count)


def split_ids(
    encode: Callable[[str], Sequence[int]], context: str, continuation: str
) -> tuple[Sequence[int], Sequence[int]]:
    """The ids of two texts as they are in the whole: white space between them goes to the second.

    Example:
        >>> split_ids(lambda text: list(text.encode()), "a ", "b")
        ([97], [32, 98])
    """
    bare = context.rstrip()
    continuation = context[len(bare) :] + continuation
    whole, before = encode(bare + continuation), len(encode(bare))
    return whole[:before], whole[before:]
