"""Every field of a request: what it means, and how a wrong one is told."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipgpt_cli.serve.limits import Limits
from hipgpt_cli.serve.problems import ApiError
from hipgpt_cli.serve.schemas import parse
from hipgpt_model.generate import SamplingConfig

LIMITS = Limits()


def test_defaults_are_those_of_openai():
    request = parse({}, LIMITS)
    assert (request.max_tokens, request.temperature, request.top_p, request.n) == (16, 1, 1, 1)
    assert (request.echo, request.stream, request.logprobs, request.stops) == (
        False, False, None, [],
    )  # fmt: skip
    assert request.prompts == [""]


def test_null_is_left_out():
    names = ("prompt", "max_tokens", "stop", "logit_bias", "suffix", "user", "stream_options",
             "frequency_penalty", "presence_penalty", "best_of", "seed", "model")  # fmt: skip
    assert parse(dict.fromkeys(names), LIMITS).prompts == [""]


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
        (["a", [1]], ["a", [1]]),
    ],
)
def test_prompts(prompt, prompts):
    assert parse({"prompt": prompt}, LIMITS).prompts == prompts


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": 1}, {"prompt": []}, {"prompt": [[]]}, {"prompt": [1, "a"]}, {"prompt": [True]},
        {"prompt": {"a": 1}}, {"prompt": [1.5]},
        {"max_tokens": -1}, {"max_tokens": "1"}, {"max_tokens": True}, {"max_tokens": 10**9},
        {"max_tokens": 1.5}, {"max_tokens": 0},
        {"temperature": -1}, {"temperature": float("nan")}, {"temperature": float("inf")},
        {"temperature": "hot"}, {"temperature": 10**400},
        {"top_p": 2}, {"top_k": -2}, {"min_p": -0.1}, {"repetition_penalty": 0},
        {"n": 0}, {"n": 10**6}, {"n": 2, "best_of": 1}, {"best_of": 2, "stream": True},
        {"stream": "yes"}, {"stream": 1}, {"echo": 0},
        {"logprobs": -1}, {"logprobs": 21}, {"logprobs": True},
        {"stop": 1}, {"stop": [""]}, {"stop": ["a"] * 17}, {"stop": "x" * 1001}, {"stop": [1]},
        {"seed": 2**64}, {"seed": "x"}, {"model": 1}, {"user": 1},
        {"stream_options": {"include_usage": True}}, {"stream": True, "stream_options": {"x": 1}},
        {"stream": True, "stream_options": {"include_usage": 1}},
        {"truncate_prompt_tokens": 0}, {"ignore_eos": 1},
        {"frequency_penalty": 0.5}, {"presence_penalty": -1}, {"logit_bias": {"1": 5}},
        {"suffix": "x"}, {"frequency_penalty": False}, {"nonsense": 1}, {"x" * 5000: 1},
    ],
    ids=lambda fields: json.dumps(fields)[:60],
)  # fmt: skip
def test_wrong_fields_are_refused_by_name(fields):
    with pytest.raises(ApiError) as caught:
        parse(fields, LIMITS)
    assert caught.value.status == 400
    assert len(caught.value.message) < 300
    if caught.value.param != "prompt":
        assert any(name.startswith(caught.value.param or "?") for name in fields)


@pytest.mark.parametrize("body", [None, 1, "x", [], [{}], True, 1.5])
def test_a_body_is_an_object(body):
    with pytest.raises(ApiError, match="JSON object"):
        parse(body, LIMITS)


def test_values_that_ask_for_nothing_are_let_pass():
    parse({"frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}, "suffix": ""}, LIMITS)


def test_seeds_of_any_sign():
    assert parse({"seed": -1}, LIMITS).seed == 2**64 - 1
    assert parse({"seed": 5}, LIMITS).seed == 5
    assert parse({}, LIMITS).seed != parse({}, LIMITS).seed


def test_minus_one_is_all_for_top_k():
    assert parse({"top_k": -1}, LIMITS).top_k == 0


FIELDS = (
    "model", "prompt", "max_tokens", "temperature", "top_p", "top_k", "min_p", "n", "best_of",
    "repetition_penalty", "stream", "stream_options", "echo", "logprobs", "stop", "seed",
    "ignore_eos", "truncate_prompt_tokens", "user", "logit_bias", "suffix", "frequency_penalty",
)  # fmt: skip

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from([0, 1, -1, 10**30, -0.0, 1e308, "", "the", "\ud800"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner,
                                                               max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6))
def test_anything_is_a_request_or_a_refusal_that_is_json(values):
    try:
        request = parse(values, LIMITS)
    except ApiError as error:
        json.dumps(error.body(), allow_nan=False)
        if error.status != 400:
            raise
        return
    assert 1 <= request.rows <= LIMITS.most_texts
    assert 0 <= request.seed < 2**64
    SamplingConfig(
        num_tokens=request.max_tokens, temperature=request.temperature, top_p=request.top_p,
        top_k=request.top_k, min_p=request.min_p, seed=request.seed,
        repetition_penalty=request.repetition_penalty,
    )  # fmt: skip
