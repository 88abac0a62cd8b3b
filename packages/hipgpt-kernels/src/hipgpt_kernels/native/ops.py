"""The ops that the compiled library takes over: check, then hand every worker its span.

The spans are of rows, or of columns where those are more: each worker packs the whole of the other
operand, so the larger side is the one to cut. Every function has the contract of its namesake in
`Backend`.
"""

from __future__ import annotations

import math
from ctypes import byref
from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.cpu.adamw import BLOCK as ADAMW_BLOCK
from hipgpt_kernels.cpu.adamw import factors
from hipgpt_kernels.cpu.cross_entropy import check_targets
from hipgpt_kernels.native.library import Epilogue, load_library

if TYPE_CHECKING:
    from hipgpt_kernels.backend import Activation
    from hipgpt_kernels.cpu.threads import Workers

KINDS = {None: 0, "gelu": 1, "relu": 2, "swiglu": 3}
FLOAT = 4
"""Bytes of a float32."""
LINE = 16
"""Floats of a cache line: no two workers write to one line."""


def address(array: np.ndarray | None) -> int | None:
    """Where an array begins, as C wants it."""
    return None if array is None else array.ctypes.data


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
    target = out
    if residual is not None and np.may_share_memory(residual, out):
        target = np.empty(shape, np.float32)  # else the product would overwrite the residual
    epilogue = Epilogue(
        bias=address(bias),
        activation=KINDS[activation],
        before=address(preactivation),
        ld_before=N,
        residual=address(residual),
        ld_residual=N,
    )
    multiply(workers, (M, N, K), a, b, target.ctypes.data, epilogue=epilogue)
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


def activation_forward(
    workers: Workers, x: np.ndarray, activation: Activation, *, out: np.ndarray | None = None
) -> np.ndarray:
    """See `Backend.activation_forward`."""
    shape = checks.activation_forward(x, activation, out)
    out = np.empty(shape, np.float32) if out is None else out
    function = load_library().hipgpt_activation_forward
    rows, columns, N = checks.rows(x), x.shape[-1], shape[-1]
    source, target, kind = x.ctypes.data, out.ctypes.data, KINDS[activation]

    def work(start: int, stop: int) -> None:
        function(
            source + FLOAT * start * columns, target + FLOAT * start * N, stop - start, N, kind
        )

    workers.run(work, rows, elements=x.size)
    return out


