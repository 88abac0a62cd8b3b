"""csrc/device.h on whatever GPU there is: shuffles, reductions, conversions, functions, packs.

The odd thing: its kernels are compiled here, as a user's own would be, from a file beside this one
that no wheel holds.
"""

from pathlib import Path

import numpy as np
import pytest

from hipgpt_kernels.hip import build, code, driver
from hipgpt_kernels.hip.dtypes import from_bfloat16, to_bfloat16
from hipgpt_kernels.hip.kernel import LONG, POINTER, Kernel

PROBE = Path(__file__).with_name("device_probe.hip")
THREADS = 128

KERNELS = {
    "reductions": (POINTER, POINTER),
    "shuffles": (POINTER, POINTER),
    "functions": (POINTER, POINTER, LONG),
    "conversions": (POINTER, POINTER, LONG),
    "widening": (POINTER,),
    "packs": (POINTER, POINTER),
}


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """Compiles the probe for an architecture."""
    folder = tmp_path_factory.mktemp("probe")

    def compiled(architecture):
        path = folder / architecture
        if not path.exists():
            try:
                compiler = build.compiler_for(architecture)
            except build.CompilerError as error:
                pytest.skip(str(error))
            command = build.compile_command(compiler, architecture, "device_probe", path)
            command[-1] = str(PROBE)
            build.run_compiler(command, path)
        return path.read_bytes()

    return compiled


@pytest.mark.parametrize("architecture", build.ARCHITECTURES)
def test_the_header_compiles_for(image, architecture):
    assert image(architecture)[:4] == b"\x7fELF"


@pytest.fixture
def launch(hip, image):
    """launch(name, *values, shared=0) of a probe."""
    module = driver.Module(hip.device, image(code.candidates(hip.device.architecture)[0]))

    class WithProbe:
        stream = hip.stream

        @staticmethod
        def function(stem, name):
            return module.function(name)

    def run(name, *values, shared=0):
        kernel = Kernel("device_probe", "probe", *KERNELS[name])
        kernel.launch(WithProbe, name, 1, THREADS, *values, shared=shared)

    return run


def groups(x, width, function):
    return np.repeat(function(x.reshape(-1, width), axis=1), width)


def test_reductions(hip, launch, rng):
    """Whole numbers, so that every order of a sum is exact."""
    x = rng.integers(-1000, 1000, THREADS).astype(np.float32)
    out = hip.empty((9, THREADS))
    launch("reductions", hip.from_numpy(x), out)
    rows = hip.to_numpy(out)
    expected = [
        groups(x, 16, np.sum),
        groups(x, 32, np.max),
        groups(x, 4, np.min),
        *(np.full(THREADS, one) for one in (x.sum(), x.max(), x.min(), x.sum(), THREADS - 1)),
        np.arange(THREADS) < hip.device.wave,
    ]
    np.testing.assert_array_equal(rows, np.array(expected, np.float32))


