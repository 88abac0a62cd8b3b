"""Code objects: built ahead, cached or compiled, and what is said where none of it can be had.

The odd thing: no GPU is asked; the compiler is replaced by one that writes what it was asked for,
so that it can be counted.
"""

import types

import pytest

from hipgpt_kernels.hip import build, cache, code
from hipgpt_kernels.hip.runtime import UnavailableError

AHEAD = code.ELF_HEADER.pack(b"\x7fELF", 0, 0, 0, 0, 0, 70, 0, 0, 0, 0, 5, 2, 0) + bytes(16)
"""A file of 80 bytes whose header says that it ends there."""

DEVICE = types.SimpleNamespace(
    architecture="gfx942", target="gfx942:xnack-", name="some GPU", nvidia=False, index=0
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Sources, _code and cache of its own, and a compiler that counts."""
    sources = tmp_path / "csrc"
    sources.mkdir()
    for stem in ("one", "two"):
        (sources / f"{stem}.hip").write_text(f"// {stem}\n", "utf-8")
    monkeypatch.setattr(build, "SOURCES", sources)
    monkeypatch.setattr(build, "CODE", tmp_path / "_code")
    monkeypatch.setenv("HIPGPT_CACHE_DIR", str(tmp_path / "cache"))
    compiled = []

    def fake(architecture, stem, output):
        compiled.append((architecture, stem))
        output.write_bytes(f"code of {stem}".encode())

    monkeypatch.setattr(build, "compiler_for", lambda _: "clang++")
    monkeypatch.setattr(build, "compiler_version", lambda _: "22")
    monkeypatch.setattr(build, "compile_kernel", fake)
    return types.SimpleNamespace(compiled=compiled, sources=sources, patch=monkeypatch)


def image(stem="one"):
    """As a new process would get it."""
    return code.CodeObjects(DEVICE).image(stem)


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("gfx942", ["gfx942"]),
        ("gfx1101", ["gfx1101", "gfx11-generic"]),
        ("gfx1036", ["gfx1036", "gfx10-3-generic"]),
        ("gfx1200", ["gfx1200", "gfx12-generic"]),
        ("sm_90", ["sm_90"]),
        ("sm_82", ["sm_82", "sm_81", "sm_80"]),
        ("sm_121", ["sm_121", "sm_120"]),
    ],
)
def test_what_a_gpu_runs(architecture, expected):
    assert code.candidates(architecture) == expected


def test_compiled_once_then_cached(place):
    assert image() == b"code of one"
    assert image() == b"code of one"
    assert place.compiled == [("gfx942", "one")]


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_cache_is_made_anew(place, damage):
    image()
    (path,) = cache.cache_directory().iterdir()
    data = path.read_bytes()
    path.write_bytes({"cut": data[:-3], "changed": data[:-1] + b"!", "empty": b""}[damage])
    assert image() == b"code of one"
    assert len(place.compiled) == 2
    assert image() == b"code of one"
    assert len(place.compiled) == 2


def test_a_changed_source_is_compiled_anew(place):
    image()
    (place.sources / "one.hip").write_text("// changed\n", "utf-8")
    image()
    assert len(place.compiled) == 2


def test_another_compiler_compiles_anew(place):
    image()
    place.patch.setattr(build, "compiler_version", lambda _: "23")
    image()
    assert len(place.compiled) == 2


def test_a_cache_that_cannot_be_written_is_no_error(place, tmp_path):
    (tmp_path / "file").write_text("in the way")
    place.patch.setenv("HIPGPT_CACHE_DIR", str(tmp_path / "file" / "below"))
    assert image() == b"code of one"


def test_what_was_built_ahead_is_taken(place):
    path = build.code_path(build.CODE, "gfx942", "one")
    path.parent.mkdir(parents=True)
    path.write_bytes(AHEAD)
    build.write_manifest({"gfx942/one.co": build.source_hash("one")})
    assert image() == AHEAD
    assert place.compiled == []


@pytest.mark.parametrize("damaged", [AHEAD[:-1], AHEAD[:40], b"", b"MZ" + AHEAD[2:]])
def test_what_was_built_ahead_and_cut_short_is_not_taken(place, damaged):
    path = build.code_path(build.CODE, "gfx942", "one")
    path.parent.mkdir(parents=True)
    path.write_bytes(damaged)
    build.write_manifest({"gfx942/one.co": build.source_hash("one")})
    assert image() == b"code of one"


def test_what_was_built_from_other_sources_is_not(place):
    path = build.code_path(build.CODE, "gfx942", "one")
    path.parent.mkdir(parents=True)
    path.write_bytes(AHEAD)
    build.write_manifest({"gfx942/one.co": build.source_hash("one")})
    (place.sources / "one.hip").write_text("// changed\n", "utf-8")
    assert image() == b"code of one"


def test_prepare_compiles_what_is_missing(place):
    objects = code.CodeObjects(DEVICE)
    objects.image("one")
    assert objects.missing() == ["two"]
    done = []
    objects.prepare(lambda *count: done.append(count))
    assert done == [(1, 1)]
    assert objects.missing() == []
    assert sorted(place.compiled) == [("gfx942", "one"), ("gfx942", "two")]


def no_compiler(architecture):
    raise build.CompilerError(f"{architecture} needs clang")


def test_hiprtc_is_the_last_resort(place):
    asked = []

    def hiprtc(source, name, headers, options):
        asked.append((source, name, headers, options[0]))
        return b"by hiprtc"

    place.patch.setattr(build, "compiler_for", no_compiler)
    place.patch.setattr(code.driver, "compile_with_hiprtc", hiprtc)
    assert image() == b"by hiprtc"
    assert image() == b"by hiprtc"
    assert asked == [("// one\n", "one.hip", {}, "--offload-arch=gfx942:xnack-")]


def test_neither_code_nor_compiler_is_one_sentence(place):
    def none(*_):
        raise UnavailableError("no-compiler", "hiprtc cannot be used: not here")

    place.patch.setattr(build, "compiler_for", no_compiler)
    place.patch.setattr(code.driver, "compile_with_hiprtc", none)
    with pytest.raises(code.CodeError) as caught:
        image()
    assert str(caught.value) == (
        "this installation has no one kernels for gfx942 (some GPU) and cannot compile them: "
        "gfx942 needs clang; hiprtc cannot be used: not here"
    )


def test_an_nvidia_gpu_without_nvcc_is_one_sentence(place):
    device = types.SimpleNamespace(**vars(DEVICE) | {"architecture": "sm_90", "nvidia": True})
    place.patch.setattr(build, "compiler_for", no_compiler)
    with pytest.raises(code.CodeError, match=r"no one kernels for sm_90 .* cannot compile them"):
        code.CodeObjects(device).image("one")


def test_a_compile_error_is_the_compilers_own(place):
    def broken(*_):
        raise build.CompilerError("clang++ one.hip\none.hip:1: error: expected something")

    place.patch.setattr(build, "compile_kernel", broken)
    with pytest.raises(code.CodeError, match=r"gfx942:\n(.|\n)*expected something"):
        image()
