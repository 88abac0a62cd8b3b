"""Compile HIP source with the runtime's own compiler, where there is no other."""

from __future__ import annotations

from typing import Any

from hipgpt_kernels.hip.driver import calls
from hipgpt_kernels.hip.runtime import UnavailableError


def compile_with_hiprtc(
    source: str, name: str, headers: dict[str, str], options: list[str]
) -> bytes:
    """Compile HIP source to a code object with the runtime's own compiler.

    Raises:
        UnavailableError: there is no hiprtc here.
        RuntimeError: the source does not compile; the message is the compiler's.
    """
    calls.hip()
    try:
        from rocm.bindings import hiprtc as module

        hiprtc: Any = module
        status, program = hiprtc.hiprtcCreateProgram(
            source.encode(),
            name.encode(),
            len(headers),
            [text.encode() for text in headers.values()],
            [key.encode() for key in headers],
        )
    except (ImportError, RuntimeError) as error:
        raise UnavailableError("no-compiler", f"hiprtc cannot be used: {error}") from error
    if status != 0:
        raise UnavailableError("no-compiler", f"hiprtcCreateProgram failed with {status.name}")
    flags = [option.encode() for option in options]
    (status,) = hiprtc.hiprtcCompileProgram(program, len(flags), flags)
    if status != 0:
        _, size = hiprtc.hiprtcGetProgramLogSize(program)
        log = bytearray(size)
        hiprtc.hiprtcGetProgramLog(program, log)
        raise RuntimeError(bytes(log).rstrip(b"\0").decode(errors="replace"))
    _, size = hiprtc.hiprtcGetCodeSize(program)
    code = bytearray(size)
    hiprtc.hiprtcGetCode(program, code)
    hiprtc.hiprtcDestroyProgram(program.createRef())
    return bytes(code)
