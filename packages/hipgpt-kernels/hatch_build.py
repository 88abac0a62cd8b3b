"""Compile the package's C++ and its GPU kernels while a wheel is built.

Runs for wheels only (see pyproject.toml): the sdist carries sources alone. Two variables say what
to do, each "auto" (the default: what the compilers here can), "always" (fail where something cannot
be compiled) or "never":

    HIPGPT_BUILD_CPU      the CPU's vector code; without it the CPU backend is NumPy
    HIPGPT_BUILD_KERNELS  code objects for GPUs, of the architectures in HIPGPT_OFFLOAD_ARCHS (with
                          semicolons; all that the sources are written for where it is not set)

The odd thing: an editable install compiles no kernels unless "always" or HIPGPT_OFFLOAD_ARCHS asks
for them. All architectures take minutes, and a kernel that is missing is compiled for the GPU at
hand when it is first launched, and cached.
"""

from __future__ import annotations

import importlib.util
import os
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MODES = ("auto", "always", "never")


def platform_tag() -> str:
    """This platform as a wheel names it: on Linux with the C library that the code was linked with.

    Indexes refuse a plain linux_x86_64: it does not say where the code can run (PEP 600).
    """
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    try:
        library = os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, ValueError, OSError):  # another system, or another C library
        library = None
    if platform.startswith("linux_") and library:  # "glibc 2.35"
        version = library.split()[-1].replace(".", "_")
        return f"manylinux_{version}_{platform.removeprefix('linux_')}"
    return platform


class NativeBuildHook(BuildHookInterface[Any]):
    """Put what was compiled beside its sources and tag the wheel for this platform."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, then tell the builder what it may take in."""
        compiled = [self.build_cpu(), self.build_kernels(editable=version == "editable")]
        artifacts = [pattern for patterns in compiled for pattern in patterns]
        if not artifacts:
            return
        # Ignored by git, so the builder must be told; the slash anchors at the project's root.
        build_data["artifacts"].extend(f"/src/hipgpt_kernels/{one}" for one in artifacts)
        # Any Python will do (ctypes loads them), but no other platform.
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag()}"

    def build_cpu(self) -> list[str]:
        """Compile native/; return what the wheel takes in, below the package."""
        mode = self.mode("HIPGPT_BUILD_CPU")
        native = self.load_build_module("native")
        native.clean()  # never ship what an earlier build left
        if mode == "never":
            return []
        try:
            libraries = native.build()
        except native.CompilerError as error:
            if mode == "always":
                raise
            self.app.display_warning(f"hipgpt-kernels: no native CPU code, NumPy only: {error}")
            return []
        self.app.display_info(f"hipgpt-kernels: built {len(libraries)} native CPU libraries")
        return ["native/_code/*.so"]

    def build_kernels(self, *, editable: bool) -> list[str]:
        """Compile hip/; return what the wheel takes in, below the package."""
        mode = self.mode("HIPGPT_BUILD_KERNELS")
        hip = self.load_build_module("hip")
        chosen = hip.chosen_architectures()
        if mode == "auto" and editable and chosen is None:
            return []  # what an earlier build left stays: it is checked against the sources
        hip.clean()
        if mode == "never":
            return []
        made, left_out = hip.build(chosen, partial=mode == "auto")
        for reason in left_out:
            self.app.display_warning(f"hipgpt-kernels: left out: {reason}")
        self.app.display_info(f"hipgpt-kernels: built {len(made)} code objects for GPUs")
        return ["hip/_code/**/*"] if made else []

    def mode(self, variable: str) -> str:
        """The value of one of the two variables."""
        mode = os.environ.get(variable, "auto")
        if mode not in MODES:
            raise RuntimeError(f"{variable} is {mode!r}, expected one of {', '.join(MODES)}")
        return mode

    def load_build_module(self, package: str) -> Any:
        """`hipgpt_kernels.<package>.build`, by its path: the package is not installed yet."""
        path = Path(self.root, "src", "hipgpt_kernels", package, "build.py")
        spec = importlib.util.spec_from_file_location(f"hipgpt_{package}_build", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
