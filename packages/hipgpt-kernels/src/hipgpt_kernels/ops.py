"""The ops as plain functions of the arrays you have: NumPy's, PyTorch's, CuPy's, or our own.

    >>> import numpy as np
    >>> from hipgpt_kernels import ops
    >>> ops.linear(np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)).shape
    (2, 4)

Arrays in the host's memory are computed on the CPU, arrays on a GPU by that GPU; nothing is copied,
and what comes back is an array of the library that the first argument came from. The odd thing: on
a GPU the kernels go to the stream that PyTorch or CuPy is using at that moment, so nobody waits for
anybody and the order is that of the program. docs/reuse.md has examples.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.select import BackendError, load_backend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hipgpt_kernels.backend import Activation, Array, Backend

__all__ = [
    "attention",
    "attention_backward",
    "backend_for",
    "cross_entropy",
    "cross_entropy_gradient",
    "linear",
    "linear_backward",
    "synchronize",
]

HOST, CUDA, HOST_PINNED, ROCM, ROCM_PINNED = 1, 2, 3, 10, 11
"""DLPack's kinds of devices."""


# --- the ops ----------------------------------------------------------------------------------


def attention(
    q: Array, k: Array, v: Array, *, out: Array | None = None, lse: Array | None = None
) -> Array:
    """Causal self-attention, per head: out[t] = Σ_{s ≤ t} softmax_s(q[t]·k[s] / √D) · v[s].

    Args:
        q: (B, T, H, D); views are welcome, only the last dimension must be contiguous. float32, or
            on a GPU bfloat16 or float16 too.
        k: (B, T, H, D), of q's dtype.
        v: (B, T, H, D), of q's dtype.
        out: (B, T, H, D), written and returned; None makes one.
        lse: (B, H, T) float32, written where given: what `attention_backward` needs.

    Raises:
        TypeError: something is no array, has another dtype, or lies on another device.
        ValueError: a shape is wrong.
        BackendError: the device that the arrays are on cannot be used.
    """
    with _Call("attention", q=q, k=k, v=v, out=out, lse=lse) as call:
        result = call.backend.attention_forward(
            call["q"], call["k"], call["v"], out=call["out"], lse=call["lse"]
        )
        return call.give(result, out)


def attention_backward(
    dout: Array, q: Array, k: Array, v: Array, out: Array, lse: Array
) -> tuple[Array, Array, Array]:
    """The gradients dq, dk, dv of `attention`, each (B, T, H, D).

    Args:
        dout: (B, T, H, D), the gradient of out.
        q: (B, T, H, D), as `attention` had it; k and v likewise.
        k: (B, T, H, D).
        v: (B, T, H, D).
        out: (B, T, H, D), what `attention` gave.
        lse: (B, H, T) float32, what it wrote.

    Raises:
        TypeError, ValueError, BackendError: as `attention`.
    """
    with _Call("attention_backward", dout=dout, q=q, k=k, v=v, out=out, lse=lse) as call:
        shape, dtype = tuple(call["q"].shape), call["q"].dtype
        gradients = [call.backend.empty(shape, dtype) for _ in range(3)]
        arrays = [call[name] for name in ("dout", "q", "k", "v", "out", "lse")]
        call.backend.attention_backward(*arrays, *gradients)
        dq, dk, dv = (call.give(gradient) for gradient in gradients)
        return dq, dk, dv


def linear(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    activation: Activation | None = None,
    preactivation: Array | None = None,
    residual: Array | None = None,
    out: Array | None = None,
) -> Array:
    """activation(x · weightᵀ + bias) + residual.

    Args:
        x: (*, K), contiguous. float32, or on a GPU bfloat16 or float16 too.
        weight: (N, K), as in PyTorch.
        bias: (N,) or None.
        activation: None, "gelu" (the tanh form), "relu", or "swiglu", which halves the columns.
        preactivation: (*, N), written with x · weightᵀ + bias; only with an activation.
        residual: the shape of the result, or None; not together with an activation.
        out: (*, N), or (*, N / 2) for "swiglu", written and returned; None makes one.

    Raises:
        TypeError, ValueError, BackendError: as `attention`.
    """
    with _Call(
        "linear",
        x=x, weight=weight, bias=bias, preactivation=preactivation, residual=residual, out=out,
    ) as call:  # fmt: skip
        result = call.backend.linear_forward(
            call["x"],
            call["weight"],
            call["bias"],
            activation=activation,
            preactivation=call["preactivation"],
            residual=call["residual"],
            out=call["out"],
        )
        return call.give(result, out)


