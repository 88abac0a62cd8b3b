"""Where a benchmark ran and how it was called, for its record.

The odd thing: versions come from what is installed, not from what was imported, because peers often
run in a process of their own.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

DRIVERS = {
    "NVIDIA driver": Path("/proc/driver/nvidia/version"),
    "amdgpu driver": Path("/sys/module/amdgpu/version"),
}
"""Files in which the system says the version of a GPU's driver."""


def typed_command(words: list[str] | None = None) -> str:
    """The command line of this process as somebody would type it in the repository.

    Without --json FILE, which has no effect on what is measured; of absolute paths the last part,
    which is all that means something elsewhere.

    Args:
        words: the program and its arguments; None: those of this process.
    """
    program, *arguments = sys.argv if words is None else words
    parts = Path(program).resolve().parts
    if "packages" in parts and "benchmarks" in parts:
        place = len(parts) - 1 - parts[::-1].index("packages")
        said = ["python", "/".join(parts[place:])]
    elif parts[-1].endswith(".py") and parts[-1] != "__main__.py":
        said = ["python", parts[-1]]
    else:
        said = ["hipgpt"]
    kept = iter(arguments)
    for word in kept:
        if word == "--json":
            next(kept, None)
        elif not word.startswith("--json="):
            said.append(Path(word).name if word.startswith("/") else word)
    return shlex.join(said)


def machine() -> dict[str, Any]:
    """Processor, cores that this process may use, and system."""
    from hipgpt_kernels.cpu.machine import processor_name

    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count()
    return {
        "processor": processor_name(),
        "cores": cores,
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions(*packages: str, backend: Any = None) -> dict[str, str]:
    """Version by name: hipgpt, Python, NumPy, installed peers, and a GPU's runtime and driver.

    Args:
        packages: names of peers' distributions; those that are not installed are left out.
        backend: what ran; its runtime and driver are told where it is a GPU.
    """
    from hipgpt_cli import __version__

    found = {"hipgpt": __version__, "Python": platform.python_version()}
    for name in ("numpy", *packages):
        try:
            found[name] = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue
    device = getattr(backend, "device", None)
    if device is not None:
        from hipgpt_kernels.hip.driver import version_text

        found["runtime"] = version_text(device)
        found |= _drivers()
    return found


def _drivers() -> dict[str, str]:
    """Version by name of the GPU drivers that the system tells of."""
    found = {}
    for name, path in DRIVERS.items():
        try:
            words = path.read_text(encoding="utf-8", errors="replace").split()
        except OSError:
            continue
        # NVIDIA's file is a sentence, in which the version is the first word of digits and dots.
        numbers = (word for word in words if word.replace(".", "").isdigit() and "." in word)
        if number := next(numbers, None):
            found[name] = number
    return found
