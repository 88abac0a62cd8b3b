"""Compile csrc/*.hip into one code object for each file and architecture, and the CUDA bridge.

    python -m hipgpt_kernels.hip.build [--missing] gfx942 sm_90

--missing keeps what an earlier build made from the same sources. Without names:
$HIPGPT_OFFLOAD_ARCHS (a list with semicolons), else all the architectures that the compilers here
know. The build hook does the same while a wheel is made, and `code` compiles single files at first
use. Needs ROCm's clang or a plain one (with lld) for AMD, nvcc for NVIDIA, g++ or clang++ for the
bridge; imports only the standard library, because the hook loads this file by path.
"""

from __future__ import annotations

import concurrent.futures
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[1] / "csrc"
CODE = Path(__file__).resolve().parent / "_code"
MANIFEST = "manifest.json"

ARCHITECTURES = (
    *("gfx90a", "gfx942", "gfx950", "gfx1030", "gfx1100", "gfx1201"),
    *("sm_80", "sm_90"),
)
"""What a wheel holds unless HIPGPT_OFFLOAD_ARCHS says otherwise."""

BRIDGE = Path("nvidia", "libamdhip64.so")
"""The HIP runtime over the CUDA driver, below `CODE`."""
BRIDGE_SOURCE = SOURCES / "nvidia" / "hip_on_cuda.cpp"