def linear_backward(
    dout: Array, x: Array, weight: Array, *, bias: bool = True
) -> tuple[Array, Array, Array | None]:
    """The gradients dx, dweight and dbias of `linear` without an activation.

    dweight and dbias are float32 whatever x is, so that many of them can be added up.

    Args:
        dout: (*, N), the gradient of the result.
        x: (*, K), as `linear` had it.
        weight: (N, K), as `linear` had it.
        bias: whether the gradient of a bias is wanted; without, the third result is None.

    Raises:
        TypeError, ValueError, BackendError: as `attention`.
    """
    with _Call("linear_backward", dout=dout, x=x, weight=weight) as call:
        backend = call.backend
        checks.dimensions("linear_backward", "weight", call["weight"], 2, "(N, K)")
        dx = backend.linear_backward_input(call["dout"], call["weight"])
        dweight = backend.zeros(tuple(call["weight"].shape))
        dbias = backend.zeros((call["weight"].shape[0],)) if bias else None
        backend.linear_backward_weight(call["dout"], call["x"], dweight, dbias)
        return call.give(dx), call.give(dweight), None if dbias is None else call.give(dbias)


def cross_entropy(
    logits: Array,
    targets: Array,
    *,
    losses: Array | None = None,
    correct: Array | None = None,
) -> Array:
    """The loss of each row in nats: logsumexp(logits) − logits[target].

    Args:
        logits: (*, V), contiguous. float32, or on a GPU bfloat16 or float16 too.
        targets: (*,) int32, each in [0, V), or −1 for a row that does not count: its loss is 0. On
            a GPU an id out of range is reported by `synchronize`.
        losses: (*,) float32, written and returned; None makes one.
        correct: (*,) float32, written where given: 1 where the target has the largest logit.

    Raises:
        TypeError, ValueError, BackendError: as `attention`.
    """
    with _Call(
        "cross_entropy", logits=logits, targets=targets, losses=losses, correct=correct
    ) as call:
        rows, shape = _rows("cross_entropy", call)
        result = call.backend.cross_entropy_forward(
            rows["logits"], rows["targets"], losses=rows["losses"], correct=rows["correct"]
        )
        return call.give(result.reshape(shape), losses)


def cross_entropy_gradient(
    logits: Array,
    targets: Array,
    scale: float | None = None,
    *,
    losses: Array | None = None,
    correct: Array | None = None,
) -> Array:
    """As `cross_entropy`, and logits becomes its own gradient, in place.

    logits[m, j] = scale · (softmax(logits[m])[j] − [j = targets[m]]); 0 where the target is −1.

    Args:
        logits: (*, V), contiguous; overwritten.
        targets: (*,) int32, as in `cross_entropy`.
        scale: the gradient of each row's loss; None is 1 / rows, for the mean of the losses.
        losses: (*,) float32, written and returned; None makes one.
        correct: (*,) float32, written where given.

    Raises:
        TypeError, ValueError, BackendError: as `attention`.
    """
    op = "cross_entropy_gradient"
    with _Call(op, logits=logits, targets=targets, losses=losses, correct=correct) as call:
        rows, shape = _rows(op, call)
        count = int(rows["logits"].shape[0])
        result = call.backend.cross_entropy_forward_backward(
            rows["logits"],
            rows["targets"],
            1 / max(count, 1) if scale is None else scale,
            losses=rows["losses"],
            correct=rows["correct"],
        )
        return call.give(result.reshape(shape), losses)


