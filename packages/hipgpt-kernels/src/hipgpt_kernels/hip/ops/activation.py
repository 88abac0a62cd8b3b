"""GELU in its two forms, ReLU and SwiGLU by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hipgpt_kernels import checks
from hipgpt_kernels.hip.kernel import INT, LONG, POINTER, Kernel
from hipgpt_kernels.hip.ops.seen import floating, variant

if TYPE_CHECKING:
    from hipgpt_kernels.backend import Activation
    from hipgpt_kernels.hip.array import DeviceArray
    from hipgpt_kernels.hip.backend import HipBackend

THREADS = 256
PACK_BYTES = 16
"""What a thread loads at once."""

FORWARD = {
    "gelu": Kernel("activation", "gelu_forward", POINTER, POINTER, LONG),
    "gelu_erf": Kernel("activation", "gelu_erf_forward", POINTER, POINTER, LONG),
    "relu": Kernel("activation", "relu_forward", POINTER, POINTER, LONG),
    "swiglu": Kernel("activation", "swiglu_forward", POINTER, POINTER, INT),
}
BACKWARD = {
    "gelu": Kernel("activation", "gelu_backward", *[POINTER] * 3, LONG),
    "gelu_erf": Kernel("activation", "gelu_erf_backward", *[POINTER] * 3, LONG),
    "relu": Kernel("activation", "relu_backward", *[POINTER] * 3, LONG),
    "swiglu": Kernel("activation", "swiglu_backward", *[POINTER] * 3, INT),
}


def shares(array: DeviceArray, activation: str, columns: int) -> tuple[int, int]:
    """Blocks of the grid, and the size that the kernel takes: elements, or columns of swiglu."""
    share = THREADS * PACK_BYTES // array.itemsize
    if activation == "swiglu":
        return checks.rows(array) * -(-columns // share), columns
    return -(-array.size // share), array.size


def activation_forward(
    backend: HipBackend,
    x: DeviceArray,
    activation: Activation,
    *,
    out: DeviceArray | None = None,
) -> DeviceArray:
    """See `Backend.activation_forward`."""
    suffix = variant("activation_forward", x=x, out=out)
    shape = checks.activation_forward(floating(x), activation, floating(out))
    out = backend.empty(shape, x.dtype) if out is None else out
    grid, size = shares(x, activation, shape[-1])
    FORWARD[activation].launch(backend, suffix, grid, THREADS, x, out, size)
    return out


def activation_backward(
    backend: HipBackend,
    dout: DeviceArray,
    x: DeviceArray,
    activation: Activation,
    *,
    out: DeviceArray | None = None,
) -> DeviceArray:
    """See `Backend.activation_backward`."""
    suffix = variant("activation_backward", dout=dout, x=x, out=out)
    checks.activation_backward(floating(dout), floating(x), activation, floating(out))
    out = backend.empty(x.shape, x.dtype) if out is None else out
    grid, size = shares(x, activation, dout.shape[-1])
    BACKWARD[activation].launch(backend, suffix, grid, THREADS, dout, x, out, size)
    return out
