"""Arrays of any library: on which device and stream they are, taken for a call and given back.

DLPack says where an array lies. The odd thing: on a GPU there is a backend for each stream that an
array's library was found to be using, and each is used by one thread at a time.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hipgpt_kernels.hip.exchange import CPU, CUDA, CUDA_HOST, ROCM, ROCM_HOST
from hipgpt_kernels.select import BackendError, load_backend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hipgpt_kernels.backend import Backend


@dataclass(frozen=True)
class Place:
    """Where an array lies: DLPack's kind of device and its number."""

    kind: int
    index: int

    @property
    def on_gpu(self) -> bool:
        """Whether it is a GPU's memory."""
        return self.kind in (CUDA, ROCM)

    def __str__(self) -> str:
        return f"on GPU {self.index}" if self.on_gpu else "in the host's memory"


def place_of(op: str, name: str, array: Any) -> Place:
    """Where an array lies.

    Raises:
        TypeError: it is no array, or lies where nothing here computes.
    """
    if isinstance(array, np.ndarray):
        return Place(CPU, 0)
    if not hasattr(array, "__dlpack_device__"):
        raise TypeError(
            f"{op}: {name} is a {type(array).__name__}, expected an array of NumPy, PyTorch, CuPy "
            "or another library that speaks DLPack"
        )
    kind, index = (int(number) for number in array.__dlpack_device__())
    if kind in (CPU, CUDA_HOST, ROCM_HOST):
        return Place(CPU, 0)
    if kind not in (CUDA, ROCM):
        raise TypeError(
            f"{op}: {name} is on a device of DLPack's kind {kind}, expected the host's memory, "
            "CUDA or ROCm"
        )
    return Place(kind, index)


def common_place(op: str, arrays: dict[str, Any]) -> tuple[Place, Any]:
    """The one place of the arrays that are given, and the first of them.

    Raises:
        TypeError: there is none, or they lie in several.
    """
    first_name, first, place = "", None, None
    for name, array in arrays.items():
        if array is None:
            continue
        here = place_of(op, name, array)
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


def backend_at(where: tuple[Place, Any]) -> Backend:
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


def _stream(place: Place, array: Any) -> int | None:
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
def _active(place: Place, array: Any) -> Iterator[None]:
    """Make the device of an array its library's current one, and put the old one back."""
    name, library = type(array).__module__.partition(".")[0], _library(array)
    if name in ("torch", "cupy") and library is not None and place.on_gpu:
        make = library.cuda.device if name == "torch" else library.cuda.Device
        with make(place.index):
            yield
    else:
        yield


class Call:
    """The arrays of a call as its backend takes them, and the way back.

    Args:
        op: for messages.
        arrays: by the names that messages use; None for what is not given.
    """

    def __init__(self, op: str, **arrays: Any) -> None:
        arrays = {name: _detached(op, name, array) for name, array in arrays.items()}
        self._where = common_place(op, arrays)
        self._given = arrays
        self._taken: dict[str, Any] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Call:  # noqa: PYI034  # never subclassed
        place, example = self._where
        with contextlib.ExitStack() as stack:
            stack.enter_context(_active(place, example))
            self.backend = backend_at(self._where)
            stack.enter_context(_lock(self.backend))
            for name, array in self._given.items():
                self._taken[name] = None if array is None else self._take(array, place)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def __getitem__(self, name: str) -> Any:
        return self._taken[name]

    def _take(self, array: Any, place: Place) -> Any:
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
