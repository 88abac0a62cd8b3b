"""The tile table is read as text; these hold the reading to what the kernels assume."""

import pytest

from hipgpt_kernels.hip.build import ARCHITECTURES
from hipgpt_kernels.hip.ops.tiles import choose, choose_split, line_of, table


def test_every_architecture_has_its_four_tiles():
    for architecture in ARCHITECTURES:
        for kind in ("half", "float"):
            for size in ("large", "small"):
                assert (line_of(architecture), kind, size) in table()


def test_waves_divide_blocks_and_threads_stay_within_a_block():
    for (gpu, _, _), tile in table().items():
        wave = 64 if gpu in ("gfx90a", "gfx942", "gfx950") else 32
        assert tile.BM % tile.WM == 0
        assert tile.BN % tile.WN == 0
        assert tile.threads(wave) <= 1024


def test_lds_fits():
    limits = {"gfx950": 160, "sm_80": 163, "sm_90": 227}
    for (gpu, kind, _), tile in table().items():
        wave = 64 if gpu in ("gfx90a", "gfx942", "gfx950") else 32
        assert tile.shared(2 if kind == "half" else 4, wave) <= limits.get(gpu, 64) * 1024


@pytest.mark.parametrize(
    ("architecture", "line"),
    [
        ("gfx940", "gfx942"),
        ("gfx1101", "gfx1100"),
        ("gfx12-generic", "gfx1201"),
        ("sm_89", "sm_80"),
    ],
)
def test_relatives_take_the_line_that_they_are_compiled_with(architecture, line):
    assert line_of(architecture) == line


def test_few_tiles_are_small_ones():
    assert choose("sm_90", 132, 2, 64, 64)[0] == "small"
    assert choose("sm_90", 132, 2, 32768, 768)[0] == "large"


@pytest.mark.parametrize("depth", [1, 63, 64, 65, 1000, 32768])
@pytest.mark.parametrize("size", [(1, 1), (768, 768), (3072, 768), (50257, 768)])
def test_every_piece_of_a_split_has_work(size, depth):
    _, tile, splits = choose_split("sm_90", 132, 2, *size, depth)
    rows = -(-depth // (splits * tile.BK)) * tile.BK
    assert (splits - 1) * rows < depth <= splits * rows
