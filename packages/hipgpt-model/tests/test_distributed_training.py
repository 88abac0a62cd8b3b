"""The same run on one rank and on several: losses to rounding, bits from run to run, any resume."""

import os
import subprocess
import sys

import numpy as np
import pytest

from .ranks_launch import SCRIPTS, launch


def alone(out, *arguments):
    """The run in one process, without MPI."""
    subprocess.run(
        [sys.executable, str(SCRIPTS / "training.py"), str(out), *map(str, arguments)],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=60,
    )
    return np.load(out)


def on_ranks(ranks, out, *arguments):
    launch(ranks, "training.py", out, *arguments)
    return np.load(out)


def assert_same_run(one, other):
    """Equal to rounding: float32 sums in another order, over a few steps."""
    np.testing.assert_allclose(other["losses"], one["losses"], rtol=2e-6)
    np.testing.assert_allclose(other["norms"], one["norms"], rtol=2e-5)
    np.testing.assert_allclose(other["evaluation"], one["evaluation"], rtol=2e-6)
    for name in one.files[3:]:
        np.testing.assert_allclose(other[name], one[name], rtol=0, atol=2e-5, err_msg=name)


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    return alone(tmp_path_factory.mktemp("single") / "run.npz")


@pytest.mark.parametrize(("ranks", "zero"), [(2, 0), (2, 1), (4, 1)])
def test_several_ranks_train_as_one(ranks, zero, single, tmp_path):
    assert_same_run(single, on_ranks(ranks, tmp_path / "run.npz", "--zero", zero))


def test_accumulation_and_average_work_on_ranks(tmp_path):
    options = ("--accum", 3, "--ema", 0.9)
    one = alone(tmp_path / "one.npz", *options)
    assert_same_run(one, on_ranks(2, tmp_path / "two.npz", *options, "--bucket-bytes", 30_000))


def test_a_run_on_ranks_gives_the_same_bits_again(tmp_path):
    one, other = (on_ranks(2, tmp_path / f"{number}.npz") for number in range(2))
    for name in one.files:
        np.testing.assert_array_equal(one[name], other[name])


def test_a_run_goes_on_with_another_number_of_ranks(single, tmp_path):
    options = ("--zero", 1, "--save", tmp_path / "saved", "--at", 5)
    first = on_ranks(4, tmp_path / "first.npz", *options)
    np.testing.assert_allclose(first["losses"], single["losses"][:5], rtol=2e-6)
    for ranks in (1, 2):
        out = tmp_path / f"on-{ranks}.npz"
        arguments = ("--from", tmp_path / "saved")
        rest = alone(out, *arguments) if ranks == 1 else on_ranks(ranks, out, *arguments)
        np.testing.assert_allclose(rest["losses"], single["losses"][5:], rtol=2e-6)
        for name in single.files[3:]:
            np.testing.assert_allclose(rest[name], single[name], rtol=0, atol=2e-5, err_msg=name)


def test_a_batch_that_cannot_be_shared_out_is_refused():
    from hipgpt_model.distributed.ranks import Ranks

    class Three:
        size, rank = 3, 0

    with pytest.raises(ValueError, match=r"8 rows cannot be shared out to 3 ranks; .* such as 9"):
        Ranks(Three()).rows(8)
