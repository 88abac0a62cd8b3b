"""The reference is right: finite differences, published vectors, and numbers worked by hand."""

import ast
import importlib
import math
from pathlib import Path

import numpy as np
import pytest

from . import reference, reference_random
from .finite_differences import assert_gradient


@pytest.fixture
def draw(rng):
    """A function that gives float64 arrays of standard normal numbers."""
    return lambda *shape: rng.standard_normal(shape)


def away_from_zero(x):
    """x with |x| ≥ 0.1, so that no difference straddles the corner of relu."""
    return np.copysign(np.abs(x) + 0.1, x)


def test_it_shares_nothing_with_what_it_judges():
    """The shipped formulas import the standard library, NumPy and each other."""
    allowed = {"__future__", "typing", "math", "numpy", "hipgpt_kernels.reference"}
    for name in ("reference", "reference_random"):
        source = importlib.import_module(f"hipgpt_kernels.{name}").__file__
        for node in ast.walk(ast.parse(Path(source).read_text("utf-8"))):
            if isinstance(node, ast.Import):
                assert {alias.name for alias in node.names} <= allowed
            elif isinstance(node, ast.ImportFrom):
                assert node.module in allowed


# --- forward: numbers worked by hand --------------------------------------------------------------


def test_gather_batch_by_hand():
    inputs, targets = reference.gather_batch(np.array([5, 6, 7, 8], np.uint16), [1, 0], T=2)
    assert inputs.tolist() == [[6, 7], [5, 6]]
    assert targets.tolist() == [[7, 8], [6, 7]]


def test_embedding_by_hand():
    tokens = np.array([[1, 0]])
    out = reference.embedding_forward(
        tokens, np.array([[1.0], [2.0]]), np.array([[0], [10], [20.0]]), 1
    )
    assert out.tolist() == [[[12.0], [21.0]]]


def test_activations_by_hand():
    """gelu(1) from the tanh formula with a calculator; swiglu(0, u) = 0; swiglu(g → ∞, u) = g·u."""
    assert reference.activation_forward(np.array([1.0]), "gelu")[0] == pytest.approx(0.8411919906)
    assert reference.activation_forward(np.array([-2.0, 3.0]), "relu").tolist() == [0, 3]
    assert reference.activation_forward(np.array([0.0, 5.0]), "swiglu").tolist() == [0]
    assert reference.activation_forward(np.array([50.0, 2.0]), "swiglu")[0] == pytest.approx(100)
    assert reference.activation_forward(np.array([-1e4, 2.0]), "swiglu").tolist() == [0]


def test_linear_by_hand():
    x, weight, bias = (
        np.array([[1.0, 2.0]]),
        np.array([[3.0, 4.0], [5.0, 6.0]]),
        np.array([0.5, -20]),
    )
    assert reference.linear_forward(x, weight, bias).tolist() == [[11.5, -3.0]]
    assert reference.linear_forward(x, weight, bias, "relu").tolist() == [[11.5, 0.0]]
    assert reference.linear_forward(x, weight, residual=np.ones((1, 2))).tolist() == [[12.0, 18.0]]


def test_layernorm_by_hand():
    """Mean 2, biased variance 1."""
    out, mean, rstd = reference.layernorm_forward(
        np.array([[1.0, 3.0]]), np.array([2.0, 3.0]), np.array([10.0, 20.0]), epsilon=0.0
    )
    assert out.tolist() == [[8.0, 23.0]]
    assert (mean.tolist(), rstd.tolist()) == ([2.0], [1.0])


def test_attention_by_hand():
    """Equal scores average the past; a score of log 3 against 0 weighs three to one."""
    q, k = np.zeros((1, 3, 1, 1)), np.ones((1, 3, 1, 1))
    v = np.array([1.0, 3.0, 8.0]).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(reference.attention_forward(q, k, v).ravel(), [1, 2, 4])
    np.testing.assert_allclose(reference.attention_lse(q, k).ravel(), np.log([1, 2, 3]))
    q[0, 1, 0, 0] = k[0, 0, 0, 0] = math.sqrt(math.log(3))
    k[0, 1, 0, 0] = 0
    np.testing.assert_allclose(reference.attention_forward(q, k, v)[0, 1, 0, 0], 1.5)


