"""Find every device and run every case on it; raises nothing, whatever the machine is like.

The odd thing: a GPU that is on the PCI bus but that no driver shows counts as one that should work,
while a machine without any is as healthy as can be.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
from typing import TYPE_CHECKING, Any

import numpy as np

from hipgpt_kernels import __version__
from hipgpt_kernels.doctor.cases import CASES
from hipgpt_kernels.doctor.report import Check, Device, Report
from hipgpt_kernels.doctor.trial import Trial
from hipgpt_kernels.hip import build, cache, presence
from hipgpt_kernels.select import BackendError, load_backend

if TYPE_CHECKING:
    from collections.abc import Callable

    from hipgpt_kernels.backend import Backend
    from hipgpt_kernels.doctor.cases import Case

INSTALL_COMPILER = (
    "install a compiler (ROCm, or clang and lld 19 or later, for AMD; CUDA's toolkit for NVIDIA), "
    "or a wheel that holds the kernels of this architecture"
)


def examine(
    device: str = "all",
    *,
    run: bool = True,
    progress: Callable[[str, int, int], None] | None = None,
) -> Report:
    """Look at this machine.

    Args:
        device: "all", "cpu", "hip" (every GPU), or "hip:N".
        run: run the kernels; without, only what is there is told.
        progress: called with the device's name, cases done and cases in all.

    Raises:
        ValueError: `device` is none of these.
    """
    kind, _, number = device.partition(":")
    if kind not in ("all", "cpu", "hip") or (number and (kind != "hip" or not number.isdigit())):
        raise ValueError(f"device is {device!r}, expected all, cpu, hip or hip:0, hip:1, …")
    facts, notes = system()  # first: what is damaged in the cache is gone once it was asked for
    devices = []
    if kind in ("all", "cpu"):
        devices.append(examine_cpu(run=run, progress=progress))
    if kind in ("all", "hip"):
        devices += examine_gpus(
            int(number) if number else None, asked=kind == "hip", run=run, progress=progress
        )
    return Report(facts, notes, devices)


# --- the machine ------------------------------------------------------------------------------


def system() -> tuple[dict[str, Any], list[str]]:
    """Versions, compilers and the cache; and what is odd about them."""
    entries, folder = cache.entries(), cache.cache_directory()
    damaged = [entry.path.name for entry in entries if not entry.sound]
    notes = []
    if damaged:
        notes.append(
            f"{len(damaged)} damaged file{'s' * (len(damaged) > 1)} in {folder} "
            f"({', '.join(damaged)}): made again when next used"
        )
    if not cache.writable():
        notes.append(
            f"{folder} cannot be written, so kernels that must be compiled are compiled by every "
            "program anew: set HIPGPT_CACHE_DIR to a folder of yours"
        )
    compilers = {
        "clang": build.find_clang(),
        "nvcc": build.find_nvcc(),
        "c++": build.find_host_compiler(),
        "hiprtc": _hiprtc(),
    }
    facts = {
        "hipgpt-kernels": __version__,
        "python": f"{platform.python_version()}, {platform.system()} {platform.machine()}",
        "numpy": np.__version__,
        "hip-python": _version("hip-python"),
        "kernel modules": presence.driver_version(),
        "pci": [str(card) for card in presence.cards()],
        "compilers": {
            name: _compiler(name, path) if path else "" for name, path in compilers.items()
        },
        "cache": {
            "folder": str(folder),
            "files": len(entries),
            "bytes": sum(entry.nbytes for entry in entries),
            "damaged": damaged,
            "writable": cache.writable(),
        },
    }
    return facts, notes


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _hiprtc() -> str:
    """hip-python's binding of it, where it is installed."""
    try:
        found = importlib.util.find_spec("rocm.bindings.hiprtc")
    except ModuleNotFoundError:
        return ""
    return "rocm.bindings.hiprtc" if found else ""


def _compiler(name: str, path: str) -> str:
    """Where it is, and the line of its own words that holds the version."""
    if name == "hiprtc":
        return f"{path} (works only with ROCm)"
    try:
        lines = build.compiler_version(path).splitlines()
    except OSError as error:
        return f"{path} (cannot be run: {error})"
    line = next((one for one in lines if "release" in one), lines[0] if lines else "")
    return f"{path} ({line.strip()})"


# --- devices ----------------------------------------------------------------------------------


def examine_cpu(*, run: bool, progress: Callable[[str, int, int], None] | None) -> Device:
    """The CPU, with its compiled code where that was built."""
    from hipgpt_kernels.native.library import LibraryError, load_library

    try:
        backend = load_backend("cpu")
    except (BackendError, OSError, RuntimeError) as error:
        return Device("cpu", usable=False, problem=str(error))
    found = Device("cpu", usable=True, description=backend.description)
    try:
        load_library()
        found.facts["compiled code"] = "yes"
    except LibraryError as error:
        found.facts["compiled code"] = f"no, NumPy alone: {error}"
    _memory(found, backend)
    if run:
        _run(found, backend, ("float32",), progress)
    return found


