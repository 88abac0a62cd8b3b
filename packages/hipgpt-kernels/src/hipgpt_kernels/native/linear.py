"""Matrix products by the compiled library, with what follows them."""

from __future__ import annotations

from ctypes import byref
from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.native.activation import activation_backward, activation_forward
from hipgpt_kernels.native.library import KINDS, Epilogue, address, load_library

if TYPE_CHECKING:
    from hipgpt_kernels.backend import Activation
    from hipgpt_kernels.cpu.threads import Workers


def multiply(
    workers: Workers,
    sizes: tuple[int, int, int],
    a: tuple[int, int, int],
    b: tuple[int, int, int],
    c: int,
    *,
    add: bool = False,
    epilogue: Epilogue | None = None,
) -> None:
    """C (M, N) = or += A (M, K) · B (K, N), each of a, b (address, row stride, column stride)."""
    follow = None if epilogue is None else byref(epilogue)
    load_library().hipgpt_gemm(workers.threads, *sizes, *a, *b, c, add, follow)


def linear_forward(
    workers: Workers,
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    activation: Activation | None = None,
    preactivation: np.ndarray | None = None,
    residual: np.ndarray | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """See `Backend.linear_forward`."""
    M, N, K, shape = checks.linear_forward(
        x, weight, bias, activation, preactivation, residual, out
    )
    out = np.empty(shape, np.float32) if out is None else out
    a, b = (x.ctypes.data, K, 1), (weight.ctypes.data, 1, K)
    if activation == "swiglu":  # halves the columns, so it cannot follow inside the product
        before = np.empty((M, N), np.float32) if preactivation is None else preactivation
        epilogue = Epilogue(bias=address(bias))
        multiply(workers, (M, N, K), a, b, before.ctypes.data, epilogue=epilogue)
        return activation_forward(workers, before.reshape(*shape[:-1], N), "swiglu", out=out)
    target, add = out, False
    if residual is not None and residual.ctypes.data == out.ctypes.data:
        residual, add = None, True  # the product is added to what is there
    elif residual is not None and np.may_share_memory(residual, out):
        target = np.empty(shape, np.float32)  # else the product would overwrite the residual
    epilogue = Epilogue(
        bias=address(bias),
        activation=KINDS[activation],
        before=address(preactivation),
        ld_before=N,
        residual=address(residual),
        ld_residual=N,
    )
    multiply(workers, (M, N, K), a, b, target.ctypes.data, add=add, epilogue=epilogue)
    if target is not out:
        out[...] = target
    return out


def linear_backward_input(
    workers: Workers,
    dout: np.ndarray,
    weight: np.ndarray,
    *,
    activation: Activation | None = None,
    preactivation: np.ndarray | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """See `Backend.linear_backward_input`."""
    M, N, K, shape = checks.linear_backward_input(dout, weight, activation, preactivation, out)
    out = np.empty(shape, np.float32) if out is None else out
    a, b = (dout.ctypes.data, N, 1), (weight.ctypes.data, K, 1)
    aliased = preactivation is not None and np.may_share_memory(preactivation, out)
    if preactivation is not None and (activation == "swiglu" or aliased):
        product = np.empty((*shape[:-1], K), np.float32)
        multiply(workers, (M, K, N), a, b, product.ctypes.data)
        return activation_backward(workers, product, preactivation, activation, out=out)  # type: ignore[arg-type]
    epilogue = None
    if preactivation is not None:
        epilogue = Epilogue(
            activation=KINDS[activation],
            backward=1,
            before=preactivation.ctypes.data,
            ld_before=K,
        )
    multiply(workers, (M, K, N), a, b, out.ctypes.data, epilogue=epilogue)
    return out


def linear_backward_weight(
    workers: Workers,
    dout: np.ndarray,
    x: np.ndarray,
    dweight: np.ndarray,
    dbias: np.ndarray | None = None,
) -> None:
    """See `Backend.linear_backward_weight`."""
    M, N, K = checks.linear_backward_weight(dout, x, dweight, dbias)
    a, b = (dout.ctypes.data, 1, N), (x.ctypes.data, K, 1)
    multiply(workers, (N, K, M), a, b, dweight.ctypes.data, add=True)
    if dbias is not None:
        load_library().hipgpt_add_rows(workers.threads, dout.ctypes.data, dbias.ctypes.data, M, N)
