"""Matrix products by the compiled library.

Workers get spans of rows, or of columns where those are more: each packs the whole of the other
operand, so the larger side is the one to cut.
"""

from __future__ import annotations

from ctypes import byref
from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.native.activation import activation_backward, activation_forward
from hipgpt_kernels.native.library import FLOAT, KINDS, LINE, Epilogue, address, load_library

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
    M, N, K = sizes
    gemm = load_library().hipgpt_gemm
    by_rows = M >= N

    def work(start: int, stop: int) -> None:
        part = epilogue
        if epilogue is not None and start:
            part = shifted(epilogue, start, rows=by_rows)
        pointer = None if part is None else byref(part)
        if by_rows:
            gemm(
                stop - start, N, K, a[0] + FLOAT * start * a[1], a[1], a[2], *b,
                c + FLOAT * start * N, N, add, pointer,
            )  # fmt: skip
        else:
            gemm(
                M, stop - start, K, *a, b[0] + FLOAT * start * b[2], b[1], b[2],
                c + FLOAT * start, N, add, pointer,
            )  # fmt: skip

    workers.run(work, M if by_rows else N, elements=M * N * K // 16, multiple=LINE)


def shifted(epilogue: Epilogue, start: int, *, rows: bool) -> Epilogue:
    """The epilogue as seen from row or column `start`."""
    part = Epilogue.from_buffer_copy(epilogue)
    if part.before:
        part.before += FLOAT * start * (part.ld_before if rows else 1)
    if part.residual:
        part.residual += FLOAT * start * (part.ld_residual if rows else 1)
    if part.bias and not rows:
        part.bias += FLOAT * start
    return part


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
        add_rows = load_library().hipgpt_add_rows
        data, target = dout.ctypes.data, dbias.ctypes.data

        def work(start: int, stop: int) -> None:
            add_rows(data + FLOAT * start, N, target + FLOAT * start, M, stop - start)

        workers.run(work, N, elements=M * N, multiple=LINE)
