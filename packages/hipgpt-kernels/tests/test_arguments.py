"""Every kernel is declared in Python with the arguments that its code object expects.

A launch packs its arguments by the declaration, so what holds here holds for every launch. The odd
thing: the code objects must have been built ahead; where none is up to date there is nothing to
compare with, and the tests skip. The emulator looks at each launch besides.
"""

import importlib
import os
import pkgutil
import struct

import pytest

from hipgpt_kernels import hip
from hipgpt_kernels.hip import build, driver
from hipgpt_kernels.hip.kernel import FLOAT, INT, LONG, POINTER, Kernel

from .emulator.code_object import read_kernels

AMD = [name for name in build.ARCHITECTURES if name.startswith("gfx")]


def kernels_in(value):
    """The declarations that a name of a module stands for."""
    if isinstance(value, Kernel):
        yield value
    elif isinstance(value, dict):
        yield from (one for part in value.items() for half in part for one in kernels_in(half))
    elif isinstance(value, tuple | list):
        yield from (one for part in value for one in kernels_in(part))


def declared():
    """Every kernel that the GPU backend can launch, by the name of its file and its own."""
    modules = [
        importlib.import_module(module.name)
        for module in pkgutil.walk_packages(hip.__path__, f"{hip.__name__}.")
    ]
    found = [
        one for module in modules for value in vars(module).values() for one in kernels_in(value)
    ]
    return {(one.stem, one.base): one for one in found}


def expected(kernel):
    """(offset, bytes, is a pointer) of each argument, as the declaration packs them."""
    types = kernel.types
    ends = [struct.calcsize("@" + types[: number + 1]) for number in range(len(types))]
    sizes = [struct.calcsize("@" + one) for one in types]
    return [
        (end - size, size, one == POINTER)
        for end, size, one in zip(ends, sizes, types, strict=True)
    ]


def declaration_of(stem, name):
    """The one whose base is the longest beginning of a kernel's name."""
    fitting = [
        one
        for (file, base), one in declared().items()
        if file == stem and (name == base or name.startswith(f"{base}_"))
    ]
    assert fitting, f"nothing launches {name} of {stem}.hip"
    return max(fitting, key=lambda one: len(one.base))


def compare(code, kernel):
    """Assert that a kernel's code takes what its declaration packs."""
    takes = [(offset, size, kind == "global_buffer") for offset, size, kind in code.arguments]
    assert takes == expected(kernel), (
        f"{code.name} does not take what {kernel.base} is declared with"
    )


@pytest.mark.parametrize("architecture", AMD)
def test_every_kernel_takes_what_it_is_declared_with(architecture):
    manifest, seen = build.read_manifest(), 0
    for stem in build.stems():
        path = build.code_path(build.CODE, architecture, stem)
        name = path.relative_to(build.CODE).as_posix()
        if manifest.get(name) != build.source_hash(stem) or not path.exists():
            continue
        for code in read_kernels(path.read_bytes()).values():
            compare(code, declaration_of(stem, code.name))
            seen += 1
    if not seen:
        pytest.skip(f"nothing has been built ahead for {architecture} from these sources")


SOURCE = """#include "device.h"
KERNEL(64) void probe(float* x, long long n, int m, float a) {
  if (m > 0) x[n] = a;
}
"""


@pytest.mark.parametrize(
    "types",
    [
        (POINTER, LONG, INT),
        (POINTER, INT, LONG, FLOAT),
        (LONG, POINTER, INT, FLOAT),
        (POINTER, LONG, INT, LONG),
    ],
)
def test_a_wrong_declaration_is_found(types, tmp_path, monkeypatch):
    try:
        build.compiler_for("gfx1100")
    except build.CompilerError as error:
        pytest.skip(str(error))
    (tmp_path / "device.h").write_text((build.SOURCES / "device.h").read_text("utf-8"), "utf-8")
    (tmp_path / "probe.hip").write_text(SOURCE, "utf-8")
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    build.compile_kernel("gfx1100", "probe", tmp_path / "code")
    (code,) = read_kernels((tmp_path / "code").read_bytes()).values()
    compare(code, Kernel("probe", "probe", POINTER, LONG, INT, FLOAT))
    with pytest.raises(AssertionError, match="does not take what probe"):
        compare(code, Kernel("probe", "probe", *types))


@pytest.mark.parametrize(
    ("types", "values"),
    [
        ((POINTER, LONG, LONG, INT), ("array", 8, 0, 1)),  # an argument is missing
        ((LONG, LONG, LONG, INT, INT), (8, 8, 0, 1, 0)),  # no pointer
    ],
)
def test_a_wrong_launch_is_refused(hip, types, values):
    if not os.environ.get("HIPGPT_EMULATE"):
        pytest.skip("a GPU would run it; the emulator looks at every launch")
    array = hip.zeros((8,))
    given = [array if value == "array" else value for value in values]
    with pytest.raises(driver.HipError, match="hipErrorLaunchFailure"):
        Kernel("basic", "fill", *types).launch(hip, "32", 1, 256, *given)
