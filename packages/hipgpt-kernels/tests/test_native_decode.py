"""The compiled decode step: the ordinary ops' result, and bits that know no neighbour."""

from dataclasses import replace

import numpy as np
import pytest

from hipgpt_kernels import decoder as plain
from hipgpt_kernels.decoder import Decoder, DecoderBlock
from hipgpt_kernels.native.backend import NativeBackend
from hipgpt_kernels.native.decode import MATRICES
from hipgpt_kernels.native.library import LibraryError, load_library

try:
    load_library()
except LibraryError as error:
    pytest.skip(str(error), allow_module_level=True)

B = 5
SHAPES = [  # V, S, E, H, F, L, activation, tied, final norm, head bias
    (97, 16, 24, 3, 40, 3, "gelu", False, True, True),
    (50, 8, 30, 5, 64, 2, "swiglu", True, True, False),
    (300, 12, 128, 4, 256, 2, "relu", False, False, True),
    (33, 9, 72, 1, 17, 1, "gelu_erf", True, True, False),
]


def made(shape, seed=0):
    """A decoder of random weights, and caches full of random numbers."""
    V, S, E, H, F, L, activation, tied, norm, bias = shape
    rng = np.random.default_rng(seed)

    def random(*size, around=0.0):
        return (rng.normal(size=size) * 0.2 + around).astype(np.float32)

    up = 2 * F if activation == "swiglu" else F
    blocks = tuple(
        DecoderBlock(
            random(E, around=1.0), random(E), random(3 * E, E), random(3 * E),
            random(E, E), random(E), random(E, around=1.0), random(E),
            random(up, E), random(up), random(E, F), random(E),
        )
        for _ in range(L)
    )  # fmt: skip
    table = random(V, E)
    decoder = Decoder(
        table,
        random(S, E),
        blocks,
        random(E, around=1.0) if norm else None,
        random(E) if norm else None,
        table if tied else random(V, E),
        random(V) if bias else None,
        num_heads=H,
        activation=activation,
        epsilon=1e-5,
    )
    keys, values = ([random(B, H, S, E // H) for _ in range(L)] for _ in range(2))
    tokens = rng.integers(0, V, B).astype(np.int32)
    positions = np.array([S - 1, 0, 3, 5, 1], np.int32)
    return decoder, keys, values, tokens, positions


def copies(arrays):
    return [array.copy() for array in arrays]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("threads", [1, 3])
def test_equals_the_ordinary_ops(shape, threads):
    backend = NativeBackend(threads)
    decoder, keys, values, tokens, positions = made(shape)
    expected_keys, expected_values = copies(keys), copies(values)
    expected = plain.decode_step(
        backend, decoder, expected_keys, expected_values, tokens, positions
    )
    logits = backend.decode_step(decoder, keys, values, tokens, positions)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(logits, expected, rtol=0, atol=4e-6 * scale)
    for ours, theirs in zip(keys + values, expected_keys + expected_values, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=4e-6 * np.abs(theirs).max())


def rounded(weight, kind):
    """A matrix as the kind holds it: bf16, or int8 in groups of 32 of a row with one scale."""
    if kind == "bf16":
        bits = weight.view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16).view(np.float32)
    rows, K = weight.shape
    padded = np.pad(weight, ((0, 0), (0, -K % 32))).reshape(rows, -1, 32)
    scale = np.abs(padded).max(axis=2, keepdims=True) / np.float32(127)
    whole = np.rint(padded / np.where(scale > 0, scale, 1))
    assert np.abs(whole).max() <= 127
    return (whole * scale).astype(np.float32).reshape(rows, -1)[:, :K].copy()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_rounded_weights_are_what_they_say(shape, kind):
    backend = NativeBackend(2)
    decoder, keys, values, tokens, positions = made(shape)
    matrices = [name for name in DecoderBlock.__dataclass_fields__ if name in MATRICES]
    blocks = tuple(
        replace(block, **{name: rounded(getattr(block, name), kind) for name in matrices})
        for block in decoder.blocks
    )
    like = replace(decoder, blocks=blocks, head_weight=rounded(decoder.head_weight, kind))
    expected = plain.decode_step(backend, like, copies(keys), copies(values), tokens, positions)
    backend.decode_weights = kind
    logits = backend.decode_step(decoder, keys, values, tokens, positions)
    # A value between two steps may go to either, so what is allowed is a few steps of one weight.
    allowed = 4e-6 if kind == "bf16" else 2e-3
    np.testing.assert_allclose(logits, expected, rtol=0, atol=allowed * np.abs(expected).max())


def test_an_unknown_kind_of_weights_is_refused():
    with pytest.raises(ValueError, match="'int4', expected one of float32, bf16, int8"):
        NativeBackend(1).decode_weights = "int4"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["float32", "bf16", "int8"])
def test_a_row_gets_the_same_bits_alone_and_in_any_batch(shape, kind):
    decoder, keys, values, tokens, positions = made(shape)
    several, single = NativeBackend(2), NativeBackend(1)
    several.decode_weights = single.decode_weights = kind
    together = several.decode_step(decoder, copies(keys), copies(values), tokens, positions)
    for row in range(B):
        one = slice(row, row + 1)
        alone = single.decode_step(
            decoder,
            [key[one].copy() for key in keys],
            [value[one].copy() for value in values],
            tokens[one],
            positions[one],
        )
        np.testing.assert_array_equal(alone[0], together[row])


def test_a_row_that_takes_no_part_leaves_its_cache_alone():
    backend = NativeBackend(2)
    decoder, keys, values, tokens, positions = made(SHAPES[0])
    everyone = backend.decode_step(decoder, copies(keys), copies(values), tokens, positions)
    positions[[1, 3]] = -1
    tokens[1] = -7  # not looked at
    before = copies(keys)
    logits = backend.decode_step(decoder, keys, values, tokens, positions)
    for ours, old in zip(keys, before, strict=True):
        np.testing.assert_array_equal(ours[[1, 3]], old[[1, 3]])
    np.testing.assert_array_equal(logits[[0, 2, 4]], everyone[[0, 2, 4]])


@pytest.mark.parametrize(("name", "value"), [("tokens", 97), ("tokens", -1), ("positions", 16)])
def test_what_is_out_of_range_is_refused_by_name(name, value):
    decoder, keys, values, tokens, positions = made(SHAPES[0])
    {"tokens": tokens, "positions": positions}[name][2] = value
    with pytest.raises(ValueError, match=rf"decode_step: {name} are .* expected 0 …"):
        NativeBackend(1).decode_step(decoder, keys, values, tokens, positions)