def test_shuffles(hip, launch, rng):
    wave = hip.device.wave
    x = rng.standard_normal(THREADS, dtype=np.float32)
    out = hip.empty((4, THREADS))
    launch("shuffles", hip.from_numpy(x), out)
    rows = hip.to_numpy(out)
    lanes = np.arange(THREADS)
    np.testing.assert_array_equal(rows[0], np.roll(x.reshape(-1, wave), -5, axis=1).ravel())
    np.testing.assert_array_equal(rows[1], x[lanes ^ 3])
    np.testing.assert_array_equal(rows[2], wave)
    np.testing.assert_array_equal(rows[3], lanes % wave + 1000 * (lanes // wave))


FUNCTIONS = [
    # name, in float64, ulps allowed
    ("expf", np.exp, 2),
    ("logf", lambda v: np.log(np.abs(v)), 3),
    ("sqrtf", lambda v: np.sqrt(np.abs(v)), 1),
    ("tanhf", np.tanh, 4),
    ("fast_exp2", np.exp2, 4),
    ("fast_log2", lambda v: np.log2(np.abs(v)), 4),
    ("fast_rsqrt", lambda v: 1 / np.sqrt(np.abs(v)), 3),
    ("fast_rcp", lambda v: 1 / v, 2),
    ("fmaf", lambda v: v * v + 1, 1),
    ("fmaxf", lambda v: np.maximum(v, 0.25), 0),
    ("fminf", lambda v: np.minimum(v, 0.25), 0),
]


def test_functions(hip, launch, rng):
    """Within a few ulps of float64; of logarithms near 0 the error is absolute."""
    x = np.concatenate(
        [
            rng.uniform(-30, 30, 400),
            rng.uniform(-1, 1, 300),
            rng.uniform(-1e-3, 1e-3, 100),
            [0.19999, 0.2, 0.20001, -0.2, 1.0, -1.0, 80.0, -80.0, 0.5, 2.0],
        ]
    ).astype(np.float32)
    out = hip.empty((len(FUNCTIONS), len(x)))
    launch("functions", hip.from_numpy(x), out, len(x))
    failures = []
    for row, (name, function, ulps) in zip(hip.to_numpy(out), FUNCTIONS, strict=True):
        truth = function(x.astype(np.float64))
        unit = np.spacing(np.abs(truth).astype(np.float32)).astype(np.float64)
        if "log" in name:
            unit = np.maximum(unit, 2.0**-23)
        error = np.abs(row - truth) / unit
        worst = error.argmax()
        if error[worst] > ulps + 0.5:
            failures.append(f"{name}({x[worst]}) is {error[worst]:.2f} ulps off")
    assert not failures, "; ".join(failures)


def test_tanh_of_the_infinite(hip, launch):
    x = np.float32([np.inf, -np.inf, np.nan, 0.0])
    out = hip.empty((len(FUNCTIONS), 4))
    launch("functions", hip.from_numpy(x), out, 4)
    np.testing.assert_array_equal(hip.to_numpy(out)[3], np.float32([1, -1, np.nan, 0]))


def special_values(rng):
    """Normal numbers, ties, subnormals of float16, what overflows, infinities, NaNs."""
    bits = rng.integers(0, 1 << 32, 2000, dtype=np.uint64).astype(np.uint32)
    ties = (rng.integers(0, 1 << 15, 500).astype(np.uint32) << 16) | 0x8000
    small = rng.uniform(-1e-4, 1e-4, 500).astype(np.float32).view(np.uint32)
    edges = np.float32([0, -0.0, np.inf, -np.inf, np.nan, 65504, 65519, 65520, 3.4e38, -3.4e38])
    loud = np.array([0x7F800001, 0xFFFFFFFF, 0x7FFFFFFF, 0xFF80FFFF], np.uint32)
    return np.concatenate([bits, ties, small, edges.view(np.uint32), loud]).view(np.float32)


def test_narrowing_rounds_to_nearest_even(hip, launch, rng):
    x = special_values(rng)
    out = hip.empty((4, len(x)), np.uint16)
    launch("conversions", hip.from_numpy(x), out, len(x))
    rows = hip.to_numpy(out)
    nan = np.isnan(x)
    with np.errstate(over="ignore", invalid="ignore"):
        half = x.astype(np.float16)
    # Subnormals of float32 may count as 0: their bfloat16 is compared as a number of that size.
    tiny = np.abs(x) < np.finfo(np.float32).tiny
    for row, packed in ((0, 2), (1, 3)):
        np.testing.assert_array_equal(rows[row], rows[packed])
    ours = from_bfloat16(rows[0])
    assert np.isnan(ours[nan]).all()
    np.testing.assert_array_equal(rows[0][~nan & ~tiny], to_bfloat16(x)[~nan & ~tiny])
    assert (np.abs(ours[tiny]) <= np.finfo(np.float32).tiny).all()
    ours = rows[1].view(np.float16)
    assert np.isnan(ours[nan]).all()
    np.testing.assert_array_equal(rows[1][~nan], half.view(np.uint16)[~nan])


def test_widening_is_exact(hip, launch):
    out = hip.empty((2, 65536))
    launch("widening", out)
    rows = hip.to_numpy(out)
    bits = np.arange(65536, dtype=np.uint16)
    np.testing.assert_array_equal(rows[0], from_bfloat16(bits))
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(rows[1], bits.view(np.float16).astype(np.float32))


def test_packs_and_barriers(hip, launch, rng):
    x = rng.standard_normal(512, dtype=np.float32)
    out = hip.empty((3, 512))
    launch("packs", hip.from_numpy(x), out, shared=2048)
    rows = hip.to_numpy(out)
    for row, width in zip(rows, (1, 2, 4), strict=True):
        used = THREADS * width
        np.testing.assert_array_equal(row[:used], x[:used][::-1])
