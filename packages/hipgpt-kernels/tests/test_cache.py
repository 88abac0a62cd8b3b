"""The cache of compiled code: whole or not there, and nobody else's files are touched."""

import pytest

from hipgpt_kernels.hip import cache

NAME = "linear-gfx942-" + "0" * 32


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HIPGPT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_is_kept_is_listed_with_its_state(folder):
    assert cache.entries() == []
    cache.write(NAME, b"code")
    cache.write(NAME.replace("linear", "basic"), b"other")
    damaged = folder / NAME
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert {entry.path.name[:5]: entry.sound for entry in cache.entries()} == {
        "linea": False,
        "basic": True,
    }


def test_a_damaged_file_is_taken_away_when_it_is_read(folder):
    cache.write(NAME, b"code")
    (folder / NAME).write_bytes(b"short")
    assert cache.read(NAME) is None
    assert cache.entries() == []


def test_clearing_leaves_what_is_not_ours(folder):
    cache.write(NAME, b"code")
    bridge = folder / ("bridge-" + "a" * 32)
    bridge.mkdir()
    (bridge / "libamdhip64.so").write_bytes(b"library")
    (folder / "thesis.tex").write_text("mine")
    assert cache.clear() == 2
    assert [path.name for path in folder.iterdir()] == ["thesis.tex"]


def test_clearing_where_nothing_is(folder):
    assert cache.clear() == 0
    assert not folder.exists()


def test_writable(folder):
    assert cache.writable()
    folder.parent.joinpath("cache").write_text("a file in the way")
    assert not cache.writable()
