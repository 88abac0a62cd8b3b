"""Where the time goes: every op of a backend, and on a GPU every kernel, with how long it took.

    with record(backend) as recording:
        trainer.train_step()
    recording.spans

On the CPU the ops are timed from outside. On a GPU each launch and copy is put between two events.
The odd thing: a GPU that waits for Python between two small kernels would look slow, so it is first
given something to do for `head_start_ms`, in which Python runs ahead; and what two events cost by
themselves is measured and taken off.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hipgpt_kernels.backend import Backend

NOT_TIMED = frozenset(
    {"empty", "compute_dtype", "memory_info", "capture", "can_capture", "adopt", "decode_loop"}
)
"""Methods of a backend that do no work worth a line."""
EMPTY_PAIRS = 21
"""Pairs of events with nothing between them, for what they cost."""
BUSY_BYTES = 256 << 20
"""Most memory that the head start fills again and again."""


@dataclass(frozen=True)
class Span:
    """One piece of work.

    Attributes:
        op: the backend's method that asked for it.
        kernel: the GPU's kernel, or "copy to device" and the like; the op's own name on the CPU.
        milliseconds: how long it took; ops that an op calls are not counted in it.
    """

    op: str
    kernel: str
    milliseconds: float


@dataclass
class Recording:
    """What happened; complete once its `with` block is left.

    Attributes:
        spans: in the order in which they were asked for.
        event_ms: what a pair of events costs, already taken off; 0 on the CPU.
    """

    spans: list[Span] = field(default_factory=list)
    event_ms: float = 0.0

    @property
    def milliseconds(self) -> float:
        """The sum over all spans."""
        return sum(span.milliseconds for span in self.spans)


@contextlib.contextmanager
def record(backend: Backend, *, head_start_ms: float = 0.0) -> Iterator[Recording]:
    """Time what a backend does inside the block. Nothing in it may be captured as a graph.

    Args:
        backend: the device; it works as before when the block is left.
        head_start_ms: on a GPU: keep it busy so long before the block's first work. At least as
            long as Python takes to ask for all of it, where the figures of small kernels matter.
    """
    recording = Recording()
    names: list[str] = []
    if hasattr(backend, "stream"):
        hooks: Any = _GpuHooks(backend, names, recording)
    else:
        hooks = _CpuHooks(recording)
    with contextlib.ExitStack() as stack:
        stack.callback(hooks.finish)
        for name in _ops(backend):
            original = getattr(backend, name)
            setattr(backend, name, _timed(name, original, names, hooks))
            stack.callback(_restore, backend, name)
        hooks.begin(stack, head_start_ms)
        yield recording


def keep_busy(backend: Any, milliseconds: float) -> None:
    """Have a GPU fill memory over and over, for about that long; it waits for nothing else."""
    from hipgpt_kernels.hip.driver import Event

    stream = backend.stream
    free, _ = backend.memory_info()
    array = backend.empty((min(BUSY_BYTES, free // 8),), "uint8")
    before, after = Event(), Event()
    stream.set_bytes(array.pointer, 0, array.nbytes)
    before.record(stream)
    stream.set_bytes(array.pointer, 0, array.nbytes)
    after.record(stream)
    one = max(after.milliseconds_since(before), 1e-3)
    for _ in range(int(milliseconds / one) + 1):
        stream.set_bytes(array.pointer, 0, array.nbytes)


def _ops(backend: Backend) -> list[str]:
    """Public methods of the contract."""
    from hipgpt_kernels.backend import Backend

    return [
        name
        for name in dir(Backend)
        if not name.startswith("_") and name not in NOT_TIMED and callable(getattr(backend, name))
    ]


def _restore(owner: Any, name: str) -> None:
    """The class's own method shows again."""
    vars(owner).pop(name, None)


def _timed(
    name: str, original: Callable[..., Any], names: list[str], hooks: Any
) -> Callable[..., Any]:
    def op(*args: Any, **keywords: Any) -> Any:
        names.append(name)
        hooks.enter(name)
        try:
            return original(*args, **keywords)
        finally:
            hooks.leave(name)
            names.pop()

    return op


class _CpuHooks:
    """Wall clock around each op, less that of the ops inside it."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.open: list[list[float]] = []  # of each op that is running: began, spent inside others

    def begin(self, stack: contextlib.ExitStack, head_start_ms: float) -> None:
        """Nothing to prepare."""

    def enter(self, name: str) -> None:  # noqa: ARG002  # as the GPU's
        self.open.append([time.perf_counter(), 0.0])

    def leave(self, name: str) -> None:
        began, inside = self.open.pop()
        took = time.perf_counter() - began
        if self.open:
            self.open[-1][1] += took
        self.recording.spans.append(Span(name, name, (took - inside) * 1e3))

    def finish(self) -> None:
        """Everything is there already."""


class _GpuHooks:
    """Two events around each launch, copy and fill of the backend's stream."""

    COPIES = (
        ("copy_to_device", "copy to device"),
        ("copy_to_host", "copy to host"),
        ("copy_on_device", "copy on device"),
        ("set_bytes", "set bytes"),
    )

    def __init__(self, backend: Any, names: list[str], recording: Recording) -> None:
        self.backend, self.names, self.recording = backend, names, recording
        self.taken: list[tuple[str, str, Any, Any]] = []
        self.pairs: list[tuple[Any, Any]] = []
        self.kernel = ""

    def begin(self, stack: contextlib.ExitStack, head_start_ms: float) -> None:
        """Put the hooks in place, and the GPU to work."""
        backend, stream = self.backend, self.backend.stream
        function, launch = backend.function, stream.launch
        if head_start_ms > 0:
            keep_busy(backend, head_start_ms)
        self.pairs = [self._around(lambda: None) for _ in range(EMPTY_PAIRS)]

        def named(stem: str, name: str) -> Any:
            self.kernel = name
            return function(stem, name)

        def launched(*args: Any, **keywords: Any) -> None:
            self._add(self.kernel, lambda: launch(*args, **keywords))

        backend.function = named
        stack.callback(setattr, backend, "function", function)
        stream.launch = launched
        stack.callback(_restore, stream, "launch")
        for method, words in self.COPIES:
            setattr(stream, method, self._copy(getattr(stream, method), words))
            stack.callback(_restore, stream, method)

    def enter(self, name: str) -> None:
        """The launches are timed, not the op."""

    def leave(self, name: str) -> None:
        """Nor its end."""

    def finish(self) -> None:
        """Wait, and read the events. Called after everything was put back."""
        self.backend.stream.synchronize()
        empty = [after.milliseconds_since(before) for before, after in self.pairs]
        cost = statistics.median(empty) if empty else 0.0
        self.recording.event_ms = cost
        for op, kernel, before, after in self.taken:
            took = max(0.0, after.milliseconds_since(before) - cost)
            self.recording.spans.append(Span(op, kernel, took))

    def _around(self, work: Callable[[], None]) -> tuple[Any, Any]:
        from hipgpt_kernels.hip.driver import Event

        before, after = Event(), Event()
        before.record(self.backend.stream)
        work()
        after.record(self.backend.stream)
        return before, after

    def _add(self, kernel: str, work: Callable[[], None]) -> None:
        op = self.names[0] if self.names else ""
        self.taken.append((op, kernel, *self._around(work)))

    def _copy(self, original: Callable[..., None], words: str) -> Callable[..., None]:
        def copied(*args: Any) -> None:
            self._add(words, lambda: original(*args))

        return copied
