"""The products of linear_tma.hip: how work is shared out, and every tile on edges of every kind.

The odd thing: `segments` says once more, in Python, what linear_plan.h computes; the GPU tests hold
the two together, since a segment too many or too few spoils the sum.
"""

import numpy as np
import pytest

from hipgpt_kernels.hip.ops import linear_tma
from hipgpt_kernels.hip.ops.linear_tma import WEIGHT_SHAPES, choose, choose_pieces, cut

from . import reference
from .arrays import normal

SIZES = [(768, 2304), (768, 768), (3072, 768), (256, 256), (264, 136), (50304, 768), (5000, 256)]


def segments(plan):
    """(tile, first, last, slot) of every worker, in linear_plan.h's order."""
    workers = plan.blocks // plan.shape.pair
    tail, rest = plan.tail, plan.steps - plan.bands * plan.band
    for worker in range(workers):
        for tile in range(worker, plan.whole, workers):
            yield tile, 0, plan.steps, -1
        if tail and worker < plan.bands * tail:
            first = worker // tail * plan.band
            slot = worker if plan.slots else -1
            tile = plan.whole + worker % tail
            yield tile, first, min(first + plan.band, plan.steps), slot
        elif tail and plan.share:
            one = worker - plan.bands * tail
            at, end = one * plan.share, min((one + 1) * plan.share, tail * rest)
            while at < end:
                tile = at // rest
                stop = min(end, (tile + 1) * rest)
                first = plan.bands * plan.band + at - tile * rest
                yield plan.whole + tile, first, first + stop - at, plan.bands * tail + tile + one
                at = stop


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", WEIGHT_SHAPES)
@pytest.mark.parametrize("depth", [1024, 8192, 32760])
def test_every_step_of_every_tile_is_taken_once(size, shape, depth):
    plan = cut(shape, 132, *size, -(-depth // linear_tma.BK))
    taken = np.zeros((plan.rows * plan.columns, plan.steps), int)
    slots = []
    for tile, first, last, slot in segments(plan):
        assert first < last
        taken[tile, first:last] += 1
        if slot >= 0:
            slots.append(slot)
    assert (taken == 1).all()
    assert len(set(slots)) == len(slots)
    assert max(slots, default=-1) < max(plan.slots, 1)


def test_small_products_are_left_to_the_small_tile():
    assert choose(132, 64, 64, 64) is None
    assert choose_pieces(132, 128, 128, 64) is None


@pytest.fixture
def forced(request, monkeypatch, hip):
    """Have every product computed with the first tile of its list, or the second."""
    if hip.device.architecture != "sm_90":
        pytest.skip("these kernels are for Hopper")
    for name in ("SHAPES", "WEIGHT_SHAPES"):
        monkeypatch.setattr(linear_tma, name, (getattr(linear_tma, name)[request.param],))
    monkeypatch.setattr(linear_tma, "SMALL_STEP", 10**9)
    monkeypatch.setattr(linear_tma, "SHALLOWEST", 1)
    choose.cache_clear()
    choose_pieces.cache_clear()
    yield
    choose.cache_clear()
    choose_pieces.cache_clear()


def close(dtype, ours, truth, magnitude=0.0):
    """Within what rounding to 16 bits two or three times costs."""
    ulp = {"bfloat16": 2.0**-7, "float16": 2.0**-10}[dtype]
    error = np.abs(ours - truth)
    assert np.isfinite(ours).all()
    limit = 1.25 * ulp * np.maximum(np.abs(truth), magnitude)
    assert (error <= limit).all(), (error / limit).max()


@pytest.mark.gpu
@pytest.mark.parametrize("forced", [0, 1], indirect=True)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    ("M", "K", "N"), [(16, 8, 8), (520, 264, 648), (2600, 72, 264), (300, 1000, 5000)]
)
class TestOnEdges:
    """M, K, N of no whole tile, and more tiles than multiprocessors."""

    def arrays(self, hip, rng, dtype, *arrays):
        """On the device, and in float64 what they are there."""
        from hipgpt_kernels.hip.dtypes import as_dtype

        on = [hip.from_numpy(one, as_dtype(dtype)) for one in arrays]
        return on, [hip.to_numpy(one).astype(np.float64) for one in on]

    def test_forward(self, hip, rng, forced, dtype, M, K, N):
        on, wide = self.arrays(
            hip,
            rng,
            dtype,
            normal(rng, M, K),
            normal(rng, N, K) * K**-0.5,
            normal(rng, N),
            normal(rng, M, N),
        )
        x, weight, bias, residual = on
        a, w, b, r = wide
        before, out = hip.empty((M, N), x.dtype), hip.empty((M, N), x.dtype)
        hip.linear_forward(x, weight, bias, activation="gelu", preactivation=before, out=out)
        close(dtype, hip.to_numpy(before), reference.linear_forward(a, w, b), 1.0)
        close(dtype, hip.to_numpy(out), reference.linear_forward(a, w, b, "gelu"), 1.0)
        hip.linear_forward(x, weight, bias, residual=residual, out=residual)
        close(dtype, hip.to_numpy(residual), reference.linear_forward(a, w, b, None, r), 4.0)
        hip.linear_forward(x, weight, out=out)
        close(dtype, hip.to_numpy(out), a @ w.T, 1.0)

    def test_input(self, hip, rng, forced, dtype, M, K, N):
        on, wide = self.arrays(
            hip, rng, dtype, normal(rng, M, N), normal(rng, N, K) * N**-0.5, normal(rng, M, K)
        )
        dout, weight, before = on
        d, w, z = wide
        dx = hip.empty((M, K), dout.dtype)
        hip.linear_backward_input(dout, weight, out=dx)
        close(dtype, hip.to_numpy(dx), d @ w, 1.0)
        hip.linear_backward_input(dout, weight, activation="gelu", preactivation=before, out=before)
        truth = reference.linear_backward_input(d, w, "gelu", z)
        close(dtype, hip.to_numpy(before), truth, 2.0)

    def test_weight(self, hip, rng, forced, dtype, M, K, N):
        """float32, added to, and the same bits twice."""
        on, (d, a) = self.arrays(hip, rng, dtype, normal(rng, M, N), normal(rng, M, K))
        results = []
        for _ in range(2):
            dweight = hip.from_numpy(np.ones((N, K), np.float32))
            hip.linear_backward_weight(*on, dweight)
            results.append(hip.to_numpy(dweight))
        assert results[0].tobytes() == results[1].tobytes()
        assert np.abs(results[0] - 1 - d.T @ a).max() <= 2e-6 * M**0.5 * 20
