"""Decoding: all layers in one call, and the loop that draws, against the ordinary ops in float32.

The odd thing: what is compared with is the plain version that every backend inherits, run with
NumPy; that one is held against whole models in hipgpt-model's tests.
"""

import numpy as np
import pytest

from hipgpt_kernels.decode_loop import HostLoop, RowSampling
from hipgpt_kernels.decoder import Decoder, DecoderBlock, decode_step
from hipgpt_kernels.hip.dtypes import bfloat16

from .conftest import load_or_skip

TOLERANCE = {"float32": 2e-5, "bfloat16": 6e-2, "float16": 8e-3}
"""Of the largest logit: a few roundings of each type in each of two layers."""

OPTIONS = {
    "gpt2": {"tied": True, "output_bias": False},
    "swiglu": {"activation": "swiglu"},
    "gelu-erf": {"activation": "gelu_erf"},
    "no final norm": {"activation": "relu", "final_norm": False},
}


def random_decoder(
    rng, *, V, S, E, H, F, L, activation="gelu", tied=False, output_bias=True, final_norm=True
):
    """A decoder over NumPy arrays, gains near 1, everything else such that nothing grows."""

    def matrix(rows, columns):
        return (rng.standard_normal((rows, columns)) * 1.5 / np.sqrt(columns)).astype(np.float32)

    def vector(size, middle=0.0):
        return (middle + 0.3 * rng.standard_normal(size)).astype(np.float32)

    up = 2 * F if activation == "swiglu" else F
    blocks = tuple(
        DecoderBlock(
            *(vector(E, 1.0), vector(E), matrix(3 * E, E), vector(3 * E), matrix(E, E), vector(E)),
            *(vector(E, 1.0), vector(E), matrix(up, E), vector(up), matrix(E, F), vector(E)),
        )
        for _ in range(L)
    )
    tokens = matrix(V, E)
    return Decoder(
        token_table=tokens,
        position_table=matrix(S, E),
        blocks=blocks,
        final_norm_weight=vector(E, 1.0) if final_norm else None,
        final_norm_bias=vector(E) if final_norm else None,
        head_weight=tokens if tied else matrix(V, E),
        head_bias=vector(V) if output_bias else None,
        num_heads=H,
        activation=activation,
        epsilon=1e-5,
    )


def moved(decoder, backend, dtype):
    """The decoder on a backend, its weights rounded; and the same rounded weights in NumPy."""
    both = [{}, {}]

    def move(array):
        if array is None:
            return None, None
        if id(array) not in both[0]:
            device = (
                backend.from_numpy(array)
                if dtype == "float32"
                else backend.from_numpy(array, bfloat16 if dtype == "bfloat16" else dtype)
            )
            both[0][id(array)] = device
            both[1][id(array)] = backend.to_numpy(device).astype(np.float32)
        return both[0][id(array)], both[1][id(array)]

    def one(which, value):
        if isinstance(value, tuple):
            return tuple(
                DecoderBlock(**{name: move(array)[which] for name, array in vars(block).items()})
                for block in value
            )
        return move(value)[which] if isinstance(value, np.ndarray) else value

    return [
        Decoder(**{name: one(which, value) for name, value in vars(decoder).items()})
        for which in (0, 1)
    ]