def test_attention_scales_by_the_root_of_D():
    """q·k = 4·log 3 over D = 16 is a score of log 3."""
    q = np.zeros((1, 2, 1, 16))
    k = np.zeros((1, 2, 1, 16))
    q[0, 1, 0, 0], k[0, 0, 0, 0] = 4, math.log(3)
    v = np.zeros((1, 2, 1, 16))
    v[0, 0], v[0, 1] = 1, 3
    np.testing.assert_allclose(reference.attention_forward(q, k, v)[0, 1, 0], np.full(16, 1.5))


def test_cross_entropy_by_hand():
    logits = np.array(
        [[0.0, 0.0, 0.0, 0.0], [0.0, math.log(3), -np.inf, -np.inf], [1.0, 1.0, 0, 0]]
    )
    targets = np.array([2, 1, -1])
    np.testing.assert_allclose(
        reference.cross_entropy_forward(logits, targets), [math.log(4), math.log(4 / 3), 0]
    )
    np.testing.assert_allclose(
        reference.cross_entropy_backward(logits, targets, 2.0),
        [[0.5, 0.5, -1.5, 0.5], [0.5, -0.5, 0, 0], [0, 0, 0, 0]],
    )
    assert reference.cross_entropy_correct(logits, np.array([0, 0, 0])).tolist() == [1, 0, 1]
    assert reference.cross_entropy_correct(logits, np.array([1, 1, 1])).tolist() == [0, 1, 0]
    assert reference.cross_entropy_correct(logits, np.array([-1, -1, -1])).tolist() == [0, 0, 0]


def test_first_adamw_step_is_the_learning_rate_against_the_sign():
    """m/(1−β₁) = g and √(v/(1−β₂)) = |g|, so the update is lr · (sign(g) + decay · w)."""
    w, g = np.array([1.0, -2.0]), np.array([3.0, -0.01])
    new, m, v = reference.adamw_step(
        w,
        g,
        np.zeros(2),
        np.zeros(2),
        learning_rate=0.1,
        beta1=0.9,
        beta2=0.99,
        epsilon=0.0,
        weight_decay=0.5,
        step=1,
    )
    np.testing.assert_allclose(new, [1 - 0.1 * (1 + 0.5), -2 - 0.1 * (-1 - 1)])
    np.testing.assert_allclose(m, 0.1 * g)
    np.testing.assert_allclose(v, 0.01 * g * g)


@pytest.mark.parametrize(("max_norm", "factor"), [(1.0, 1 / 5), (5.1, 1), (0.0, 1)])
def test_adamw_clips_to_max_norm_and_leaves_what_is_below_it(max_norm, factor):
    """The norm is 5; with β₁ = 0 the first moment is the clipped gradient."""
    w, g, zero = np.zeros(2), np.array([3.0, 4.0]), np.zeros(2)
    _, m, _ = reference.adamw_step(
        w,
        g,
        zero,
        zero,
        learning_rate=0.1,
        beta1=0.0,
        beta2=0.0,
        epsilon=1.0,
        weight_decay=0.0,
        step=1,
        norm=5.0,
        max_norm=max_norm,
    )
    np.testing.assert_allclose(m, g * factor, rtol=1e-6)


def test_gradient_norm_by_hand():
    assert reference.gradient_norm(np.array([3.0, -4.0])) == 5


# --- backward: finite differences -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("B", "T", "V", "S", "E"), [(2, 3, 5, 4, 3), (1, 1, 2, 1, 1), (3, 1, 2, 7, 2)]
)
def test_embedding_backward(rng, draw, B, T, V, S, E):
    tokens = rng.integers(0, V, (B, T))
    token_table, position_table, dout = draw(V, E), draw(S, E), draw(B, T, E)

    def loss():
        return (reference.embedding_forward(tokens, token_table, position_table) * dout).sum()

    dtoken_table, dposition_table = reference.embedding_backward(dout, tokens, V, S)
    assert_gradient(dtoken_table, loss, token_table)
    assert_gradient(dposition_table, loss, position_table)


