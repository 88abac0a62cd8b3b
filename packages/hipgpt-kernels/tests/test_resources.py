"""What the code objects say of their kernels, and that no default configuration spills.

The odd thing: compiling everything takes minutes, so the last test looks at what has been built
ahead from these very sources and skips where nothing has; `scripts/kernel_table.py --check` builds
first. That the check would notice is shown on a kernel that must spill.
"""

import pytest

from hipgpt_kernels.hip import build, resources

PLAIN = """#include "device.h"
KERNEL(128) void plain(float* x) {
  SHARED float tile[64];
  tile[thread_index() % 64] = x[thread_index()];
  barrier();
  x[thread_index()] = tile[63 - thread_index() % 64];
}
"""
SPILLING = """#include "device.h"
KERNEL(1024) void spilling(float* x, int n) {
  float kept[400];
  for (int i = 0; i < 400; i++) kept[i] = x[i * 1024 + thread_index()];
  for (int i = 0; i < n; i++) kept[(i * 7) % 400] += kept[(i * 13) % 400];
  for (int i = 0; i < 400; i++) x[i * 1024 + thread_index()] = kept[i];
}
"""


def compiled(tmp_path, monkeypatch, architecture, text):
    """The kernels of one small source file."""
    try:
        build.compiler_for(architecture)
    except build.CompilerError as error:
        pytest.skip(str(error))
    (tmp_path / "device.h").write_text((build.SOURCES / "device.h").read_text("utf-8"), "utf-8")
    (tmp_path / "one.hip").write_text(text, "utf-8")
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    build.compile_kernel(architecture, "one", tmp_path / "one.code")
    return resources.read((tmp_path / "one.code").read_bytes())


@pytest.mark.parametrize("architecture", ["gfx942", "gfx1100", "sm_80", "sm_90"])
def test_a_kernel_is_described(tmp_path, monkeypatch, architecture):
    (one,) = compiled(tmp_path, monkeypatch, architecture, PLAIN).values()
    assert (one.threads, one.lds, one.scratch) == (128, 256, 0)
    assert 2 <= one.registers <= 32
    assert one.waves(architecture) >= 8


@pytest.mark.parametrize("architecture", ["gfx942", "gfx1100", "sm_80"])
def test_registers_in_memory_show(tmp_path, monkeypatch, architecture):
    compiled(tmp_path, monkeypatch, architecture, SPILLING)
    image = (tmp_path / "one.code").read_bytes()
    assert resources.spilled(architecture, "one", image)["spilling"] >= 1600


@pytest.mark.parametrize(("told", "expected"), [(0, {}), (4, {"one": 4})])
def test_ptxas_tells_a_few_bytes_of_spills_from_a_frame(monkeypatch, told, expected):
    """On AMD every byte of scratch is one too many."""
    kernel = resources.Resources(128, 40, 0, 8, 0, 0)
    monkeypatch.setattr(resources, "read", lambda _: {"one": kernel})
    monkeypatch.setattr(resources, "_told_by_ptxas", lambda *_: {"one": told})
    assert resources.spilled("sm_90", "file", b"") == expected
    assert resources.spilled("gfx942", "file", b"") == {"one": 8}


@pytest.mark.parametrize(
    ("architecture", "threads", "registers", "lds", "waves"),
    [
        ("gfx942", 256, 128, 0, 4),  # 512 registers
        ("gfx942", 256, 64, 32 << 10, 2),  # two blocks of LDS, four waves each
        ("gfx942", 256, 129, 0, 3),  # given out in eights: 136
        ("gfx1100", 128, 96, 0, 16),
        ("gfx1100", 128, 256, 0, 5),  # 264 of 1536
        ("sm_90", 128, 122, 32 << 10, 4),  # registers: 128 of 512
        ("sm_90", 512, 111, 192 << 10, 4),  # one block
        ("sm_80", 128, 40, 0, 12),
    ],
)
def test_occupancy(architecture, threads, registers, lds, waves):
    one = resources.Resources(threads, registers, lds, 0, 0, 0)
    assert one.waves(architecture) == waves


@pytest.mark.parametrize("image", [b"", b"not a code object", b"\x7fELF" + bytes(60)])
def test_what_is_no_code_object_is_refused(image):
    with pytest.raises(ValueError, match="expected"):
        resources.read(image)


@pytest.mark.parametrize("architecture", build.ARCHITECTURES)
def test_nothing_that_was_built_ahead_spills(architecture):
    manifest, seen, spilling = build.read_manifest(), 0, []
    for stem in build.stems():
        path = build.code_path(build.CODE, architecture, stem)
        name = path.relative_to(build.CODE).as_posix()
        if manifest.get(name) != build.source_hash(stem) or not path.exists():
            continue
        image = path.read_bytes()
        seen += len(resources.read(image))
        spilling += resources.spilled(architecture, stem, image)
    if not seen:
        pytest.skip(f"nothing has been built ahead for {architecture} from these sources")
    assert not spilling
