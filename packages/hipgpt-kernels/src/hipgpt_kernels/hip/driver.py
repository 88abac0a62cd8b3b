"""The only import of hip-python: devices, memory, streams, events, modules, launches, graphs.

Every call of the runtime goes through `call`, which raises `HipError` and hands out results only
after the status was looked at (hip-python leaves garbage in them otherwise). The odd thing: on a
machine with a CUDA driver and no ROCm the same module drives an NVIDIA GPU, because `runtime` has
then loaded a libamdhip64.so of our own first.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hipgpt_kernels.hip import presence
from hipgpt_kernels.hip.runtime import (
    CLEAR_CACHE,
    UnavailableError,
    overlapped_launch,
    prepare_library,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

FAMILIES = ("gfx90a", "gfx94", "gfx95", "gfx103", "gfx11", "gfx12", "sm_")
"""How the names of architectures begin that the kernels are written for."""
FIRST_OVERLAPPING_SM = 90
"""From here on a kernel may begin before the one before it has ended (csrc/overlap.h)."""
OLDEST_SM = 80
"""The kernels need bfloat16 and asynchronous copies: Ampere and later."""

BAD_MEMORY = (
    "a kernel touched memory outside its arrays and the GPU's context is lost: restart the "
    "program, and report the op and its shapes"
)
NO_WAITING = "do nothing that waits for the GPU while a graph is captured"
REMEDIES = {
    "hipErrorIllegalAddress": BAD_MEMORY,
    "hipErrorLaunchFailure": BAD_MEMORY,
    "hipErrorNoBinaryForGpu": f"the code object is for another GPU or damaged: {CLEAR_CACHE}",
    "hipErrorInvalidImage": f"the code object is for another GPU or damaged: {CLEAR_CACHE}",
    "hipErrorInvalidDevice": "choose a device number that exists",
    "hipErrorNoDevice": "see whether rocminfo or nvidia-smi lists a GPU",
    "hipErrorInsufficientDriver": "update the GPU's driver: it is older than the runtime",
    "hipErrorNotSupported": "this GPU or its driver cannot do that; a newer driver may",
    "hipErrorStreamCaptureUnsupported": NO_WAITING,
    "hipErrorStreamCaptureInvalidated": NO_WAITING,
    "hipErrorNotFound": f"the code object has no such kernel: {CLEAR_CACHE}",
    "hipErrorLaunchOutOfResources": "the kernel needs more registers or LDS than this GPU has",
}
"""What to do, by the name of the code."""
LAST_RESORT = "make sure that driver and runtime belong together, then restart the program"


class HipError(RuntimeError):
    """A call of the runtime failed.

    Attributes:
        call: the runtime's function.
        code: the name of what it returned, such as "hipErrorInvalidValue".
        remedy: what to do.
    """

    def __init__(self, call: str, code: str, remedy: str) -> None:
        super().__init__(f"{call} failed with {code}; {remedy}")
        self.call = call
        self.code = code
        self.remedy = remedy


class OutOfMemoryError(HipError, MemoryError):
    """The device has too little free memory."""

    def __init__(self, call: str, code: str, asked: int, free: int, total: int) -> None:
        remedy = (
            f"{asked / 2**20:,.1f} MiB were asked for and {free / 2**20:,.1f} of "
            f"{total / 2**20:,.1f} MiB are free: take a smaller batch, or end what else is on it"
        )
        super().__init__(call, code, remedy)
        self.asked = asked
        self.free = free
        self.total = total


@functools.cache
def hip() -> Any:
    """hip-python's module, its library loaded.

    Raises:
        UnavailableError: hip-python or the runtime's library is missing.
    """
    prepare_library()
    try:
        from rocm.bindings import hip as module
    except ImportError as error:
        raise UnavailableError(
            "no-hip-python",
            f"hip-python cannot be imported ({error}); install it with: pip install hip-python",
        ) from error
    return module


def call(name: str, *arguments: Any) -> Any:
    """Call a function of the runtime; return its outputs: None, the only one, or a tuple.

    Raises:
        HipError: the runtime said no.
    """
    status, *outputs = getattr(hip(), name)(*arguments)
    if status != 0:
        raise HipError(name, status.name, REMEDIES.get(status.name, LAST_RESORT))
    if not outputs:
        return None
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


def device_count() -> int:
    """How many GPUs the driver shows.

    Raises:
        UnavailableError: there is no runtime, or it fails to start.
    """
    try:
        status, count = hip().hipGetDeviceCount()
    except RuntimeError as error:
        if isinstance(error, UnavailableError):
            raise
        raise UnavailableError(
            "no-library", f"hip-python found no usable libamdhip64.so ({error}); install ROCm"
        ) from error
    if status == 0:
        return int(count)
    if status.name == "hipErrorNoDevice":
        return 0
    raise UnavailableError(
        "broken-driver",
        f"the GPU driver does not start: hipGetDeviceCount gave {status.name}; "
        f"{REMEDIES.get(status.name, LAST_RESORT)}",
    )


@dataclass(frozen=True)
class Device:
    """What is known of one GPU; made by `find_device`."""

    index: int
    """Its number, from 0."""
    name: str
    architecture: str
    """ "gfx942", "gfx1100", "sm_90": what the kernels must be compiled for."""
    target: str
    """The architecture with its features, such as "gfx90a:sramecc+:xnack-"."""
    wave: int
    """Lanes of a wave: 64 or 32."""
    compute_units: int
    """Compute units, or streaming multiprocessors."""
    memory: int
    """Bytes."""
    shared_limit: int
    """Most bytes of LDS (shared memory) that one block can have."""
    l2: int
    """Bytes of second-level cache."""
    runtime_version: int
    """As HIP counts: 60342134 is 6.3.42134."""
    nvidia: bool = field(default=False)

    @property
    def overlaps(self) -> bool:
        """Can a kernel begin before the one before it has ended? See csrc/overlap.h."""
        return self.nvidia and int(self.architecture.removeprefix("sm_")) >= FIRST_OVERLAPPING_SM

    def __str__(self) -> str:
        return f"{self.index} ({self.name}, {self.architecture})"

    def activate(self) -> None:
        """Make it the device of this thread."""
        call("hipSetDevice", self.index)

    def memory_info(self) -> tuple[int, int]:
        """Bytes (free, total)."""
        self.activate()
        free, total = call("hipMemGetInfo")
        return int(free), int(total)

    def allocate(self, nbytes: int) -> int:
        """Address of new memory.

        Raises:
            OutOfMemoryError: it says how much was asked for and how much is free.
        """
        self.activate()
        try:
            return int(call("hipMalloc", nbytes))
        except HipError as error:
            if error.code != "hipErrorOutOfMemory":
                raise
            # From None: the plain error says less than this one.
            raise OutOfMemoryError(error.call, error.code, nbytes, *self.memory_info()) from None

    def synchronize(self) -> None:
        """Wait for everything that was given to it."""
        self.activate()
        call("hipDeviceSynchronize")


def visible_variables() -> str:
    """The variables in force that hide GPUs, as a clause; empty where there is none."""
    names = ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")
    shown = [f"{name}={os.environ[name]!r}" for name in names if name in os.environ]
    return f" ({' and '.join(shown)} is set)" if shown else ""


def find_device(index: int = 0) -> Device:
    """The GPU of that number.

    Raises:
        UnavailableError: it does not exist, or the kernels are not written for it. The message says
            which, and what to do.
    """
    count = device_count()
    hidden = visible_variables()
    if count == 0:
        raise UnavailableError(
            "no-device",
            f"the driver is there but shows no GPU{hidden}; "
            f"{'unset that variable, or name a GPU in it' if hidden else presence.why_none()}",
        )
    if index >= count:
        raise UnavailableError(
            "no-such-device",
            f"device {index} was asked for and there are {count}{visible_variables()}, "
            "numbered from 0",
        )
    properties = call("hipGetDeviceProperties", index)
    target = text(properties.gcnArchName)
    architecture = target.split(":")[0]
    if not architecture.startswith(FAMILIES) or (
        architecture.startswith("sm_") and int(architecture[3:]) < OLDEST_SM
    ):
        raise UnavailableError(
            "unsupported-device",
            f"device {index}, {text(properties.name)}, is of architecture {architecture or '?'}; "
            "expected gfx90a, gfx94x, gfx95x, gfx103x, gfx11xx, gfx12xx, or sm_80 and later",
        )
    return Device(
        index=index,
        name=text(properties.name),
        architecture=architecture,
        target=target,
        wave=int(properties.warpSize),
        compute_units=int(properties.multiProcessorCount),
        memory=int(properties.totalGlobalMem),
        shared_limit=max(int(properties.sharedMemPerBlock), int(properties.sharedMemPerBlockOptin))
        if architecture.startswith("sm_")
        else int(properties.sharedMemPerBlock),
        l2=int(properties.l2CacheSize),
        runtime_version=int(call("hipRuntimeGetVersion")),
        nvidia=architecture.startswith("sm_"),
    )


def version_text(device: Device) -> str:
    """The runtime's version in its own way of counting: "CUDA 13.0", "HIP 6.3.42134"."""
    version = device.runtime_version
    if device.nvidia:
        return f"CUDA {version // 1000}.{version % 1000 // 10} through HIP"
    return f"HIP {version // 10**7}.{version // 10**5 % 100}.{version % 10**5}"