@pytest.mark.parametrize("activation", ["gelu", "gelu_erf", "relu", "swiglu"])
@pytest.mark.parametrize("shape", [(3, 6), (1, 2), (2, 1, 4)])
def test_activation_backward(draw, activation, shape):
    x = away_from_zero(draw(*shape))
    dout = draw(*reference.activation_forward(x, activation).shape)

    def loss():
        return (reference.activation_forward(x, activation) * dout).sum()

    assert_gradient(reference.activation_backward(dout, x, activation), loss, x)


@pytest.mark.parametrize(("rows", "K", "N"), [((3,), 5, 4), ((1,), 1, 1), ((2, 1), 3, 7)])
def test_linear_backward(draw, rows, K, N):
    x, weight, bias, dout = draw(*rows, K), draw(N, K), draw(N), draw(*rows, N)

    def loss():
        return (reference.linear_forward(x, weight, bias) * dout).sum()

    dweight, dbias = reference.linear_backward_weight(dout, x)
    assert_gradient(reference.linear_backward_input(dout, weight), loss, x)
    assert_gradient(dweight, loss, weight)
    assert_gradient(dbias, loss, bias)


@pytest.mark.parametrize("activation", ["gelu", "gelu_erf", "relu", "swiglu"])
def test_linear_backward_through_an_activation(draw, activation):
    """out = f(z) · weightᵀ: the gradient of z comes out of one op."""
    z = away_from_zero(draw(3, 8))
    K = reference.activation_forward(z, activation).shape[-1]
    weight, dout = draw(5, K), draw(3, 5)

    def loss():
        x = reference.activation_forward(z, activation)
        return (reference.linear_forward(x, weight) * dout).sum()

    assert_gradient(reference.linear_backward_input(dout, weight, activation, z), loss, z)


@pytest.mark.parametrize("shape", [(3, 5), (1, 2), (2, 3, 7), (4, 1)])
def test_layernorm_backward(draw, shape):
    E = shape[-1]
    x, weight, bias, dout = draw(*shape), draw(E), draw(E), draw(*shape)

    def loss():
        return (reference.layernorm_forward(x, weight, bias, epsilon=1e-2)[0] * dout).sum()

    dx, dweight, dbias = reference.layernorm_backward(dout, x, weight, epsilon=1e-2)
    assert_gradient(dx, loss, x)
    assert_gradient(dweight, loss, weight)
    assert_gradient(dbias, loss, bias)


@pytest.mark.parametrize(
    ("B", "T", "H", "D"), [(2, 4, 2, 3), (1, 1, 1, 1), (1, 5, 1, 1), (3, 2, 2, 2)]
)
def test_attention_backward(draw, B, T, H, D):
    q, k, v, dout = (draw(B, T, H, D) for _ in range(4))

    def loss():
        return (reference.attention_forward(q, k, v) * dout).sum()

    dq, dk, dv = reference.attention_backward(dout, q, k, v)
    assert_gradient(dq, loss, q)
    assert_gradient(dk, loss, k)
    assert_gradient(dv, loss, v)


