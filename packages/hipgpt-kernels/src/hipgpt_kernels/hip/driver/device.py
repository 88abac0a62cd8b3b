"""The GPUs of this machine: how many there are, what each can do, and why one cannot be used."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from hipgpt_kernels.hip import presence
from hipgpt_kernels.hip.driver import calls
from hipgpt_kernels.hip.driver.calls import HipError, OutOfMemoryError, call, remedy
from hipgpt_kernels.hip.runtime import UnavailableError

FAMILIES = ("gfx90a", "gfx94", "gfx95", "gfx103", "gfx11", "gfx12", "sm_")
"""How the names of architectures begin that the kernels are written for."""
FIRST_OVERLAPPING_SM = 90
"""From here on a kernel may begin before the one before it has ended (csrc/overlap.h)."""
OLDEST_SM = 80
"""The kernels need bfloat16 and asynchronous copies: Ampere and later."""


def device_count() -> int:
    """How many GPUs the driver shows.

    Raises:
        UnavailableError: there is no runtime, or it fails to start.
    """
    try:
        status, count = calls.hip().hipGetDeviceCount()
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
        f"{remedy(status.name)}",
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
