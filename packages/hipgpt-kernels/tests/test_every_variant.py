"""Small shapes for the kernels that an op takes only at certain sizes, in every precision.

The other tests take their shapes from models; these take them from the places where an op chooses
another kernel, so that each kernel runs somewhere, in the emulator too (scripts/emulate.py counts).
The odd thing: some choices ask how many compute units there are; the tests say how many.
"""

import contextlib
import dataclasses

import numpy as np
import pytest

from hipgpt_kernels import reference
from hipgpt_kernels.decode_loop import HostLoop, RowSampling
from hipgpt_kernels.doctor.trial import Trial
from hipgpt_kernels.hip.ops import linear, tiles

from .conftest import load_or_skip
from .test_decode import compare, moved, random_decoder

DTYPES = {"float32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""Precisions, and what test_decode.py calls them."""
LOW = ["bf16", "fp16"]

pytestmark = pytest.mark.gpu


@contextlib.contextmanager
def trial(hip, precision):
    """Arrays and formulas of the doctor; a result that is wrong fails the test."""
    one = Trial(hip, precision, seed=1)
    yield one
    hip.synchronize()
    assert not one.worst.wrong, one.worst.wrong


@pytest.fixture
def with_units(hip, monkeypatch):
    """with_units(n): the GPU has n compute units, as far as the ops know."""

    def change(units):
        monkeypatch.setattr(hip, "device", dataclasses.replace(hip.device, compute_units=units))

    return change


# --- conversions ------------------------------------------------------------------------------


@pytest.mark.parametrize("of", DTYPES)
@pytest.mark.parametrize("to", DTYPES)
def test_every_conversion(hip, of, to):
    with trial(hip, to) as t:
        x = Trial(hip, of, seed=2).normal(5, 33)
        t.equal("x", x.device, x.host)
        expected = hip.convert(hip.from_numpy(x.host), t.dtype) if to != "float32" else x.device
        t.equal("out", hip.convert(x.device, t.dtype), t.on_host(expected))


# --- products ---------------------------------------------------------------------------------


FEW_ROWS = [(1, 70), (1, 2050), (1, 16386), (2, 70), (2, 16386), (3, 70), (7, 70)]
"""M and N: by rows, and by how many outputs there are to share an x."""


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize(("M", "N"), FEW_ROWS)
def test_few_rows(hip, precision, M, N):
    with trial(hip, precision) as t:
        x, weight, bias = t.normal(M, 24), t.normal(N, 24, scale=0.2), t.normal(N)
        out = hip.linear_forward(x.device, weight.device, bias.device)
        t.check("out", out, reference.linear_forward, x, weight, bias)


@pytest.fixture
def with_tiles(hip, monkeypatch):
    """with_tiles(size, pieces): all products take the tile of that size, a weight's in pieces."""

    def tile_of(size, itemsize):
        line = tiles.line_of(hip.device.architecture)
        return tiles.table()[line, "half" if itemsize == 2 else "float", size]

    def change(size, pieces):
        def choose(architecture, units, itemsize, *_):
            return size, tile_of(size, itemsize)

        def choose_split(architecture, units, itemsize, *_):
            return size, tile_of(size, itemsize), pieces

        monkeypatch.setattr(linear, "choose", choose)
        monkeypatch.setattr(linear, "choose_split", choose_split)

    return change


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("size", ["large", "small"])
@pytest.mark.parametrize("pieces", [1, 3])
def test_large_and_small_tiles(hip, with_tiles, precision, size, pieces):
    """All three products; the weight's in one piece and in several."""
    with_tiles(size, pieces)
    M, N, depth = 37, 72, 300
    with trial(hip, precision) as t:
        x, weight = t.normal(M, depth), t.normal(N, depth, scale=depth**-0.5)
        out = hip.linear_forward(x.device, weight.device)
        t.check("out", out, reference.linear_forward, x, weight)
        dout, weight = t.normal(M, depth), t.normal(depth, N, scale=depth**-0.5)
        dx = hip.linear_backward_input(dout.device, weight.device)
        t.check("dx", dx, reference.linear_backward_input, dout, weight)
        dout, x = t.normal(depth, N), t.normal(depth, M)
        dweight, dbias = hip.zeros((N, M)), hip.zeros((N,))
        hip.linear_backward_weight(dout.device, x.device, dweight, dbias)
        for number, (name, one) in enumerate((("dweight", dweight), ("dbias", dbias))):
            t.check(
                name,
                one,
                lambda d, x, n=number: reference.linear_backward_weight(d, x)[n],
                *(dout, x),
            )


# --- rows -------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("E", [37, 256, 504, 760, 1024, 1536, 1792, 2000, 2044, 2049])
def test_layernorm_of_every_width(hip, precision, E):
    """What a lane or a thread keeps in registers: 8 to 32 values forward, 4 to 28 backward."""
    M = 3
    with trial(hip, precision) as t:
        x, weight, bias, dout = t.normal(M, E), t.normal(E), t.normal(E), t.normal(M, E)
        mean, rstd = t.empty32(M), t.empty32(M)
        out = hip.layernorm_forward(x.device, weight.device, bias.device, mean=mean, rstd=rstd)
        for number, (name, one) in enumerate((("out", out), ("mean", mean), ("rstd", rstd))):
            t.check(
                name,
                one,
                lambda x, w, b, n=number: reference.layernorm_forward(x, w, b)[n],
                *(x, weight, bias),
                magnitude=1.0,
            )
        dx, dweight, dbias = t.empty(M, E), hip.zeros((E,)), hip.zeros((E,))
        hip.fill(dx, 0.0)
        arrays = dout.device, x.device, weight.device, mean, rstd, dx, dweight, dbias
        hip.layernorm_backward(*arrays)
        for number, (name, one) in enumerate((("dx", dx), ("dweight", dweight), ("dbias", dbias))):
            t.check(
                name,
                one,
                lambda d, x, w, n=number: reference.layernorm_backward(d, x, w)[n],
                *(dout, x, weight),
                magnitude=1.0,
            )


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("V", [211, 8300])
def test_cross_entropy_of_short_and_long_rows(hip, precision, V):
    """A row that a small block holds, and one that is read twice."""
    with trial(hip, precision) as t:
        logits, targets = t.normal(3, V, scale=3.0), t.ids(V, 3)
        losses = hip.cross_entropy_forward(logits.device, targets.device)
        t.check("losses", losses, reference.cross_entropy_forward, logits, targets)
        gradient = t.copy(logits)
        losses = hip.cross_entropy_forward_backward(gradient, targets.device, 0.5)
        t.check("losses", losses, reference.cross_entropy_forward, logits, targets)
        t.check(
            "logits",
            gradient,
            lambda z, i: reference.cross_entropy_backward(z, i, 0.5),
            *(logits, targets),
        )


# --- attention --------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("D", [16, 32, 64, 128, 256])
def test_attention_of_every_head_size(hip, precision, D):
    T = 21
    with trial(hip, precision) as t:
        dout, q, k, v = (t.normal(1, T, 2, D) for _ in range(4))
        out, lse = t.empty(1, T, 2, D), t.empty32(1, 2, T)
        hip.attention_forward(q.device, k.device, v.device, out=out, lse=lse)
        t.check("out", out, reference.attention_forward, q, k, v)
        t.check("lse", lse, reference.attention_lse, q, k)
        gradients = [t.empty(1, T, 2, D) for _ in range(3)]
        hip.attention_backward(dout.device, q.device, k.device, v.device, out, lse, *gradients)
        # dz = p · (dp − Σ p · dp) is a difference of terms of this size, and `out` was rounded.
        terms = float(np.abs(np.einsum("bthd,bshd->bhts", dout.host, v.host)).max())
        terms *= max(np.abs(q.host).max(), np.abs(k.host).max()) / D**0.5
        for number, (name, one) in enumerate(zip(("dq", "dk", "dv"), gradients, strict=True)):
            t.check(
                name,
                one,
                lambda *a, n=number: reference.attention_backward(*a)[n],
                *(dout, q, k, v),
                magnitude=0.0 if name == "dv" else terms,
            )


@pytest.mark.parametrize("precision", DTYPES)
def test_a_long_cache_in_chunks(hip, with_units, precision):
    """attention_decode.hip: one query whose keys two blocks share."""
    with_units(64)
    position = 300
    with trial(hip, precision) as t:
        q, k, v = (t.normal(1, 1, 2, 32) for _ in range(3))
        caches = t.normal(1, 2, 320, 32), t.normal(1, 2, 320, 32)
        copies = [t.copy(one) for one in caches]
        out = hip.attention_cached(q.device, k.device, v.device, *copies, position)
        t.check(
            "out",
            out,
            lambda *a: reference.attention_cached(*a, position)[0],
            *(q, k, v, *caches),
        )


# --- decoding ---------------------------------------------------------------------------------

FEW, MANY = 2, 132
"""Compute units."""
PRODUCTS = {
    "narrow": {"E": 32, "F": 32},
    "wide": {"E": 520, "H": 5, "F": 64},
    "deep": {"E": 64, "F": 1600},
    "without a norm": {"E": 64, "F": 64, "final_norm": False},
    "long caches": {"E": 32, "F": 32, "S": 300},
}
"""For float32; 16-bit rows are twice as long where more than a wave holds is wanted."""
HEADS = [(64, 2, MANY), (128, 2, MANY), (256, 2, MANY), (64, 6, FEW), (128, 5, FEW), (256, 5, FEW)]
"""D, H and compute units: few pairs of a row and a head for them, then many."""


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("B", [1, 2, 4])
def test_decoding_few_rows(hip, with_units, rng, precision, name, B):
    """decode.hip: by rows, and by what of the matrix a wave holds."""
    with_units(MANY)
    sizes = {"H": 2, "V": 40, "L": 1} | PRODUCTS[name]
    if precision != "float32":
        sizes |= {size: 2 * sizes[size] for size in "EF" if sizes[size] > 500}
    compare(hip, rng, DTYPES[precision], B, **sizes)


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize(("D", "H", "units"), HEADS)
def test_decoding_heads_of_every_size(hip, with_units, rng, precision, D, H, units):
    """decode_attention.hip."""
    with_units(units)
    compare(hip, rng, DTYPES[precision], 1, E=D * H, H=H, F=64, V=40, L=1)


@pytest.mark.parametrize("precision", LOW)
@pytest.mark.parametrize("B", [6, 20, 36])
def test_decoding_more_rows(hip, with_units, rng, precision, B):
    """decode_skinny.hip: 1, 2 or 4 tiles of rows; 1 strip, 2 for SwiGLU, 4 for a long head."""
    with_units(FEW)
    sizes = {"E": 64, "H": 2, "F": 64, "V": 530, "L": 1}
    compare(hip, rng, DTYPES[precision], B, activation="swiglu", **sizes)


@pytest.mark.parametrize("precision", DTYPES)
def test_more_rows_with_long_caches(hip, with_units, rng, precision):
    """Here the chunks of attention are put together by a kernel of their own."""
    with_units(MANY)
    first = [297, 127, 128, 0, 255, 3]
    compare(hip, rng, DTYPES[precision], 6, S=300, first=first, E=32, H=2, F=32, L=1)


@pytest.mark.parametrize("precision", DTYPES)
def test_rows_that_draw(hip, rng, precision):
    """sample_rows draws from given logits what the host draws from them."""
    V, B = 50, 3
    decoder = random_decoder(rng, V=V, S=16, E=32, H=2, F=32, L=1)
    own, plain = moved(decoder, hip, DTYPES[precision])
    kind = hip.compute_dtype(precision)
    first = hip.convert(hip.from_numpy(rng.standard_normal((B, V)).astype(np.float32)), kind)
    host_first = hip.to_numpy(first).astype(np.float32)
    host = load_or_skip("numpy")
    caches = [np.zeros((B, 2, 16, 16), np.float32) for _ in range(2)]
    loops = [
        hip.decode_loop(own, *([hip.zeros((B, 2, 16, 16), kind)] for _ in range(2))),
        HostLoop(host, plain, *([one] for one in caches)),
    ]
    samplings = [
        RowSampling(temperature=0, remaining=2),
        RowSampling(seed=3, top_k=20, top_p=0.9, remaining=2),
        RowSampling(min_p=0.02, repetition_penalty=1.4, seen=(1, 2, 3), seed=6, remaining=2),
    ]
    drawn = []
    for loop, logits in zip(loops, (first, host_first), strict=True):
        for row, sampling in enumerate(samplings):
            loop.backend.copy(loop.logits(row), logits[row : row + 1])
            loop.begin(row, 3 + row, sampling)
        loop.launch()
        drawn.append(list(loop.take()))
    assert drawn[0] == drawn[1]


# --- the optimizer ----------------------------------------------------------------------------


@pytest.mark.parametrize("precision", LOW)
def test_adamw_rounds_the_low_copy(hip, precision):
    with trial(hip, precision) as t:
        weights, gradients, m = (t.float32(1003) for _ in range(3))
        v = hip.from_numpy(np.abs(t.float32(1003).host))
        squares = hip.to_numpy(v)
        options = {"learning_rate": 0.01, "beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8}
        options |= {"weight_decay": 0.1, "step": 3}
        updated, low = t.copy(weights), t.empty(1003)
        hip.adamw_step(updated, gradients.device, m.device, v, low=low, **options)
        inputs = weights, gradients, m, squares
        t.check("weights", updated, lambda *a: reference.adamw_step(*a, **options)[0], *inputs)
        t.equal("low", low, t.on_host(hip.convert(updated, t.dtype)))
