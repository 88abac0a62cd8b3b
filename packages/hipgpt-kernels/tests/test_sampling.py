"""Sampling: which ids the filters leave, and that each is drawn as often as it should be.

The odd thing: a draw is a function of (seed, position, row), so a test knows the number u behind it
and can say which id must come, but for a u that falls on the border of two ids within rounding.
"""

import numpy as np
import pytest

from hipgpt_kernels.hip.dtypes import bfloat16

from . import reference_random
from .arrays import normal, on_device, result_both_ways
from .chi_square import assert_follows
from .exactness import assert_same_bits

FILTERS = [
    {},
    {"temperature": 0.7},
    {"temperature": 3.0},
    {"top_k": 1},
    {"top_k": 5},
    {"top_k": 10**6},
    {"top_p": 0.9},
    {"top_p": 0.3},
    {"top_p": 1e-6},
    {"min_p": 0.05},
    {"min_p": 1.0},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.5},
    {
        "temperature": 0.8,
        "top_k": 20,
        "top_p": 0.95,
        "min_p": 0.02,
        "repetition_penalty": 1.2,
    },
]


def describe(filters):
    return ",".join(f"{name}={value}" for name, value in filters.items()) or "none"


def draw(backend, logits, **options):
    """The ids (B,) that the backend draws from a copy of the logits."""
    (device,) = on_device(backend, logits)
    return backend.to_numpy(backend.sample(device, **options))


def assert_drawn(ids, logits, *, seed, position, seen=None, **filters):
    """Each id is possible, and its share of [0, 1] holds u: exactly, but for float32 rounding.

    The share's borders are cumulative probabilities; how far float32 may move them is what plain
    float32 moves them, by the rule of `exactness.py`.
    """
    for b, drawn in enumerate(ids):
        row_seen = None if seen is None else seen[b]
        borders = []
        for dtype in (np.float64, np.float32):
            p = reference_random.filtered_probabilities(
                logits[b].astype(dtype), seen=row_seen, **filters
            )
            borders.append(np.cumsum(p, dtype=dtype) / p.sum())
            if dtype is np.float64:
                assert p[drawn] > 0, f"row {b}: id {drawn} is filtered out"
        truth, plain = borders
        slack = 2 * np.abs(plain - truth).max() + 4 * np.finfo(np.float32).eps
        u = reference_random.uniform(b, seed, position)
        below = truth[drawn - 1] if drawn else 0.0
        assert below - slack <= u <= truth[drawn] + slack, f"row {b}: {drawn} for u = {u}"


@pytest.mark.parametrize("filters", FILTERS, ids=describe)
@pytest.mark.parametrize(("B", "V"), [(1, 2), (6, 50), (2, 1003)])
def test_each_draw_is_the_id_at_u(backend, rng, B, V, filters):
    logits = 3 * normal(rng, B, V)
    seen = rng.integers(0, 2, (B, V), np.uint8) if "repetition_penalty" in filters else None
    for position in (0, 1, 977):
        options = filters | {"seed": 42, "position": position}
        (device_seen,) = on_device(backend, seen)
        ids = draw(backend, logits, seen=device_seen, **options)
        assert ids.dtype == np.int32
        assert_drawn(ids, logits, seen=seen, **options)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    "filters", [{}, {"top_k": 7}, {"top_p": 0.6}, {"top_k": 40, "top_p": 0.9}], ids=describe
)
def test_16_bit_logits_have_fewer_digits(hip, rng, dtype, filters):
    """Many are equal, above and below 0, and the smaller ids of equals are kept."""
    logits = hip.from_numpy(2 * normal(rng, 6, 301), bfloat16 if dtype == "bfloat16" else dtype)
    exact = hip.to_numpy(logits).astype(np.float32)
    for position in (0, 5):
        options = filters | {"seed": 8, "position": position}
        ids = hip.to_numpy(hip.sample(logits, **options))
        assert_drawn(ids, exact, **options)


@pytest.mark.parametrize(
    "filters", [{}, {"top_k": 40}, {"top_p": 0.9}, {"min_p": 0.01}], ids=describe
)
def test_the_widest_vocabulary(backend, rng, filters):
    logits = 2 * normal(rng, 3, 50_257)
    ids = draw(backend, logits, seed=1, position=2, **filters)
    assert_drawn(ids, logits, seed=1, position=2, **filters)


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"temperature": 0.5},
        {"top_k": 4},
        {"top_p": 0.8},
        {"min_p": 0.2},
        {"temperature": 1.5, "top_k": 6, "top_p": 0.9, "min_p": 0.1},
    ],
    ids=describe,
)
@pytest.mark.parametrize("across", ["rows", "positions"])
def test_draws_follow_the_filtered_softmax(backend, across, filters):
    """Draws from the same logits, over many rows of one call and over many positions."""
    z = np.float32([0.3, -1.0, 2.0, 1.1, 0.0, -3.0, 1.9, 0.5])
    if across == "rows":
        ids = draw(backend, np.tile(z, (3000, 1)), seed=3, position=9, **filters)
    else:
        (device,) = on_device(backend, np.tile(z, (2, 1)))
        ids = np.concatenate(
            [
                backend.to_numpy(backend.sample(device[:1], seed=3, position=position, **filters))
                for position in range(500)
            ]
        )
    probabilities = reference_random.filtered_probabilities(z.astype(np.float64), **filters)
    assert_follows(ids, probabilities)