def _rows(op: str, call: _Call) -> tuple[dict[str, Array], tuple[int, ...]]:
    """The arrays with all leading dimensions as one, and what those dimensions were."""
    logits = call["logits"]
    if len(logits.shape) == 0:
        raise ValueError(f"{op}: logits has no dimensions, expected (*, V)")
    lead = tuple(int(size) for size in logits.shape[:-1])
    rows: dict[str, Array] = {}
    for name in ("logits", "targets", "losses", "correct"):
        array = call[name]
        if array is None:
            rows[name] = None
            continue
        checks.contiguous(op, name, array)
        shape = logits.shape if name == "logits" else lead
        checks.shape(op, name, array, tuple(shape), "(*, V)" if name == "logits" else "(*,)")
        rows[name] = array.reshape((-1, shape[-1]) if name == "logits" else (-1,))
    return rows, lead


def synchronize(*arrays: Array) -> None:
    """Wait until the device of these arrays is done, and raise what its kernels have reported.

    Raises:
        ValueError: an id was out of range in an op since the last call.
        HipError: the device failed.
    """
    backend_for(*arrays).synchronize()


# --- which backend ----------------------------------------------------------------------------


def backend_for(*arrays: Array) -> Backend:
    """The backend that `ops` uses for these arrays: everything else in its contract is there too.

    On a GPU it works on the stream that the arrays' library is using now. Backends are kept, one
    for the CPU and one for each GPU and stream.

    Raises:
        TypeError: no array, or arrays on several devices.
        BackendError: the device cannot be used.
    """
    return _backend(_places("backend_for", {str(i): one for i, one in enumerate(arrays)}))


@dataclass(frozen=True)
class _Place:
    """Where an array lies: DLPack's kind of device and its number."""

    kind: int
    index: int

    @property
    def on_gpu(self) -> bool:
        return self.kind in (CUDA, ROCM)

    def __str__(self) -> str:
        return f"on GPU {self.index}" if self.on_gpu else "in the host's memory"


def _place(op: str, name: str, array: Any) -> _Place:
    """Where an array lies.

    Raises:
        TypeError: it is no array, or lies where nothing here computes.
    """
    if isinstance(array, np.ndarray):
        return _Place(HOST, 0)
    if not hasattr(array, "__dlpack_device__"):
        raise TypeError(
            f"{op}: {name} is a {type(array).__name__}, expected an array of NumPy, PyTorch, CuPy "
            "or another library that speaks DLPack"
        )
    kind, index = (int(number) for number in array.__dlpack_device__())
    if kind in (HOST, HOST_PINNED, ROCM_PINNED):
        return _Place(HOST, 0)
    if kind not in (CUDA, ROCM):
        raise TypeError(
            f"{op}: {name} is on a device of DLPack's kind {kind}, expected the host's memory, "
            "CUDA or ROCm"
        )
    return _Place(kind, index)


def _places(op: str, arrays: dict[str, Any]) -> tuple[_Place, Any]:
    """The one place of the arrays that are given, and the first of them.

    Raises:
        TypeError: there is none, or they lie in several.
    """
    first_name, first, place = "", None, None
    for name, array in arrays.items():
        if array is None:
            continue
        here = _place(op, name, array)
        if place is None:
            first_name, first, place = name, array, here
        elif here != place:
            raise TypeError(
                f"{op}: {name} is {here} and {first_name} {place}; expected all arrays on one "
                "device: move them there first"
            )
    if place is None:
        raise TypeError(f"{op}: no array was given, expected at least one")
    return place, first


_made: dict[tuple[int, int], Backend] = {}
"""GPU backends by device and stream."""
_making = threading.Lock()


@functools.cache
def _cpu() -> Backend:
    return load_backend("cpu")


def _backend(where: tuple[_Place, Any]) -> Backend:
    """The backend for a place and the library of an array there."""
    place, array = where
    if not place.on_gpu:
        return _cpu()
    stream = _stream(place, array)
    key = (place.index, -1 if stream is None else stream)
    with _making:
        if key not in _made:
            _made[key] = _hip(place.index, stream)
        return _made[key]


