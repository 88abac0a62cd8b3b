"""Compile csrc/ into one shared library for each instruction set.

    python -m hipgpt_kernels.native.build

The build hook does the same while a wheel is made. Needs g++, clang++ or $CXX and nothing else;
imports only the standard library, because the hook loads this file by its path.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from pathlib import Path

SOURCES = Path(__file__).resolve().parent / "csrc"
CODE = Path(__file__).resolve().parent / "_code"

FLAGS = (
    "-std=c++17",
    "-O3",
    "-shared",
    "-fPIC",
    "-fvisibility=hidden",
    "-pthread",
    "-ffp-contract=fast",  # a product and a sum become one instruction, with one rounding
    "-fno-math-errno",
    "-fno-trapping-math",
    "-Wall",
)

X86_TARGETS = {16: ("-march=x86-64-v4",), 8: ("-march=x86-64-v3",), 4: ()}
OTHER_TARGETS: dict[int, tuple[str, ...]] = {4: ()}


class CompilerError(RuntimeError):
    """No compiler, or one that failed; the message holds its own words."""


def targets() -> dict[int, tuple[str, ...]]:
    """Vector widths in floats, each with the flags that allow it on this kind of processor."""
    return X86_TARGETS if platform.machine().lower() in ("x86_64", "amd64") else OTHER_TARGETS


def find_compiler() -> str | None:
    """$CXX, else the first of g++, clang++ and c++ on the path."""
    for name in (os.environ.get("CXX"), "g++", "clang++", "c++"):
        if name and shutil.which(name):
            return name
    return None


def source_hash() -> str:
    """What tells one state of csrc/ from another; a library keeps that of its own."""
    files = sorted(path for path in SOURCES.iterdir() if path.suffix in (".h", ".cpp"))
    parts = [part for path in files for part in (path.name.encode(), path.read_bytes())]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def library_path(width: int) -> Path:
    """Where the library for vectors of `width` floats lies."""
    return CODE / f"cpu-{width}.so"


def build() -> list[Path]:
    """Compile every target, at once; return the libraries.

    Raises:
        CompilerError: there is no compiler, or a target failed; no library is left behind.
    """
    compiler = find_compiler()
    if compiler is None:
        raise CompilerError("no C++ compiler: install g++ or clang++, or set CXX")
    clean()
    CODE.mkdir()
    running = []
    for width, flags in targets().items():
        name = f'-DHIPGPT_SOURCES="{source_hash()}"'
        command = [compiler, *FLAGS, name, *flags, "-o", str(library_path(width))]
        command.append(str(SOURCES / "kernels.cpp"))
        process = subprocess.Popen(  # noqa: S603  # the compiler that the user has
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        running.append((command, process))
    failures = []
    for command, process in running:
        output, _ = process.communicate()
        if process.returncode != 0:
            failures.append(f"{' '.join(command)}\n{output}")
    if failures:
        clean()
        raise CompilerError("\n".join(failures))
    return [library_path(width) for width in targets()]


def clean() -> None:
    """Remove what an earlier build made."""
    shutil.rmtree(CODE, ignore_errors=True)


if __name__ == "__main__":
    for path in build():
        os.write(1, f"{path.name}\n".encode())
