"""One text: its pieces, its end, its scores."""

import pytest

from hipgpt_cli.serve.answer import Answer
from hipgpt_cli.serve.logprobs import TokenScore
from hipgpt_model.generate import SamplingConfig


def written(answer, ids, **scores):
    """(text, finish, scores) after ids that the model might have drawn."""
    pieces = []
    for id_ in ids:
        scored = TokenScore(id_, -1.0, []) if answer.wants_logits else None
        pieces.append(answer.take(id_, scored))
        if pieces[-1].finish:
            break
    return ("".join(piece.text for piece in pieces), pieces[-1].finish,
            [scored for piece in pieces for scored in piece.scores])  # fmt: skip


@pytest.fixture
def answer(tiny_tokenizer):
    """answer(tokens=…, …) -> an Answer to the prompt "the"."""

    def make(tokens=100, stop_ids=(), **options):
        sampling = SamplingConfig(num_tokens=tokens, stop_ids=frozenset(stop_ids))
        return Answer(0, tiny_tokenizer.encode("the"), sampling, tiny_tokenizer, **options)

    return make


def test_ends_at_the_last_token(answer, tiny_tokenizer):
    ids = tiny_tokenizer.encode(" quick brown fox")
    text, finish, _ = written(answer(tokens=len(ids)), ids)
    assert (text, finish) == (" quick brown fox", "length")


def test_ends_at_a_stop_id_which_counts_and_is_not_shown(answer, tiny_tokenizer):
    ids = tiny_tokenizer.encode(" quick")
    one = answer(stop_ids=[tiny_tokenizer.eot_id], logprobs=0)
    text, finish, scores = written(one, [*ids, tiny_tokenizer.eot_id])
    assert (text, finish) == (" quick", "stop")
    assert one.tokens == len(ids) + 1
    assert [score.id for score, _ in scores] == [*ids, tiny_tokenizer.eot_id]


def test_ends_before_a_stop_string_and_scores_only_what_is_shown(answer, tiny_tokenizer):
    ids = tiny_tokenizer.encode(" quick brown fox")
    text, finish, scores = written(answer(stops=["own"], logprobs=0), ids)
    assert (text, finish) == (" quick br", "stop")
    assert all(offset < len(text) for _, offset in scores)


def test_a_stop_string_that_the_last_character_completes(answer, tiny_tokenizer):
    """Half a character that is the end of the text becomes U+FFFD, and that may stop too."""
    half = tiny_tokenizer.token_to_id(b"\xc3")
    text, finish, _ = written(answer(tokens=1, stops=["\ufffd"]), [half])
    assert (text, finish) == ("", "stop")


def test_characters_of_several_tokens_come_whole(answer, tiny_tokenizer):
    ids = tiny_tokenizer.encode("é€")
    one = answer(tokens=len(ids), logprobs=0)
    pieces = [one.take(id_, TokenScore(id_, -1.0, [])) for id_ in ids]
    assert [piece.text for piece in pieces if piece.text] == ["é", "€"]
    offsets = [offset for piece in pieces for _, offset in piece.scores]
    assert offsets == [0, 0, 1, 1, 1]


def test_echo_of_a_prompt_that_ends_inside_a_character(tiny_tokenizer):
    """The prompt's half and the text's half are one character."""
    first, second = tiny_tokenizer.encode("é")
    one = Answer(0, [first], SamplingConfig(num_tokens=1), tiny_tokenizer, echo=True)
    assert one.begin().text + one.take(second).text == "é"


def test_the_prompt_is_not_searched_for_stop_strings(answer, tiny_tokenizer):
    one = answer(tokens=1, stops=["the"], echo=True)
    assert one.begin().text == "the"
    assert one.take(tiny_tokenizer.encode(" dog")[0]).finish == "length"


def test_scores_and_text_of_all_pieces_are_those_of_the_whole(answer, tiny_tokenizer):
    ids = tiny_tokenizer.encode(" quick é brown € fox")
    one = answer(tokens=len(ids), stops=["zzz", "fox jumps"], logprobs=0)
    text, finish, scores = written(one, ids)
    assert text == " quick é brown € fox"
    assert finish == "length"
    assert [score.id for score, _ in scores] == ids