def text(value: Any) -> str:
    """A C string as hip-python gives it: str, bytes or its own type."""
    return value.decode() if hasattr(value, "decode") else str(value)


class Event:
    """A point in a stream's work."""

    def __init__(self, *, timing: bool = True) -> None:
        flag = "hipEventDefault" if timing else "hipEventDisableTiming"
        self.handle = call("hipEventCreateWithFlags", int(getattr(hip(), flag)))
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
            self.handle = call("hipStreamCreateWithFlags", int(hip().hipStreamDefault))
            destroy_with(self, "hipStreamDestroy", self.handle)
        self.address = int(self.handle)
        """hipStream_t (CUstream) as a number, for other libraries."""
        self.follows_default = address is None or address == 0
        """Is it in order with the legacy default stream? Of another library's we cannot know."""
        kinds = hip().hipMemcpyKind
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
                name = hip().hipError_t(status).name
                raise HipError("hipModuleLaunchKernel", name, REMEDIES.get(name, LAST_RESORT))
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
        mode = hip().hipStreamCaptureMode.hipStreamCaptureModeRelaxed
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


def destroy_with(owner: Any, function: str, handle: Any) -> None:
    """Destroy a handle when its owner is gone, but not while the interpreter ends: the runtime may
    be gone by then, and the process takes everything with it anyway.
    """
    weakref.finalize(owner, _destroy, function, handle).atexit = False