def test_draws_at_one_position_are_independent_across_rows(backend):
    """Neighbouring rows read neighbouring words: their pairs fill a 4 × 4 table evenly."""
    ids = draw(backend, np.zeros((3000, 4), np.float32), seed=5, position=5)
    pairs = ids[0::2] * 4 + ids[1::2]
    assert_follows(pairs, np.full(16, 1 / 16))


@pytest.mark.parametrize(
    "greedy", [{"temperature": 0.0}, {"top_k": 1}, {"top_p": 1e-9}, {"top_p": 0.0}]
)
def test_the_likeliest_id_and_the_smaller_of_equals(backend, rng, greedy):
    """Temperature 0, top-k 1 and the smallest top-p take it, whatever u."""
    logits = normal(rng, 8, 301)
    logits[3, [7, 100, 300]] = 9.0
    logits[4] = 0.5
    logits[5] = -1e4
    for position in range(5):
        ids = draw(backend, logits, seed=position, position=position, **greedy)
        assert ids.tolist() == logits.argmax(axis=1).tolist()


def test_min_p_one_keeps_all_that_tie_with_the_likeliest(backend):
    logits = np.tile(np.float32([1.0, 2.0, 0.0, 2.0]), (64, 1))
    assert set(draw(backend, logits, min_p=1.0).tolist()) == {1, 3}


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_top_k_keeps_the_smaller_of_equals(backend, top_k):
    logits = np.tile(np.float32([0.0, 5.0, 5.0, 5.0]), (64, 1))
    assert set(draw(backend, logits, top_k=top_k).tolist()) == set(range(1, top_k + 1))


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.2, {0}), (0.3, {0, 1}), (0.5, {0, 1}), (0.75, {0, 1, 2})]
)
def test_top_p_keeps_the_smaller_of_equals_until_it_is_reached(backend, top_p, kept):
    """Four equal ids of exactly 1/4: 0.5 is reached by two, 0.3 only by two."""
    assert set(draw(backend, np.zeros((64, 4), np.float32), top_p=top_p).tolist()) == kept


def test_filters_apply_in_the_contract_s_order(backend):
    """Probabilities 1/2, 1/4, 1/8, 1/8: top-k 2 leaves 2/3, which alone reaches top-p 0.6.

    And min-p looks at what top-p left; temperature changes which ids top-p needs.
    """
    logits = np.tile(np.log(np.float32([0.5, 0.25, 0.125, 0.125])), (200, 1))

    def drawn(**filters):
        return set(draw(backend, logits, **filters).tolist())

    assert drawn(top_p=0.6) == {0, 1}
    assert drawn(top_k=2, top_p=0.6) == {0}
    assert drawn(top_p=0.7, temperature=0.5) == {0}
    assert drawn(top_p=0.7, min_p=0.6) == {0}
    assert drawn(min_p=0.3, temperature=2.0) == {0, 1, 2, 3}


@pytest.mark.parametrize("temperature", [1e-3, 1e-6, 1e-30, 1e-38])
def test_a_temperature_near_zero_is_greedy(backend, rng, temperature):
    """Dividing by it overflows; the likeliest id must still come out, not NaN."""
    logits = 10 * normal(rng, 5, 40)
    ids = draw(backend, logits, temperature=temperature, seed=1, position=1)
    assert ids.tolist() == logits.argmax(axis=1).tolist()


def test_a_huge_temperature_is_uniform(backend):
    logits = np.tile(np.float32([-50, 0, 50, 100]), (2000, 1))
    assert_follows(draw(backend, logits, temperature=1e30), np.full(4, 0.25))


@pytest.mark.parametrize("level", [-1e4, 0.0, 1e4])
def test_extreme_logits(backend, level):
    """±10⁴: only differences count."""
    logits = np.full((50, 6), level, np.float32)
    logits[:, 2] = level - 1e4
    ids = draw(backend, logits)
    assert set(ids.tolist()) == {0, 1, 3, 4, 5}


def test_an_id_of_minus_infinity_is_never_drawn(backend, rng):
    """That is how a caller bans an id."""
    logits = normal(rng, 200, 5)
    logits[:, [0, 3]] = -np.inf
    assert set(draw(backend, logits).tolist()) == {1, 2, 4}


