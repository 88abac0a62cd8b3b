"""Choose the device, once and aloud, and say why it is not another one.

The odd thing: the CPU's thread count must be in the environment before NumPy is first imported,
because its matrix product reads it only then; so commands come here before anything else.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hipgpt_cli import human, say
from hipgpt_cli.errors import UserError
from hipgpt_cli.progress import stages

if TYPE_CHECKING:
    from hipgpt_kernels import Backend, BackendError

_BLAS_THREADS = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def open_device(name: str, threads: int | None, index: int = 0) -> Backend:
    """The backend that `--device` and `--threads` ask for.

    Args:
        name: "auto", "cpu" or "hip".
        threads: CPU threads; None is every core.
        index: number of the GPU.

    Raises:
        UserError: it cannot be used here; the sentence says why.
    """
    if threads is not None:
        os.environ.update(dict.fromkeys(_BLAS_THREADS, str(threads)))
    from hipgpt_kernels import BackendError, load_backend

    try:
        return load_backend(name, 0 if name == "cpu" else index, threads=threads)
    except BackendError as error:
        reason = _reason(error, name)
        raise UserError(f"--device {name} cannot be used: {reason}; --device cpu can") from error


def describe(backend: Backend, asked: str) -> str:
    """One line: the device, and for "auto" on the CPU why it is no GPU."""
    line = f"{backend.name}: {backend.description}"
    if asked == "auto" and backend.name == "cpu" and (reason := why_not("hip")):
        line += f" (no GPU: {reason})"
    return line


def why_not(name: str) -> str | None:
    """Why a backend cannot be used here; None if it can."""
    from hipgpt_kernels import BackendError, load_backend

    try:
        load_backend(name)
    except BackendError as error:
        return _reason(error, name)
    return None


def _reason(error: BackendError, name: str) -> str:
    """Why; what the library tells programmers to do, after the semicolon, is not for here."""
    return str(error).removeprefix(f"{name}: ").partition(";")[0]


def compile_kernels(backend: Backend, *, err: bool = False) -> None:
    """Compile what a GPU has no kernels for yet, all at once, and say that this takes a while.

    Args:
        backend: the device.
        err: say it on standard error, because the command's result is something else.

    Raises:
        UserError: they cannot be compiled; the sentence says why.
    """
    code = getattr(backend, "code", None)
    if code is None or not (missing := code.missing()):
        return
    from hipgpt_kernels.hip.code import CodeError

    text = f"compiling {len(missing)} for this GPU; they are kept for the next time"
    say.fact("Kernels", text, err=err)
    try:
        with stages() as show:
            code.prepare(lambda done, total: show("compile", done, total))
    except CodeError as error:
        raise UserError(str(error)) from error


def set_decode_weights(backend: Backend, kind: str) -> None:
    """Have a CPU write with rounded copies of the weights.

    Args:
        backend: the device.
        kind: "float32" leaves everything as it is; else "bf16" or "int8".

    Raises:
        UserError: the device has no such copies.
    """
    if kind == "float32":
        return
    if not hasattr(type(backend), "decode_weights"):
        which = "a GPU; --dtype bf16 is for those" if backend.name == "hip" else "plain NumPy"
        raise UserError(
            f"--decode-weights {kind} needs the compiled code of the CPU, and this is {which}"
        )
    setattr(backend, "decode_weights", kind)  # noqa: B010 - the contract does not have it


def check_memory(backend: Backend, needed: int, purpose: str, remedy: str) -> None:
    """Refuse what the device can never hold, before anything is allocated.

    Args:
        backend: the device.
        needed: bytes.
        purpose: what they are for: "training this model".
        remedy: which options need less.
    """
    _, total = backend.memory_info()
    if 0 < total < needed:
        raise UserError(
            f"{purpose} takes about {human.size(needed)} of memory and {backend.name} has "
            f"{human.size(total)}; {remedy} needs less"
        )