@pytest.mark.parametrize(("M", "V"), [(3, 5), (1, 2), (4, 3)])
def test_cross_entropy_backward(rng, draw, M, V):
    logits, targets = draw(M, V), rng.integers(0, V, M)
    targets[M // 2] = -1 if M > 1 else 0
    assert_gradient(
        reference.cross_entropy_backward(logits, targets, 0.3),
        lambda: 0.3 * reference.cross_entropy_forward(logits, targets).sum(),
        logits,
    )


def test_dropout_is_its_own_backward(draw):
    x, dout, residual = draw(3, 7), draw(3, 7), draw(3, 7)

    def loss():
        return (reference_random.dropout_forward(x, 0.4, 5, 6, residual) * dout).sum()

    assert_gradient(reference_random.dropout_forward(dout, 0.4, 5, 6), loss, x)


# --- attention with a cache -----------------------------------------------------------------------


def test_cached_attention_is_attention(draw):
    """Two pieces through the cache give the rows of one whole pass, and the cache holds k and v."""
    B, T, H, D, S = 2, 5, 3, 4, 8
    q, k, v = (draw(B, T, H, D) for _ in range(3))
    k_cache, v_cache = np.full((2, B, H, S, D), np.nan)
    first, k_cache, v_cache = reference.attention_cached(
        q[:, :2], k[:, :2], v[:, :2], k_cache, v_cache, 0
    )
    second, k_cache, v_cache = reference.attention_cached(
        q[:, 2:], k[:, 2:], v[:, 2:], k_cache, v_cache, 2
    )
    np.testing.assert_allclose(
        np.concatenate([first, second], axis=1), reference.attention_forward(q, k, v), rtol=1e-12
    )
    np.testing.assert_array_equal(k_cache[:, :, :T], k.swapaxes(1, 2))
    np.testing.assert_array_equal(v_cache[:, :, :T], v.swapaxes(1, 2))
    assert np.isnan(k_cache[:, :, T:]).all()


# --- random numbers and sampling ------------------------------------------------------------------

KNOWN_ANSWERS = [
    (
        "00000000 00000000 00000000 00000000",
        "00000000 00000000",
        "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    ),
    (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]
"""Counter, key and output of philox4x32-10 in the Random123 library's file kat_vectors."""


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_philox_known_answers(counter, key, expected):
    counter, key, expected = (
        tuple(int(word, 16) for word in words.split()) for words in (counter, key, expected)
    )
    assert reference_random.philox4x32_10(counter, key) == expected


def test_sampling_filters_by_hand():
    """Probabilities 0.5, 0.25, 0.125, 0.125 (the last two tie; the smaller id goes last)."""
    z = np.log([0.125, 0.5, 0.25, 0.125])

    def probabilities(**filters):
        return reference_random.filtered_probabilities(z, **filters)

    np.testing.assert_allclose(probabilities(), [0.125, 0.5, 0.25, 0.125])
    np.testing.assert_allclose(probabilities(top_k=2), [0, 2 / 3, 1 / 3, 0])
    np.testing.assert_allclose(probabilities(top_k=3), np.array([1, 4, 2, 0]) / 7)
    np.testing.assert_allclose(probabilities(top_p=0.4), [0, 1, 0, 0])
    np.testing.assert_allclose(probabilities(top_p=0.6), [0, 2 / 3, 1 / 3, 0])
    np.testing.assert_allclose(probabilities(top_p=0.8), np.array([1, 4, 2, 0]) / 7)
    np.testing.assert_allclose(probabilities(min_p=0.3), [0, 2 / 3, 1 / 3, 0])
    np.testing.assert_allclose(probabilities(temperature=0), [0, 1, 0, 0])
    np.testing.assert_allclose(probabilities(temperature=0.5), np.array([1, 16, 4, 1]) / 22)
    seen = np.array([0, 1, 0, 0])  # all logits are negative, so a penalty multiplies: 0.5² = 0.25
    np.testing.assert_allclose(
        probabilities(repetition_penalty=2.0, seen=seen), np.array([1, 2, 2, 1]) / 6
    )


def test_filters_work_on_what_the_ones_before_left():
    """top-k 2 leaves 2/3 and 1/3; only then does top-p 0.6 see a first id that suffices alone."""
    z = np.log([0.125, 0.5, 0.25, 0.125])
    p = reference_random.filtered_probabilities(z, top_k=2, top_p=0.6)
    np.testing.assert_allclose(p, [0, 1, 0, 0])


def test_repetition_penalty_divides_positive_and_multiplies_negative():
    z = np.array([2.0, -2.0, 0.0, 2.0])
    p = reference_random.filtered_probabilities(
        z, repetition_penalty=4.0, seen=np.array([1, 1, 1, 0])
    )
    np.testing.assert_allclose(p, reference.softmax(np.array([0.5, -8.0, 0.0, 2.0])))


def test_draw_takes_the_first_id_whose_cumulative_probability_exceeds_u():
    p = np.array([0.0, 0.25, 0.0, 0.75])
    drawn = [reference_random.draw(p, u) for u in (0.0, 0.249, 0.25, 0.999)]
    assert drawn == [1, 1, 3, 3]
