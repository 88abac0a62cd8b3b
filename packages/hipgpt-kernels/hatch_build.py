"""Compile the package's C++ while a wheel is built; an editable install compiles in place.

Runs for wheels only (see pyproject.toml): the sdist carries sources alone. HIPGPT_BUILD_CPU says
what to do: "auto" (the default) compiles where there is a compiler, "always" fails without one,
"never" makes the pure wheel, which uses NumPy.
"""

from __future__ import annotations

import importlib.util
import os
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MODES = ("auto", "always", "never")


class NativeBuildHook(BuildHookInterface[Any]):
    """Put the compiled libraries beside their sources and tag the wheel for this platform."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Compile, then tell the builder what it may take in."""
        mode = os.environ.get("HIPGPT_BUILD_CPU", "auto")
        if mode not in MODES:
            raise RuntimeError(f"HIPGPT_BUILD_CPU is {mode!r}, expected one of {', '.join(MODES)}")
        native = self.load_build_module()
        native.clean()  # never ship what an earlier build left
        if mode == "never":
            return
        try:
            libraries = native.build()
        except native.CompilerError as error:
            if mode == "always":
                raise
            self.app.display_warning(f"hipgpt-kernels: no native CPU code, NumPy only: {error}")
            return
        self.app.display_info(f"hipgpt-kernels: built {len(libraries)} native CPU libraries")
        # Ignored by git, so the builder must be told; the slash anchors at the project's root.
        build_data["artifacts"].append("/src/hipgpt_kernels/native/_code/*.so")
        # Any Python will do (ctypes loads them), but no other platform.
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"

    def load_build_module(self) -> Any:
        """`hipgpt_kernels.native.build`, by its path: the package is not installed yet."""
        path = Path(self.root, "src", "hipgpt_kernels", "native", "build.py")
        spec = importlib.util.spec_from_file_location("hipgpt_native_build", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