FLAGS = ("-O3", "-std=c++17")
CONTRACTION = "-ffp-contract=fast-honor-pragmas"
"""A product and a sum become one instruction, but not where a pragma forbids it (see expf)."""
AMD_FLAGS = (
    *("-x", "hip", "-nogpuinc", "-nogpulib"),  # no header and no library of ROCm's
    *("--offload-device-only", "--no-gpu-bundle-output"),  # a plain ELF file, not a bundle
    "-fuse-cuid=none",  # no random symbol: equal sources give equal bytes
    CONTRACTION,
)
NVIDIA_FLAGS = ("-x", "cu", "-cubin")
BRIDGE_FLAGS = (
    *("-std=c++17", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-Wall"),
    "-Wl,-soname,libamdhip64.so",
)


class CompilerError(RuntimeError):
    """No compiler, or one that failed; the message holds its own words."""


def stems() -> list[str]:
    """The names of the kernels' files, without ".hip"."""
    return sorted(path.stem for path in SOURCES.glob("*.hip"))


def is_nvidia(architecture: str) -> bool:
    """Is it one of NVIDIA's, such as "sm_90"?"""
    return architecture.startswith("sm_")


def code_path(root: Path, architecture: str, stem: str) -> Path:
    """Where a code object lies below `root`."""
    ending = ".cubin" if is_nvidia(architecture) else ".co"
    return root / architecture / f"{stem}{ending}"


def sources(stem: str) -> dict[str, str]:
    """A kernel's file and every header that it includes, and those that they include; by name."""
    found: dict[str, str] = {}
    waiting = [f"{stem}.hip"]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = (SOURCES / name).read_text("utf-8")
            waiting += re.findall(r'^\s*#\s*include\s*"([^"]+)"', found[name], re.MULTILINE)
    return found


def source_hash(stem: str) -> str:
    """SHA-256 of what a code object is made from."""
    digest = hashlib.sha256()
    for name, text in sorted(sources(stem).items()):
        digest.update(f"{name}\0{text}\0".encode())
    return digest.hexdigest()


def bridge_hash() -> str:
    """SHA-256 of the bridge's source."""
    return hashlib.sha256(BRIDGE_SOURCE.read_bytes()).hexdigest()


# --- compilers -------------------------------------------------------------------------------


def roots(*variables: str) -> list[Path]:
    """The folders that environment variables name."""
    return [Path(os.environ[name]) for name in variables if os.environ.get(name)]


def find_clang() -> str | None:
    """$HIPGPT_CLANG, else ROCm's clang++, else the newest plain one that knows AMD's GPUs well."""
    chosen = os.environ.get("HIPGPT_CLANG")
    if chosen:
        return shutil.which(chosen)
    for root in [*roots("ROCM_PATH", "ROCM_HOME", "HIP_PATH"), Path("/opt/rocm")]:
        for folder in ("llvm/bin", "lib/llvm/bin"):
            found = shutil.which("clang++", path=str(root / folder))
            if found:
                return found
    # 19 is the first whose generic targets and gfx12 builtins the sources can rely on.
    for name in ("amdclang++", *(f"clang++-{version}" for version in range(24, 18, -1)), "clang++"):
        found = shutil.which(name)
        if found:
            return found
    return None


def find_nvcc() -> str | None:
    """nvcc below $CUDA_HOME or $CUDA_PATH, on the path, or where NVIDIA's installer puts it."""
    for root in roots("CUDA_HOME", "CUDA_PATH"):
        found = shutil.which("nvcc", path=str(root / "bin"))
        if found:
            return found
    return shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")


def find_host_compiler() -> str | None:
    """$CXX, else the first of g++, clang++ and c++ on the path."""
    for name in (os.environ.get("CXX"), "g++", "clang++", "c++"):
        if name and shutil.which(name):
            return name
    return None


@functools.cache
def clang_targets(clang: str) -> frozenset[str]:
    """The GPUs that a clang can compile for."""
    command = [clang, "--target=amdgcn-amd-amdhsa", "--print-supported-cpus"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return frozenset((result.stdout + result.stderr).split())


@functools.cache
def compiler_version(compiler: str) -> str:
    """What a compiler says of itself."""
    result = subprocess.run(  # noqa: S603  # the compiler that the user has
        [compiler, "--version"], capture_output=True, text=True, check=False
    )
    return result.stdout


def compiler_for(architecture: str) -> str:
    """The compiler for one architecture.

    Raises:
        CompilerError: there is none, or it does not know the architecture.
    """
    if is_nvidia(architecture):
        nvcc = find_nvcc()
        if nvcc is None:
            raise CompilerError(f"{architecture} needs nvcc: install CUDA's toolkit, set CUDA_HOME")
        return nvcc
    clang = find_clang()
    if clang is None:
        raise CompilerError(
            f"{architecture} needs clang: install ROCm, or clang and lld 19 or later (Debian: "
            "clang-22 and lld-22), or set HIPGPT_CLANG"
        )
    if architecture not in clang_targets(clang):
        raise CompilerError(f"{clang} does not know {architecture}: install a newer clang or ROCm")
    return clang


def compile_command(compiler: str, architecture: str, stem: str, output: Path) -> list[str]:
    """The command that makes one code object."""
    if is_nvidia(architecture):
        number = architecture.removeprefix("sm_")
        # sm_90 can only be a Hopper, so its own instructions (wgmma, TMA) may be used: sm_90a.
        number = "90a" if number == "90" else number
        target = [f"-gencode=arch=compute_{number},code=sm_{number}"]
        flags = [*NVIDIA_FLAGS, *target]
    else:
        flags = [*AMD_FLAGS, f"--offload-arch={architecture}"]
        if architecture.endswith("-generic"):
            flags.append("-mcode-object-version=6")
    source = str(SOURCES / f"{stem}.hip")
    return [compiler, *flags, *FLAGS, "-I", str(SOURCES), "-o", str(output), source]


def run_compiler(command: list[str], output: Path) -> None:
    """Run a compiler so that `output` is there in full or not at all.

    Raises:
        CompilerError: it failed; the message holds the command and what it said.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        temporary = Path(folder, output.name)
        words = [str(temporary) if word == str(output) else word for word in command]
        result = subprocess.run(  # noqa: S603  # the compiler that the user has
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if result.returncode != 0:
            raise CompilerError(f"{' '.join(command)}\n{result.stdout}")
        temporary.replace(output)


def compile_kernel(architecture: str, stem: str, output: Path) -> None:
    """Make one code object.

    Raises:
        CompilerError: no compiler, or it failed.
    """
    compiler = compiler_for(architecture)
    run_compiler(compile_command(compiler, architecture, stem, output), output)


def compile_bridge(output: Path) -> None:
    """Make the libamdhip64.so that turns HIP's calls into the CUDA driver's.

    Raises:
        CompilerError: no compiler, or it failed.
    """
    compiler = find_host_compiler()
    if compiler is None:
        raise CompilerError("no C++ compiler: install g++ or clang++, or set CXX")
    command = [compiler, *BRIDGE_FLAGS, "-o", str(output), str(BRIDGE_SOURCE), "-ldl"]
    run_compiler(command, output)


# --- the whole -------------------------------------------------------------------------------


def chosen_architectures() -> tuple[str, ...] | None:
    """The list in HIPGPT_OFFLOAD_ARCHS, or None where it is not set.

    Raises:
        ValueError: a name that is neither gfx… nor sm_….
    """
    text = os.environ.get("HIPGPT_OFFLOAD_ARCHS", "")
    names = tuple(name.strip() for name in text.split(";") if name.strip())
    for name in names:
        if not name.startswith(("gfx", "sm_")):
            raise ValueError(
                f"HIPGPT_OFFLOAD_ARCHS names {name!r}, expected names such as gfx942 or sm_90 "
                "with semicolons between them"
            )
    return names or None


def build(
    architectures: tuple[str, ...] | None = None, *, partial: bool = False, missing: bool = False
) -> tuple[list[Path], list[str]]:
    """Compile every kernel for every architecture, as many at once as there are processors.

    Args:
        architectures: which; None takes HIPGPT_OFFLOAD_ARCHS, else all of ARCHITECTURES.
        partial: leave out what cannot be compiled here, and say so in the second result.
        missing: keep what an earlier build made from these very sources.

    Returns:
        The code objects made, and the reasons for what was left out.

    Raises:
        CompilerError: something cannot be compiled and `partial` is not set.
    """
    architectures = architectures or chosen_architectures() or ARCHITECTURES
    failures: list[str] = []
    possible = []
    for architecture in architectures:
        try:
            compiler_for(architecture)
            possible.append(architecture)
        except CompilerError as error:
            failures.append(str(error))
    if failures and not partial:
        raise CompilerError("\n".join(failures))
    hashes = {stem: source_hash(stem) for stem in stems()}
    made: dict[str, str] = {}
    kept = read_manifest() if missing else {}
    paths = []

    def there(digest: str, path: Path) -> bool:
        return kept.get(path.relative_to(CODE).as_posix()) == digest and path.exists()

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = {}
        for architecture in possible:
            for stem, digest in hashes.items():
                path = code_path(CODE, architecture, stem)
                if not there(digest, path):
                    jobs[pool.submit(compile_kernel, architecture, stem, path)] = (digest, path)
        nvidia = any(is_nvidia(architecture) for architecture in possible)
        if nvidia and not there(bridge_hash(), CODE / BRIDGE):
            jobs[pool.submit(compile_bridge, CODE / BRIDGE)] = (bridge_hash(), CODE / BRIDGE)
        for job, (digest, path) in jobs.items():
            try:
                job.result()
            except CompilerError as error:
                failures.append(str(error))
                continue
            paths.append(path)
            made[path.relative_to(CODE).as_posix()] = digest
    if failures and not partial:
        raise CompilerError("\n".join(failures))
    write_manifest(made)
    return paths, failures


def read_manifest() -> dict[str, str]:
    """The source hash of each code object that was built ahead, by its path below CODE."""
    try:
        found = json.loads((CODE / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_manifest(made: dict[str, str]) -> None:
    """Add code objects to those that an earlier build made."""
    CODE.mkdir(parents=True, exist_ok=True)
    text = json.dumps(read_manifest() | made, indent=1, sort_keys=True)
    temporary = CODE / f"{MANIFEST}.new"
    temporary.write_text(text, "utf-8")
    temporary.replace(CODE / MANIFEST)


def clean() -> None:
    """Remove what an earlier build made."""
    shutil.rmtree(CODE, ignore_errors=True)


if __name__ == "__main__":
    names = [word for word in sys.argv[1:] if word != "--missing"]
    built, left_out = build(
        tuple(names) or None, partial=not names, missing="--missing" in sys.argv[1:]
    )
    for line in [str(path.relative_to(CODE)) for path in built] + left_out:
        os.write(1, f"{line}\n".encode())
