"""Building GPU code: which architectures, what a failure says, what a half-done build leaves.

The odd thing: a tiny csrc/ of its own stands in for the real one, so that a compiler error can be
had on purpose and nothing that is being used is overwritten.
"""

import importlib.util
import types
from pathlib import Path

import pytest

from hipgpt_kernels.hip import build

KERNEL = '#include "small.h"\nKERNEL(64) void one(float* x) { x[thread_index()] = VALUE; }\n'
DEVICE_H = (build.SOURCES / "device.h").read_text("utf-8")


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A csrc/ with one kernel and a header that includes device.h; _code/ beside it."""
    sources = tmp_path / "csrc"
    sources.mkdir()
    (sources / "device.h").write_text(DEVICE_H, "utf-8")
    (sources / "small.h").write_text('#include "device.h"\n#define VALUE 1.0f\n', "utf-8")
    (sources / "one.hip").write_text(KERNEL, "utf-8")
    monkeypatch.setattr(build, "SOURCES", sources)
    monkeypatch.setattr(build, "CODE", tmp_path / "_code")
    monkeypatch.delenv("HIPGPT_OFFLOAD_ARCHS", raising=False)
    return sources


@pytest.fixture
def amd(small):
    """An AMD architecture that a compiler here knows."""
    try:
        build.compiler_for("gfx1100")
    except build.CompilerError as error:
        pytest.skip(str(error))
    return "gfx1100"


def test_architectures_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("HIPGPT_OFFLOAD_ARCHS", "gfx942; sm_90 ;")
    assert build.chosen_architectures() == ("gfx942", "sm_90")
    monkeypatch.setenv("HIPGPT_OFFLOAD_ARCHS", "")
    assert build.chosen_architectures() is None


@pytest.mark.parametrize("text", ["gfx942,sm_90", "mi300", "gfx942;90"])
def test_a_name_that_is_no_architecture_is_refused(monkeypatch, text):
    monkeypatch.setenv("HIPGPT_OFFLOAD_ARCHS", text)
    if text == "gfx942,sm_90":  # begins well; the compiler is the one to ask
        assert build.chosen_architectures() == (text,)
        return
    with pytest.raises(ValueError, match="expected names such as gfx942 or sm_90"):
        build.chosen_architectures()


def test_headers_count_however_deep(small):
    assert sorted(build.sources("one")) == ["device.h", "one.hip", "small.h"]
    before = build.source_hash("one")
    (small / "unrelated.h").write_text("#error", "utf-8")
    assert build.source_hash("one") == before
    (small / "small.h").write_text('#include "device.h"\n#define VALUE 2.0f\n', "utf-8")
    assert build.source_hash("one") != before


def test_equal_sources_give_equal_bytes(small, amd):
    first, second = small / "a" / "code", small / "b" / "code"
    build.compile_kernel(amd, "one", first)
    build.compile_kernel(amd, "one", second)
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes()[:4] == b"\x7fELF"


def test_a_build_writes_what_it_was_made_from(small, amd):
    paths, failures = build.build((amd,))
    assert failures == []
    assert paths == [build.CODE / amd / "one.co"]
    assert build.read_manifest() == {f"{amd}/one.co": build.source_hash("one")}


def test_a_compile_error_is_the_compilers_own(small, amd):
    (small / "one.hip").write_text(KERNEL.replace("VALUE", "NO_SUCH_THING"), "utf-8")
    with pytest.raises(build.CompilerError, match="undeclared identifier 'NO_SUCH_THING'"):
        build.build((amd,))
    assert not list(build.CODE.rglob("*.co"))
    assert build.read_manifest() == {}


def test_what_cannot_be_compiled_is_left_out_and_named(small, amd):
    paths, failures = build.build((amd, "gfx000"), partial=True)
    assert [path.name for path in paths] == ["one.co"]
    assert len(failures) == 1
    assert "does not know gfx000" in failures[0]
    with pytest.raises(build.CompilerError, match="gfx000"):
        build.build((amd, "gfx000"))


@pytest.mark.parametrize(
    ("architecture", "words"), [("gfx942", "install ROCm, or clang"), ("sm_90", "needs nvcc")]
)
def test_a_missing_compiler_is_named(monkeypatch, architecture, words):
    monkeypatch.setattr(build, "find_clang", lambda: None)
    monkeypatch.setattr(build, "find_nvcc", lambda: None)
    with pytest.raises(build.CompilerError, match=words):
        build.compiler_for(architecture)


@pytest.mark.parametrize("content", ["", "not json", "[1, 2]"])
def test_a_damaged_manifest_counts_as_none(small, content):
    build.CODE.mkdir()
    (build.CODE / build.MANIFEST).write_text(content, "utf-8")
    assert build.read_manifest() == {}


def test_the_bridge_compiles(tmp_path):
    if build.find_host_compiler() is None:
        pytest.skip("no C++ compiler here")
    build.compile_bridge(tmp_path / "libamdhip64.so")
    assert (tmp_path / "libamdhip64.so").read_bytes()[:4] == b"\x7fELF"


# --- the hook -----------------------------------------------------------------------------------


@pytest.fixture
def hook_module():
    """hatch_build.py, imported anew."""
    pytest.importorskip("hatchling", reason="hatchling is only there while a wheel is built")
    path = Path(__file__).parents[1] / "hatch_build.py"
    spec = importlib.util.spec_from_file_location("hatch_build", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def hook(hook_module, monkeypatch):
    """The build hook, with hip.build replaced by one that notes how it was called."""
    calls = []

    def fake_build(chosen, *, partial):
        calls.append((chosen, partial))
        return ["code"], ["gfx942 needs clang"] if partial else []

    fake = types.SimpleNamespace(
        chosen_architectures=build.chosen_architectures,
        clean=lambda: calls.append("clean"),
        build=fake_build,
    )
    warnings = []
    app = types.SimpleNamespace(display_warning=warnings.append, display_info=lambda _: None)
    made = types.SimpleNamespace(
        app=app,
        load_build_module=lambda _: fake,
        mode=lambda name: hook_module.NativeBuildHook.mode(made, name),
        calls=calls,
        warnings=warnings,
    )
    made.run = lambda *, editable: hook_module.NativeBuildHook.build_kernels(
        made, editable=editable
    )
    monkeypatch.delenv("HIPGPT_OFFLOAD_ARCHS", raising=False)
    monkeypatch.delenv("HIPGPT_BUILD_KERNELS", raising=False)
    return made


@pytest.mark.parametrize(
    ("platform", "library", "tag"),
    [
        ("linux-x86_64", "glibc 2.35", "manylinux_2_35_x86_64"),
        ("linux-aarch64", "glibc 2.35", "manylinux_2_35_aarch64"),
        ("linux-x86_64", None, "linux_x86_64"),
        ("macosx-14.0-arm64", None, "macosx_14_0_arm64"),
    ],
)
def test_a_wheel_names_the_c_library_that_it_needs(
    hook_module, monkeypatch, platform, library, tag
):
    def confstr(name):
        if library is None:
            raise ValueError(name)
        return library

    monkeypatch.setattr(hook_module.sysconfig, "get_platform", lambda: platform)
    monkeypatch.setattr(hook_module.os, "confstr", confstr)
    assert hook_module.platform_tag() == tag


def test_an_editable_install_compiles_nothing_by_itself(hook):
    assert hook.run(editable=True) == []
    assert hook.calls == []


def test_an_editable_install_compiles_what_is_asked_for(hook, monkeypatch):
    monkeypatch.setenv("HIPGPT_OFFLOAD_ARCHS", "gfx1100")
    assert hook.run(editable=True) == ["hip/_code/**/*"]
    assert hook.calls == ["clean", (("gfx1100",), True)]


def test_a_wheel_compiles_what_it_can_and_says_what_not(hook):
    assert hook.run(editable=False) == ["hip/_code/**/*"]
    assert hook.calls == ["clean", (None, True)]
    assert hook.warnings == ["hipgpt-kernels: left out: gfx942 needs clang"]


def test_always_leaves_nothing_out(hook, monkeypatch):
    monkeypatch.setenv("HIPGPT_BUILD_KERNELS", "always")
    hook.run(editable=True)
    assert hook.calls == ["clean", (None, False)]


def test_never_compiles_nothing(hook, monkeypatch):
    monkeypatch.setenv("HIPGPT_BUILD_KERNELS", "never")
    assert hook.run(editable=False) == []
    assert hook.calls == ["clean"]


def test_an_unknown_mode_is_refused(hook, monkeypatch):
    monkeypatch.setenv("HIPGPT_BUILD_KERNELS", "maybe")
    with pytest.raises(RuntimeError, match="'maybe', expected one of auto, always, never"):
        hook.run(editable=False)
