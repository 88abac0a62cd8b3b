"""The code object of a kernel for a GPU: built ahead, else from the cache, else compiled now.

A code object that was built ahead counts only if the sources have not changed since (a wheel
carries both; in a checkout they drift apart). The odd thing: a kernel is compiled when it is first
launched, which is quick for whoever needs one op; whoever will need all of them calls `prepare`,
which compiles as many at once as there are processors.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import os
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hipgpt_kernels.hip import build, cache, driver
from hipgpt_kernels.hip.runtime import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from hipgpt_kernels.hip.driver import Device

GENERIC = {"gfx103": "gfx10-3-generic", "gfx11": "gfx11-generic", "gfx12": "gfx12-generic"}
"""Families whose code runs on every member, by how the architecture's name begins."""

ELF_HEADER = struct.Struct("<16s HHI QQQ I HHHHHH")
"""Of a 64-bit ELF file; the section table's place, entry size and count are in it."""


class CodeError(RuntimeError):
    """There is no code object for this GPU and none can be made."""


def candidates(architecture: str) -> list[str]:
    """Architectures whose code this one runs, best first.

    NVIDIA's runs on every later chip of the same generation: sm_80 code on an sm_89.
    """
    if build.is_nvidia(architecture):
        number = int(architecture.removeprefix("sm_"))
        # sm_90 is compiled as sm_90a, which no other chip runs; it is its own generation anyway.
        return [f"sm_{older}" for older in range(number, number // 10 * 10 - 1, -1)]
    names = [name for start, name in GENERIC.items() if architecture.startswith(start)]
    return [architecture, *names]


class CodeObjects:
    """The loaded kernels of one device."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._modules: dict[str, driver.Module] = {}
        self._functions: dict[tuple[str, str], Any] = {}
        self._compiled: dict[str, bytes] = {}

    def function(self, stem: str, name: str) -> Any:
        """A kernel of csrc/<stem>.hip, loaded at its first use.

        Raises:
            CodeError: there is no code object for this GPU, and none could be compiled.
        """
        key = (stem, name)
        function = self._functions.get(key)
        if function is None:
            if stem not in self._modules:
                self._modules[stem] = driver.Module(self.device, self.image(stem))
            function = self._functions[key] = self._modules[stem].function(name)
        return function

    def image(self, stem: str) -> bytes:
        """The bytes of a code object.

        Raises:
            CodeError: as `function`.
        """
        found = self._find(stem)
        if found is None:
            found = self._compiled[stem] = compile_now(self.device, stem)
            cache.write(cache_name(self.device.architecture, stem), found)
        return found

    def place(self, stem: str) -> str:
        """Where a kernel's code is: "built ahead", "cached", or "missing", to be compiled."""
        if self._built_ahead(stem) is not None:
            return "built ahead"
        return "missing" if self._find(stem) is None else "cached"

    def _find(self, stem: str) -> bytes | None:
        """Built ahead from these very sources, or cached."""
        if stem in self._compiled:
            return self._compiled[stem]
        ahead = self._built_ahead(stem)
        return ahead or cache.read(cache_name(self.device.architecture, stem))

    def _built_ahead(self, stem: str) -> bytes | None:
        """What came with the package, if it was made from these very sources and is whole."""
        manifest, wanted = build.read_manifest(), build.source_hash(stem)
        for architecture in candidates(self.device.architecture):
            path = build.code_path(build.CODE, architecture, stem)
            if manifest.get(path.relative_to(build.CODE).as_posix()) == wanted and path.exists():
                image = path.read_bytes()
                if is_whole(image):
                    return image
        return None

    def missing(self) -> list[str]:
        """The kernels that would have to be compiled."""
        return [stem for stem in build.stems() if self._find(stem) is None]

    def prepare(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Compile every missing kernel, as many at once as there are processors.

        Args:
            progress: called with (kernels that are done, kernels in all) after each.

        Raises:
            CodeError: as `function`.
        """
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            images = [pool.submit(self.image, stem) for stem in self.missing()]
            for done, image in enumerate(concurrent.futures.as_completed(images), 1):
                image.result()
                if progress is not None:
                    progress(done, len(images))


def is_whole(image: bytes) -> bool:
    """Does an ELF file reach as far as its header says? A runtime would read beyond a short one."""
    if len(image) < ELF_HEADER.size or not image.startswith(b"\x7fELF"):
        return False
    *_, start, _, _, _, _, size, count, _ = ELF_HEADER.unpack_from(image)
    return bool(start + size * count <= len(image))


def compiler_name(architecture: str) -> str:
    """Which compiler would be used, with its version: part of the cache's key."""
    try:
        compiler = build.compiler_for(architecture)
    except build.CompilerError:
        return "hiprtc"
    return f"{compiler} {build.compiler_version(compiler)}"


def cache_name(architecture: str, stem: str) -> str:
    """The cache's file for a kernel: its sources, the architecture, the compiler and its flags."""
    command = build.compile_command(compiler_name(architecture), architecture, stem, Path("out"))
    words = [word for word in command if str(build.SOURCES) not in word]  # wherever it lies
    key = "\0".join([build.source_hash(stem), *words])
    return f"{stem}-{architecture}-{hashlib.sha256(key.encode()).hexdigest()[:32]}"


def compile_now(device: Device, stem: str) -> bytes:
    """Compile one kernel for a device with a compiler that is here, else with hiprtc.

    Raises:
        CodeError: there is no compiler, or it failed; the message holds its own words.
    """
    architecture = device.architecture
    try:
        build.compiler_for(architecture)
    except build.CompilerError as no_compiler:
        if device.nvidia:
            raise CodeError(without_compiler(device, stem, str(no_compiler))) from no_compiler
        return compile_with_hiprtc(device, stem, str(no_compiler))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "code")
        try:
            build.compile_kernel(architecture, stem, path)
        except build.CompilerError as error:
            raise CodeError(f"{stem}.hip does not compile for {architecture}:\n{error}") from error
        return path.read_bytes()


def compile_with_hiprtc(device: Device, stem: str, no_compiler: str) -> bytes:
    """Compile with the compiler that comes with the HIP runtime."""
    headers = build.sources(stem)
    source = headers.pop(f"{stem}.hip")
    options = [f"--offload-arch={device.target}", *build.FLAGS, build.CONTRACTION]
    try:
        return driver.compile_with_hiprtc(source, f"{stem}.hip", headers, options)
    except UnavailableError as error:
        raise CodeError(without_compiler(device, stem, f"{no_compiler}; {error}")) from error
    except RuntimeError as error:
        raise CodeError(f"{stem}.hip does not compile with hiprtc:\n{error}") from error


def without_compiler(device: Device, stem: str, reason: str) -> str:
    """The sentence for a GPU that has neither a code object nor a compiler."""
    return (
        f"this installation has no {stem} kernels for {device.architecture} ({device.name}) and "
        f"cannot compile them: {reason}"
    )