def activation_backward(
    workers: Workers,
    dout: np.ndarray,
    x: np.ndarray,
    activation: Activation,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """See `Backend.activation_backward`."""
    checks.activation_backward(dout, x, activation, out)
    out = np.empty(x.shape, np.float32) if out is None else out
    function = load_library().hipgpt_activation_backward
    rows, columns, N = checks.rows(x), x.shape[-1], dout.shape[-1]
    gradient, source, target = dout.ctypes.data, x.ctypes.data, out.ctypes.data
    kind = KINDS[activation]

    def work(start: int, stop: int) -> None:
        skip = FLOAT * start * columns
        function(gradient + FLOAT * start * N, source + skip, target + skip, stop - start, N, kind)

    workers.run(work, rows, elements=x.size)
    return out


def layernorm_forward(
    workers: Workers,
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    *,
    epsilon: float = 1e-5,
    out: np.ndarray | None = None,
    mean: np.ndarray | None = None,
    rstd: np.ndarray | None = None,
) -> np.ndarray:
    """See `Backend.layernorm_forward`."""
    M, E = checks.layernorm_forward(x, weight, bias, epsilon, out, mean, rstd)
    out = np.empty(x.shape, np.float32) if out is None else out
    function = load_library().hipgpt_layernorm_forward
    source, target = x.ctypes.data, out.ctypes.data
    gain, shift, means, rstds = map(address, (weight, bias, mean, rstd))

    def work(start: int, stop: int) -> None:
        skip = FLOAT * start * E
        function(
            source + skip, gain, shift, epsilon, target + skip,
            None if means is None else means + FLOAT * start,
            None if rstds is None else rstds + FLOAT * start,
            stop - start, E,
        )  # fmt: skip

    workers.run(work, M, elements=x.size)
    return out


def layernorm_backward(
    workers: Workers,
    dout: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    mean: np.ndarray,
    rstd: np.ndarray,
    dx: np.ndarray,
    dweight: np.ndarray,
    dbias: np.ndarray,
) -> None:
    """See `Backend.layernorm_backward`."""
    M, E = checks.layernorm_backward(dout, x, weight, mean, rstd, dx, dweight, dbias)
    function = load_library().hipgpt_layernorm_backward
    gradient, source, gain, target = (a.ctypes.data for a in (dout, x, weight, dx))
    means, rstds = mean.ctypes.data, rstd.ctypes.data
    partials: dict[int, np.ndarray] = {}

    def work(start: int, stop: int) -> None:
        sums = np.zeros((2, E), np.float32)
        skip = FLOAT * start * E
        function(
            gradient + skip, source + skip, gain, means + FLOAT * start, rstds + FLOAT * start,
            target + skip, sums.ctypes.data, sums.ctypes.data + FLOAT * E, stop - start, E,
        )  # fmt: skip
        partials[start] = sums

    workers.run(work, M, elements=x.size)
    for start in sorted(partials):  # in the order of the rows, whichever worker was done first
        dweight += partials[start][0]
        dbias += partials[start][1]


def cross_entropy_forward(
    workers: Workers,
    logits: np.ndarray,
    targets: np.ndarray,
    *,
    losses: np.ndarray | None = None,
    correct: np.ndarray | None = None,
) -> np.ndarray:
    """See `Backend.cross_entropy_forward`."""
    return cross_entropy("cross_entropy_forward", workers, logits, targets, None, losses, correct)


def cross_entropy_forward_backward(
    workers: Workers,
    logits: np.ndarray,
    targets: np.ndarray,
    scale: float,
    *,
    losses: np.ndarray | None = None,
    correct: np.ndarray | None = None,
) -> np.ndarray:
    """See `Backend.cross_entropy_forward_backward`."""
    op = "cross_entropy_forward_backward"
    return cross_entropy(op, workers, logits, targets, scale, losses, correct)


def cross_entropy(
    op: str,
    workers: Workers,
    logits: np.ndarray,
    targets: np.ndarray,
    scale: float | None,
    losses: np.ndarray | None,
    correct: np.ndarray | None,
) -> np.ndarray:
    """Both forms; with a scale the logits become their gradient."""
    M, V = checks.cross_entropy(op, logits, targets, losses, correct)
    check_targets(op, targets, V)
    losses = np.empty(M, np.float32) if losses is None else losses
    function = load_library().hipgpt_cross_entropy
    data, ids, results, marks = map(address, (logits, targets, losses, correct))
    assert data is not None
    assert ids is not None
    assert results is not None
    backward, factor = scale is not None, scale or 0.0

    def work(start: int, stop: int) -> None:
        skip = FLOAT * start
        function(
            data + skip * V, ids + skip, results + skip, None if marks is None else marks + skip,
            stop - start, V, backward, factor,
        )  # fmt: skip

    workers.run(work, M, elements=logits.size)
    return losses


def gradient_norm(workers: Workers, gradients: np.ndarray) -> np.ndarray:
    """See `Backend.gradient_norm`."""
    op = "gradient_norm"
    checks.floating(op, gradients=gradients)
    checks.dimensions(op, "gradients", gradients, 1, "(n,)")
    squares = load_library().hipgpt_squares
    data, sums = gradients.ctypes.data, {}

    def work(start: int, stop: int) -> None:
        sums[start] = squares(data + FLOAT * start, stop - start)

    workers.run(work, gradients.size, elements=gradients.size, multiple=ADAMW_BLOCK)
    total = sum(sums[start] for start in sorted(sums))
    if not math.isfinite(total):  # a square left float32's range, or a gradient is not finite
        total = float(np.square(gradients, dtype=np.float64).sum())
    return np.asarray(math.sqrt(total), np.float32)


def adamw_step(
    workers: Workers,
    weights: np.ndarray,
    gradients: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    *,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
    step: int,
    norm: np.ndarray | None = None,
    max_norm: float = 0.0,
) -> None:
    """See `Backend.adamw_step`."""
    n = checks.adamw(weights, gradients, m, v, step, beta1, beta2)
    use = factors(learning_rate, beta1, beta2, epsilon, weight_decay, step, norm, max_norm)
    if use is None:
        return
    function = load_library().hipgpt_adamw
    pointers = [array.ctypes.data for array in (weights, gradients, m, v)]

    def work(start: int, stop: int) -> None:
        skip = FLOAT * start
        function(
            *(pointer + skip for pointer in pointers), stop - start,
            use.scale, beta1, beta2, use.step_size, use.epsilon, use.keep,
        )  # fmt: skip

    workers.run(work, n, elements=n, multiple=ADAMW_BLOCK)