def test_a_draw_next_to_one_still_gives_a_possible_id(backend):
    """u = 1 − 2.6e-8, which float32 would round to 1, and then no cumulative sum exceeds it."""
    position, row = 10_475_606, 3
    assert reference_random.uniform(row, 0, position) > 1 - 2**-25
    logits = np.tile(np.float32([0.0, 1.0, 0.5, -40.0]), (4, 1))
    assert draw(backend, logits, seed=0, position=position)[row] == 2
    assert draw(backend, logits[:, :3], seed=0, position=position)[row] == 2


def test_a_draw_next_to_zero_skips_impossible_ids(backend):
    """u = 1.1e-8: the first id that is possible, not id 0."""
    position, row = 27_055_353, 2
    assert reference_random.uniform(row, 0, position) < 2**-26
    logits = np.tile(np.float32([-1000.0, -1000.0, 0.0, 1.0]), (4, 1))
    assert draw(backend, logits, seed=0, position=position)[row] == 2


# --- what has been seen ---------------------------------------------------------------------------


def test_seen_gets_the_drawn_ids_and_keeps_the_rest(backend, rng):
    logits = normal(rng, 4, 30)
    seen = rng.integers(0, 2, (4, 30), np.uint8)
    for penalty in (1.0, 1.7):
        for temperature in (0.0, 1.0):
            (device_seen,) = on_device(backend, seen)
            ids = draw(
                backend,
                logits,
                temperature=temperature,
                repetition_penalty=penalty,
                seen=device_seen,
            )
            expected = seen.copy()
            expected[np.arange(4), ids] = 1
            assert_same_bits(backend.to_numpy(device_seen), expected)


def test_repetition_penalty_makes_both_signs_less_likely(backend):
    """Positive logits are divided and negative ones multiplied, so neither gains by it."""
    logits = np.float32([[3.0, 2.0, -9.0], [-2.0, -3.0, -9.0], [3.0, 2.0, -9.0]])
    (seen,) = on_device(backend, np.uint8([[1, 0, 0], [1, 0, 0], [0, 0, 0]]))
    ids = draw(backend, logits, temperature=0.0, repetition_penalty=2.0, seen=seen)
    assert ids.tolist() == [1, 1, 0]


def test_repetition_penalty_below_one_makes_seen_ids_likelier(backend):
    logits = np.float32([[2.0, 3.0], [-3.0, -2.0]])
    (seen,) = on_device(backend, np.uint8([[1, 0], [1, 0]]))
    ids = draw(backend, logits, temperature=0.0, repetition_penalty=0.5, seen=seen)
    assert ids.tolist() == [0, 0]


def test_repetition_penalty_applies_before_temperature(backend):
    """Penalty before or after the temperature is the same product, but top-k sees its result."""
    logits = np.tile(np.float32([4.0, 3.9, 0.0]), (100, 1))
    (seen,) = on_device(backend, np.tile(np.uint8([1, 0, 0]), (100, 1)))
    ids = draw(backend, logits, top_k=1, temperature=2.0, repetition_penalty=2.0, seen=seen)
    assert set(ids.tolist()) == {1}


# --- draws are pure functions ---------------------------------------------------------------------


def test_out_and_the_same_ids_twice(backend, rng):
    logits = normal(rng, 9, 100)
    ids = result_both_ways(
        backend,
        lambda **o: backend.sample(backend.from_numpy(logits), seed=1, position=2, **o),
        (9,),
        np.int32,
    )
    assert_same_bits(draw(backend, logits, seed=1, position=2), ids)


def test_a_row_draws_the_same_among_fewer_rows(backend, rng):
    """Row b of B = 9 is row b of B = 3."""
    logits = normal(rng, 9, 1000)
    all_rows = draw(backend, logits, seed=1, position=2)
    assert_same_bits(draw(backend, logits[:3], seed=1, position=2), all_rows[:3])


def test_another_seed_or_position_is_another_draw(backend):
    """Among 1000 equal ids, agreement is about one in a thousand."""
    logits = np.zeros((300, 1000), np.float32)
    keys = [(0, 0), (1, 0), (0, 1), (1 << 32, 0), (0, 1 << 32), (2**64 - 1, 2**64 - 1)]
    draws = [draw(backend, logits, seed=seed, position=position) for seed, position in keys]
    for i, first in enumerate(draws):
        for second in draws[:i]:
            assert (first == second).sum() < 10


@pytest.mark.parametrize("spread", [0.1, 1.0, 6.0])
def test_the_nucleus_of_many_ids_is_that_of_a_whole_sort(spread):
    from hipgpt_kernels.cpu.sampling import nucleus

    rng = np.random.default_rng(3)
    for size in (511, 513, 9000, 20_000):
        weights = np.round(np.exp(rng.normal(size=size) * spread), 2) + 0.01  # many are equal
        order = np.argsort(-weights, kind="stable")
        for part in (0.01, 0.5, 0.95, 0.999999):
            limit = part * weights.sum()
            before = np.cumsum(weights[order]) - weights[order]
            count = max(1, int(np.count_nonzero(before < limit)))
            np.testing.assert_array_equal(nucleus(weights, limit), np.sort(order[:count]))
