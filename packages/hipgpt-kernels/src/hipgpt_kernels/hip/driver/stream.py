"""Work in order: streams and launches, events, captured graphs, loaded code, page-locked memory.

Everything here is destroyed with the object that holds it, and nothing while the interpreter ends.
"""

from __future__ import annotations

import contextlib
import ctypes
from typing import TYPE_CHECKING, Any

from hipgpt_kernels.hip.driver import calls
from hipgpt_kernels.hip.driver.calls import HipError, call, destroy_with, remedy
from hipgpt_kernels.hip.runtime import overlapped_launch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hipgpt_kernels.hip.driver.device import Device


class Event:
    """A point in a stream's work."""

    def __init__(self, *, timing: bool = True) -> None:
        flag = "hipEventDefault" if timing else "hipEventDisableTiming"
        self.handle = call("hipEventCreateWithFlags", int(getattr(calls.hip(), flag)))
        destroy_with(self, "hipEventDestroy", self.handle)

    def record(self, stream: Stream) -> None:
        """Take place after what the stream has been given so far."""
        call("hipEventRecord", self.handle, stream.handle)

    def synchronize(self) -> None:
        """Wait until it has taken place."""
        call("hipEventSynchronize", self.handle)

    def milliseconds_since(self, earlier: Event) -> float:
        """Device time between two events that were recorded with timing."""
        self.synchronize()
        return float(call("hipEventElapsedTime", earlier.handle, self.handle))


class Stream:
    """Work that a device does in order.

    One of our own waits for the legacy default stream and makes that wait for it, which is what
    PyTorch and CuPy use unless told otherwise: arrays go to and fro without a word about order.

    Args:
        device: whose stream.
        address: another library's stream (hipStream_t or CUstream as a number) to work on, which
            must outlive this; 0 is the legacy default stream. None makes a new one.
    """

    def __init__(self, device: Device, address: int | None = None) -> None:
        device.activate()
        self.device = device
        self.handle: Any = address
        if address is None:
            self.handle = call("hipStreamCreateWithFlags", int(calls.hip().hipStreamDefault))
            destroy_with(self, "hipStreamDestroy", self.handle)
        self.address = int(self.handle)
        """hipStream_t (CUstream) as a number, for other libraries."""
        self.follows_default = address is None or address == 0
        """Is it in order with the legacy default stream? Of another library's we cannot know."""
        kinds = calls.hip().hipMemcpyKind
        self._to_device = kinds.hipMemcpyHostToDevice
        self._to_host = kinds.hipMemcpyDeviceToHost
        self._within = kinds.hipMemcpyDeviceToDevice

    def copy_to_device(self, destination: int, source: int, nbytes: int) -> None:
        """Host to device. Pinned memory must stay as it is until the stream has got there."""
        call("hipMemcpyAsync", destination, source, nbytes, self._to_device, self.handle)

    def copy_to_host(self, destination: int, source: int, nbytes: int) -> None:
        """Device to host; the host may look after `synchronize`."""
        call("hipMemcpyAsync", destination, source, nbytes, self._to_host, self.handle)

    def copy_on_device(self, destination: int, source: int, nbytes: int) -> None:
        """Device to device; the two ranges must not overlap."""
        call("hipMemcpyAsync", destination, source, nbytes, self._within, self.handle)

    def set_bytes(self, destination: int, value: int, nbytes: int) -> None:
        """Every byte becomes `value`."""
        call("hipMemsetAsync", destination, value, nbytes, self.handle)

    def launch(
        self,
        function: Any,
        grid: tuple[int, int, int],
        threads: int,
        shared: int,
        extra: Any,
        *,
        overlapped: bool = False,
    ) -> None:
        """Launch a kernel; `extra` is a C array of five words (see `kernel`).

        `overlapped`: it may begin before the one before it has ended; see csrc/overlap.h.
        """
        if overlapped and self.device.overlaps:
            status = overlapped_launch()(
                int(function), *grid, threads, shared, self.address, ctypes.addressof(extra)
            )
            if status != 0:
                name = calls.hip().hipError_t(status).name
                raise HipError("hipModuleLaunchKernel", name, remedy(name))
            return
        call(
            "hipModuleLaunchKernel",
            function,
            *grid,
            threads,
            1,
            1,
            shared,
            self.handle,
            None,
            extra,
        )

    def wait(self, event: Event) -> None:
        """Go on only after the event."""
        call("hipStreamWaitEvent", self.handle, event.handle, 0)

    def synchronize(self) -> None:
        """Wait until everything given to it is done."""
        call("hipStreamSynchronize", self.handle)

    @contextlib.contextmanager
    def capture(self) -> Iterator[Graph]:
        """What is given to the stream inside is not done but becomes the graph.

        Anything that waits for the device is an error inside.
        """
        # Relaxed: an allocation inside is allowed, and other threads are not held up.
        mode = calls.hip().hipStreamCaptureMode.hipStreamCaptureModeRelaxed
        graph = Graph(self)
        call("hipStreamBeginCapture", self.handle, mode)
        try:
            yield graph
        except BaseException:
            with contextlib.suppress(HipError):  # the first error is the one to see
                call("hipGraphDestroy", call("hipStreamEndCapture", self.handle))
            raise
        captured = call("hipStreamEndCapture", self.handle)
        try:
            graph.handle = call("hipGraphInstantiateWithFlags", captured, 0)
            destroy_with(graph, "hipGraphExecDestroy", graph.handle)
        finally:
            call("hipGraphDestroy", captured)


class Graph:
    """Captured work that is launched as one; see `Stream.capture`."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.handle: Any = None
        self.kept: list[Any] = []
        """Whatever must live as long as the graph: memory that it reads or writes."""

    def launch(self) -> None:
        """Give the whole of it to its stream again.

        Raises:
            RuntimeError: its capture did not come to an end.
        """
        if self.handle is None:
            raise RuntimeError("the graph was not captured to its end and cannot be launched")
        call("hipGraphLaunch", self.handle, self.stream.handle)


class Module:
    """A code object that a device has loaded."""

    def __init__(self, device: Device, image: bytes) -> None:
        device.activate()
        self._image = image  # the runtime may read it later than now
        self.handle = call("hipModuleLoadData", image)

    def function(self, name: str) -> Any:
        """A kernel, for `Stream.launch`."""
        return call("hipModuleGetFunction", self.handle, name.encode())


class Pinned:
    """Page-locked host memory, which the device copies from and to by itself."""

    def __init__(self, nbytes: int) -> None:
        self.handle = call("hipHostMalloc", nbytes, 0)
        destroy_with(self, "hipHostFree", self.handle)
        self.pointer = int(self.handle)
