"""Questions with endings: how they are read, put together and scored."""

import json

import numpy as np
import pytest

from hipgpt_model.hellaswag import (
    ChoiceReport,
    Question,
    clean,
    hellaswag,
    read_questions,
    split_ids,
)

from .models import make_model, random_weights, tiny_config

GOOD = {"activity_label": "Cooking", "ctx_a": "One boils", "ctx_b": "an egg", "label": 1,
        "endings": ["it.", "them [step] both."]}  # fmt: skip


def written(tmp_path, *values):
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(v if isinstance(v, str) else json.dumps(v) for v in values))
    return path


def test_a_question_is_put_together_as_the_harness_does_it(tmp_path):
    (first, second) = read_questions(written(tmp_path, GOOD, "", {**GOOD, "label": "0"}))
    assert first == Question("Cooking: One boils An egg", ("it.", "them both."), 1)
    assert second.label == 0


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [(" a [title] b", "a. b"), ("a [x] [y] b", "a  b"), ("[header] a", " a"), ("a   b", "a  b")],
)
def test_what_wikihow_left_is_taken_out(text, cleaned):
    """Exactly as often as the harness does, or figures could not be compared."""
    assert clean(text) == cleaned


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "line 1: "),
        ("[1]", "line 1: no JSON object"),
        ("[" * 100_000, "line 1: "),
        ({**GOOD, "ctx_b": None}, "ctx_b is missing"),
        ({**GOOD, "endings": "abcd"}, "endings is not a list"),
        ({**GOOD, "endings": ["a"]}, "endings is not a list of two or more"),
        ({**GOOD, "endings": ["a", "[b]"]}, "endings is not"),
        ({**GOOD, "label": 2}, "label is 2"),
        ({**GOOD, "label": ""}, "label is ''"),
        ({**GOOD, "label": True}, "label is True"),
        ("", "holds no question"),
    ],
)
def test_what_is_no_question_is_refused(tmp_path, value, message):
    with pytest.raises(ValueError, match=r"questions\.jsonl") as caught:
        read_questions(written(tmp_path, value))
    assert message in str(caught.value)


def test_an_endings_ids_are_those_of_the_whole_text():
    """White space before an ending goes to it; a token across the border is the ending's."""
    words = split_ids(lambda text: text.replace(" ", " _").split(), "one two  ", "three")
    assert words == (["one", "_two"], ["_", "_three"])


def test_the_chosen_ending_has_the_largest_likelihood(any_backend, rng):
    """Against the model's own logits, one ending at a time."""
    config = tiny_config(max_seq_len=20)
    model = make_model(config, any_backend, random_weights(config, rng), training=False)

    def encode(text):
        return [ord(letter) % 37 for letter in text]

    questions = [
        Question("".join(map(chr, rng.integers(65, 90, 6))),
                 tuple("".join(map(chr, rng.integers(65, 90, n))) for n in (3, 9, 5)), i % 3)
        for i in range(12)
    ]  # fmt: skip
    right = right_norm = 0
    for question in questions:
        sums = []
        for ending in question.endings:
            ids = encode(f"{question.context} {ending}")
            logits = model.logits(np.array([ids], np.int32))[0].astype(np.float64)
            logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
            start = len(question.context)
            sums.append(sum(logits[t - 1, ids[t]] for t in range(start, len(ids))))
        normed = [s / len(e) for s, e in zip(sums, question.endings, strict=True)]
        right += int(np.argmax(sums)) == question.label
        right_norm += int(np.argmax(normed)) == question.label
    report = hellaswag(model, encode, questions)
    assert report == ChoiceReport(right / 12, right_norm / 12, 12)
    assert right != right_norm, "the two counts were never told apart"
