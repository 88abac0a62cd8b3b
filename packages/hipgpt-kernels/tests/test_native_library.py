"""Which compiled library is loaded, and which is refused."""

import shutil

import pytest

from hipgpt_kernels.native import build, library


@pytest.fixture
def built():
    if not build.library_path(4).exists():
        pytest.skip("the native CPU library is not built")


@pytest.mark.usefixtures("built")
def test_a_library_of_other_sources_is_refused(tmp_path, monkeypatch):
    """Its functions may take other arguments than Python gives them."""
    changed = tmp_path / "csrc"
    shutil.copytree(build.SOURCES, changed)
    (changed / "gemm.h").write_text((changed / "gemm.h").read_text() + "\n// changed\n")
    library.open_library(4)
    monkeypatch.setattr(library, "SOURCES", changed)
    monkeypatch.setattr(build, "SOURCES", changed)
    with pytest.raises(library.LibraryError, match=r"older than its sources; run .*native\.build"):
        library.open_library(4)


@pytest.mark.usefixtures("built")
def test_without_sources_the_library_is_believed(tmp_path, monkeypatch):
    monkeypatch.setattr(library, "SOURCES", tmp_path / "none")
    library.open_library(4)


def test_without_a_library_it_says_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "CODE", tmp_path)
    with pytest.raises(library.LibraryError, match="not built; run "):
        library.open_library(4)


@pytest.mark.parametrize("width", ["32", "", "wide"])
def test_a_width_that_is_none_is_refused(width, monkeypatch):
    monkeypatch.setenv("HIPGPT_CPU_WIDTH", width)
    with pytest.raises(ValueError, match=r"HIPGPT_CPU_WIDTH is .*, expected 4, 8 or 16"):
        library.allowed_width()