def _destroy(function: str, handle: Any) -> None:
    """Silent: nobody can catch what is raised here."""
    with contextlib.suppress(Exception):
        getattr(hip(), function)(handle)


def free(pointer: int) -> None:
    """Give device memory back; waits for the work that may use it."""
    with contextlib.suppress(Exception):
        hip().hipFree(pointer)


class Pinned:
    """Page-locked host memory, which the device copies from and to by itself."""

    def __init__(self, nbytes: int) -> None:
        self.handle = call("hipHostMalloc", nbytes, 0)
        destroy_with(self, "hipHostFree", self.handle)
        self.pointer = int(self.handle)


def compile_with_hiprtc(
    source: str, name: str, headers: dict[str, str], options: list[str]
) -> bytes:
    """Compile HIP source to a code object with the runtime's own compiler.

    Raises:
        UnavailableError: there is no hiprtc here.
        RuntimeError: the source does not compile; the message is the compiler's.
    """
    hip()
    try:
        from rocm.bindings import hiprtc as module

        hiprtc: Any = module
        status, program = hiprtc.hiprtcCreateProgram(
            source.encode(),
            name.encode(),
            len(headers),
            [text.encode() for text in headers.values()],
            [key.encode() for key in headers],
        )
    except (ImportError, RuntimeError) as error:
        raise UnavailableError("no-compiler", f"hiprtc cannot be used: {error}") from error
    if status != 0:
        raise UnavailableError("no-compiler", f"hiprtcCreateProgram failed with {status.name}")
    flags = [option.encode() for option in options]
    (status,) = hiprtc.hiprtcCompileProgram(program, len(flags), flags)
    if status != 0:
        _, size = hiprtc.hiprtcGetProgramLogSize(program)
        log = bytearray(size)
        hiprtc.hiprtcGetProgramLog(program, log)
        raise RuntimeError(bytes(log).rstrip(b"\0").decode(errors="replace"))
    _, size = hiprtc.hiprtcGetCodeSize(program)
    code = bytearray(size)
    hiprtc.hiprtcGetCode(program, code)
    hiprtc.hiprtcDestroyProgram(program.createRef())
    return bytes(code)