def examine_gpus(
    index: int | None,
    *,
    asked: bool,
    run: bool,
    progress: Callable[[str, int, int], None] | None,
) -> list[Device]:
    """Every GPU, or the one of that number; where there is none, one entry that says why."""
    from hipgpt_kernels.hip import driver
    from hipgpt_kernels.hip.runtime import UnavailableError

    expected = asked or bool(presence.cards())
    try:
        count = driver.device_count()
        if count == 0 or (index is not None and index >= count):
            driver.find_device(index or 0)  # says why
    except (UnavailableError, driver.HipError) as error:
        return [_unusable("hip", error, expected=expected)]
    indices = range(count) if index is None else [index]
    return [_examine_gpu(number, run=run, progress=progress) for number in indices]


def _unusable(name: str, error: Exception, *, expected: bool) -> Device:
    problem, _, remedy = str(error).partition("; ")
    return Device(
        name,
        usable=False,
        expected=expected,
        problem=problem,
        remedy=remedy,
        facts={"reason": getattr(error, "reason", "")},
    )


def _examine_gpu(
    index: int, *, run: bool, progress: Callable[[str, int, int], None] | None
) -> Device:
    from hipgpt_kernels.hip import driver
    from hipgpt_kernels.hip.backend import HipBackend
    from hipgpt_kernels.hip.runtime import UnavailableError

    name = f"hip:{index}"
    try:
        backend = HipBackend(index)
    except (UnavailableError, driver.HipError) as error:
        return _unusable(name, error, expected=True)
    gpu = backend.device
    found = Device(name, usable=True, description=backend.description)
    found.facts = {
        "name": gpu.name,
        "architecture": gpu.target,
        "wave": gpu.wave,
        "compute units": gpu.compute_units,
        "runtime": driver.version_text(gpu),
    }
    _memory(found, backend)
    places = {stem: backend.code.place(stem) for stem in build.stems()}
    found.facts["kernels"] = {
        kind: [stem for stem, place in places.items() if place == kind]
        for kind in ("built ahead", "cached", "missing")
    }
    if run:
        try:
            backend.code.prepare()
        except Exception as error:  # noqa: BLE001  # a compiler can fail in any way; it is told
            found.usable, found.problem, found.remedy = False, str(error), INSTALL_COMPILER
            return found
        _run(found, backend, ("float32", "bf16", "fp16"), progress)
    return found


def _memory(found: Device, backend: Backend) -> None:
    free, total = backend.memory_info()
    found.facts |= {"memory free": free, "memory total": total}


# --- kernels ----------------------------------------------------------------------------------


def _run(
    found: Device,
    backend: Backend,
    precisions: tuple[str, ...],
    progress: Callable[[str, int, int], None] | None,
) -> None:
    """Run every case in every precision that it is for."""
    work = [(case, one) for case in CASES for one in precisions if one in case.dtypes]
    for number, (case, precision) in enumerate(work):
        if progress is not None:
            progress(found.name, number, len(work))
        check = run_case(backend, case, precision)
        found.checks.append(check)
        if "context is lost" in check.message:
            found.problem = "the GPU's context is lost, so the other kernels were not run"
            break
    if progress is not None:
        progress(found.name, len(work), len(work))


def run_case(backend: Backend, case: Case, precision: str, seed: int = 1) -> Check:
    """One op in one precision. Whatever it raises becomes part of the answer."""
    launched: list[str] = []
    message = ""
    error: float | None
    bound: float | None
    with _listening(backend, launched):
        try:
            trial = Trial(backend, precision, seed)
            launched.clear()
            case.run(trial)
            backend.synchronize()
            worst = trial.worst
            error, bound, message = worst.error, worst.bound, worst.wrong
        except Exception as caught:  # noqa: BLE001  # to be told, not to end the examination
            error = bound = None
            message = f"{type(caught).__name__}: {caught}"
    kernels = tuple(dict.fromkeys(launched))
    return Check(case.op, precision, case.detail, error, bound, not message, message, kernels)


class _listening:  # noqa: N801  # a context manager
    """Note the names of the kernels that a backend asks for."""

    def __init__(self, backend: Any, names: list[str]) -> None:
        self.backend, self.names = backend, names
        self.function: Any = None

    def __enter__(self) -> None:
        self.function = getattr(self.backend, "function", None)
        if self.function is not None:
            original, names = self.function, self.names

            def function(stem: str, name: str) -> Any:
                names.append(name)
                return original(stem, name)

            self.backend.function = function

    def __exit__(self, *error: object) -> None:
        if self.function is not None:
            self.backend.function = self.function