def _hip(index: int, stream: int | None) -> Backend:
    from hipgpt_kernels.hip.driver import HipError
    from hipgpt_kernels.hip.runtime import UnavailableError, prepare_library

    try:
        prepare_library()
        from hipgpt_kernels.hip.backend import HipBackend

        return HipBackend(index, stream=stream)
    except (UnavailableError, HipError) as error:
        raise BackendError(f"hip: {error}") from error


def _library(array: Any) -> Any:
    """The top module of an array's library, which has been imported, or None."""
    return sys.modules.get(type(array).__module__.partition(".")[0])


def _stream(place: _Place, array: Any) -> int | None:
    """The stream that an array's library is using now; None where it does not say."""
    name, library = type(array).__module__.partition(".")[0], _library(array)
    if name == "torch" and library is not None:
        return int(library.cuda.current_stream(place.index).cuda_stream)
    if name == "cupy" and library is not None:
        return int(library.cuda.get_current_stream().ptr)
    if name == __name__.partition(".")[0]:
        return int(array.stream.address)
    return None


@contextlib.contextmanager
def _active(place: _Place, array: Any) -> Iterator[None]:
    """Make the device of an array its library's current one, and put the old one back."""
    name, library = type(array).__module__.partition(".")[0], _library(array)
    if name in ("torch", "cupy") and library is not None and place.on_gpu:
        make = library.cuda.device if name == "torch" else library.cuda.Device
        with make(place.index):
            yield
    else:
        yield


# --- one call ---------------------------------------------------------------------------------


class _Call:
    """The arrays of a call as its backend takes them, and the way back.

    Args:
        op: for messages.
        arrays: by the names that messages use; None for what is not given.
    """

    def __init__(self, op: str, **arrays: Any) -> None:
        arrays = {name: _detached(op, name, array) for name, array in arrays.items()}
        self._where = _places(op, arrays)
        self._given = arrays
        self._taken: dict[str, Any] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> _Call:  # noqa: PYI034  # private, never subclassed
        place, example = self._where
        with contextlib.ExitStack() as stack:
            stack.enter_context(_active(place, example))
            self.backend = _backend(self._where)
            stack.enter_context(_lock(self.backend))
            for name, array in self._given.items():
                self._taken[name] = None if array is None else self._take(array, place)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def __getitem__(self, name: str) -> Any:
        return self._taken[name]

    def _take(self, array: Any, place: _Place) -> Any:
        if place.on_gpu:
            backend: Any = self.backend
            backend.device.activate()
            return backend.adopt(array)
        if isinstance(array, np.ndarray):
            return array
        try:
            return np.asarray(array)
        except TypeError as error:  # PyTorch's bfloat16, which NumPy lacks
            raise TypeError(f"the CPU computes in float32: {error}") from error

    def give(self, result: Any, out: Any = None) -> Any:
        """A result as an array of the caller's library; `out` itself where it was given."""
        if out is not None:
            return out
        _, example = self._where
        library = _library(example)
        same = isinstance(example, np.ndarray) or type(example) is type(result)
        if same or not hasattr(library, "from_dlpack"):
            return result
        return library.from_dlpack(result)


_locks: dict[int, threading.Lock] = {}


def _lock(backend: Backend) -> threading.Lock:
    """A backend belongs to one thread at a time; PyTorch runs backward in another."""
    with _making:
        return _locks.setdefault(id(backend), threading.Lock())


def _detached(op: str, name: str, array: Any) -> Any:
    """A PyTorch tensor without its history.

    Raises:
        TypeError: it wants a gradient, which nobody here would compute.
    """
    if not getattr(array, "requires_grad", False):
        return array
    library = _library(array)
    if library is not None and library.is_grad_enabled():
        raise TypeError(
            f"{op}: {name} requires a gradient and these functions record none; call it inside a "
            f"torch.autograd.Function or torch.no_grad(), or give {name}.detach()"
        )
    return array.detach()
