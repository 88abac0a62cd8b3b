"""Log-probabilities against the formula."""

import math

import numpy as np

from hipgpt_cli.serve.logprobs import likeliest, score


def test_log_softmax():
    logits = np.array([1.0, 3.0, -2.0, 3.0], np.float32)
    total = sum(math.exp(value) for value in logits.tolist())
    result = score(logits, 2, 2)
    assert math.isclose(result.logprob, math.log(math.exp(-2) / total), rel_tol=1e-12)
    assert [id_ for id_, _ in result.top] == [1, 3, 2]  # of equals the smaller; then the token
    assert math.isclose(sum(math.exp(value) for _, value in score(logits, 0, 4).top), 1)


def test_large_logits_do_not_overflow():
    assert score(np.array([1e30, 0], np.float32), 0, 1).logprob == 0


def test_none_wanted():
    assert score(np.zeros(5, np.float32), 3, 0).top == []
    assert likeliest(np.zeros(3), 9).tolist() == [0, 1, 2]