def compare(backend, rng, dtype, B, *, S=16, E=64, H=2, F=96, V=83, L=2, first=None, **options):
    """Two tokens of B rows at positions of their own; row 1 sits the second out."""
    decoder = random_decoder(rng, V=V, S=S, E=E, H=H, F=F, L=L, **options)
    own, plain = moved(decoder, backend, dtype)
    numpy_backend = load_or_skip("numpy")
    past = (0.5 * rng.standard_normal((2 * L, B, H, S, E // H))).astype(np.float32)
    kind = own.token_table.dtype
    caches = [
        backend.from_numpy(one) if dtype == "float32" else backend.from_numpy(one, kind)
        for one in past
    ]
    expected_caches = [backend.to_numpy(one).astype(np.float32) for one in caches]
    positions = (np.arange(B) % (S - 1) if first is None else np.asarray(first)).astype(np.int32)
    for step in range(2):
        tokens = rng.integers(0, V, B).astype(np.int32)
        now = positions + step
        if step == 1 and B > 1:
            now[1] = -1
        now = now.astype(np.int32)
        before = [backend.to_numpy(one) for one in caches]
        logits = backend.to_numpy(
            backend.decode_step(
                own,
                caches[:L],
                caches[L:],
                backend.from_numpy(tokens),
                backend.from_numpy(now),
            )
        )
        expected = decode_step(
            numpy_backend, plain, expected_caches[:L], expected_caches[L:], tokens, now
        )
        live = now >= 0
        limit = TOLERANCE[dtype] * np.abs(expected[live]).max()
        np.testing.assert_allclose(logits[live], expected[live], rtol=0, atol=limit)
        for cache, old, right in zip(caches, before, expected_caches, strict=True):
            after = backend.to_numpy(cache)
            written = np.zeros(after.shape[:3], bool)
            written[np.flatnonzero(live), :, now[live]] = True
            np.testing.assert_array_equal(after[~written], old[~written])
            np.testing.assert_allclose(after, right, rtol=0, atol=TOLERANCE[dtype] * 10)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("B", [1, 2, 3, 5])
def test_a_step_is_that_of_the_ordinary_ops(backend, rng, B, options):
    compare(backend, rng, "float32", B, **options)


def test_sizes_that_nothing_divides(backend, rng):
    compare(backend, rng, "float32", 3, E=21, H=3, F=13, V=29)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("B", [1, 2, 4, 6])
def test_a_step_in_low_precision(hip, rng, dtype, B, options):
    compare(hip, rng, dtype, B, **options)


@pytest.mark.parametrize("B", [17, 40])
def test_many_rows_on_the_matrix_cores(hip, rng, B):
    compare(hip, rng, "bfloat16", B, activation="swiglu")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("B", [1, 2, 6])
def test_a_long_cache_is_read_in_chunks(hip, rng, dtype, B):
    compare(hip, rng, dtype, B, S=300, first=[297, 127, 128, 0, 255, 3][:B], E=32, F=32, L=1)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("B", [1, 4, 33, 64, 70])
def test_large_sizes(hip, rng, dtype, B):
    """GPT-2's widths, long caches, a vocabulary whose head is cut otherwise."""
    first = rng.integers(0, 1022, B)
    compare(hip, rng, dtype, B, S=1024, E=768, H=12, F=3072, V=50257, L=2, first=first)


def test_equal_steps_give_equal_bits(hip, rng):
    """Whatever neighbours a row has among as many rows."""
    decoder = random_decoder(rng, V=50, S=16, E=64, H=2, F=96, L=2)
    own, _ = moved(decoder, hip, "bfloat16")
    results = []
    for _ in range(2):
        tokens = rng.integers(0, 50, 8).astype(np.int32)
        tokens[2] = 7
        caches = [hip.zeros((8, 2, 16, 32), bfloat16) for _ in range(4)]
        arrays = hip.from_numpy(tokens), hip.from_numpy(np.zeros(8, np.int32))
        results.append(hip.to_numpy(hip.decode_step(own, caches[:2], caches[2:], *arrays))[2])
    np.testing.assert_array_equal(*results)


SAMPLINGS = [
    RowSampling(temperature=0, remaining=9),
    RowSampling(seed=3, remaining=12),
    RowSampling(top_k=5, temperature=0.7, seed=2**64 - 1, draw=11, remaining=4),
    RowSampling(top_p=0.7, seed=5, remaining=30),
    RowSampling(min_p=0.1, repetition_penalty=1.4, seen=(1, 2, 3), seed=6, remaining=30),
    RowSampling(stop_ids=frozenset(range(0, 50, 3)), seed=7, remaining=30),
]


def test_the_device_draws_what_the_host_draws(hip, rng):
    """Rows with choices and lengths of their own; one ends early, one full, one begins late."""
    decoder = random_decoder(rng, V=50, S=16, E=32, H=2, F=32, L=1)
    own, plain = moved(decoder, hip, "float32")
    numpy_backend = load_or_skip("numpy")
    B = len(SAMPLINGS)
    shape = (B, 2, 16, 16)
    past = (0.5 * rng.standard_normal((2, *shape))).astype(np.float32)
    first = rng.standard_normal((B, 50)).astype(np.float32)
    loops = [
        hip.decode_loop(own, [hip.from_numpy(past[0])], [hip.from_numpy(past[1])]),
        HostLoop(numpy_backend, plain, [past[0].copy()], [past[1].copy()]),
    ]
    taken = []
    for loop in loops:
        ids = []
        for row, sampling in enumerate(SAMPLINGS[:-1]):
            loop.backend.copy(loop.logits(row), first[row : row + 1])
            loop.begin(row, 3 + 2 * row, sampling)
        for turn in range(14):
            if turn == 2:
                loop.backend.copy(loop.logits(B - 1), first[-1:])
                loop.begin(B - 1, 1, SAMPLINGS[-1])
            if turn == 4:
                loop.end(1)
            loop.launch()
            ids.append(loop.take())
        taken.append(np.array(ids))
    np.testing.assert_array_equal(*taken)
    assert (taken[0] >= 0).sum() > 30


def test_what_is_launched_ahead_is_taken_in_order(hip, rng):
    decoder = random_decoder(rng, V=50, S=16, E=32, H=2, F=32, L=1)
    own, _ = moved(decoder, hip, "float32")
    texts = []
    for ahead in (1, 8):
        caches = [[hip.zeros((1, 2, 16, 16))] for _ in range(2)]
        loop = hip.decode_loop(own, *caches)
        hip.fill(loop.logits(0), 0.0)
        loop.begin(0, 0, RowSampling(seed=1, remaining=12))
        ids = []
        for _ in range(16 // ahead):
            for _ in range(ahead):
                loop.launch()
            ids += [int(loop.take()[0]) for _ in range(ahead)]
        texts.append(ids)
    assert texts[0] == texts[1]
    assert min(texts[0][:12]) >= 0
    assert texts[0][12:] == [-1] * 4
    with pytest.raises(RuntimeError, match="wait to be taken"):
        for _ in range(9):
            loop.launch()


def test_wrong_shapes_are_refused(rng):
    any_backend = load_or_skip("cpu")
    decoder = random_decoder(rng, V=50, S=16, E=32, H=2, F=32, L=1)
    good = np.zeros((3, 2, 16, 16), np.float32)
    ids = np.zeros(3, np.int32)
    with pytest.raises(ValueError, match="keys has 2 arrays, expected 1"):
        any_backend.decode_step(decoder, [good, good], [good], ids, ids)
    with pytest.raises(ValueError, match="values has shape"):
        any_backend.decode_step(decoder, [good], [good[:2]], ids, ids)
    with pytest.raises(TypeError, match="positions has dtype int64"):
        any_backend.decode_step(decoder, [good], [good], ids, ids.astype(np.int64))
