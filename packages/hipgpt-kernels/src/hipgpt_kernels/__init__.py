"""GPT operations, forward and backward, behind one contract: HIP kernels and a NumPy twin.

    >>> from hipgpt_kernels import load_backend
    >>> backend = load_backend("cpu")
    >>> backend.add(backend.zeros((2,)), backend.zeros((2,)))
    array([0., 0.], dtype=float32)

Importing touches no device and does not even import NumPy; `load_backend` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hipgpt_kernels.select import BackendError, load_backend

if TYPE_CHECKING:
    from hipgpt_kernels.arena import Arena
    from hipgpt_kernels.backend import Activation, Array, Backend

__all__ = ["Activation", "Arena", "Array", "Backend", "BackendError", "load_backend"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "Arena":
        from hipgpt_kernels.arena import Arena

        return Arena
    if name in ("Activation", "Array", "Backend"):
        from hipgpt_kernels import backend

        return getattr(backend, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
