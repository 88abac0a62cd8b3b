"""The only import of hip-python: devices, streams, events, graphs, code objects, launches."""

from hipgpt_kernels.hip.driver.calls import HipError, OutOfMemoryError, call, free, hip
from hipgpt_kernels.hip.driver.device import Device, device_count, find_device, version_text
from hipgpt_kernels.hip.driver.hiprtc import compile_with_hiprtc
from hipgpt_kernels.hip.driver.stream import Event, Graph, Module, Pinned, Stream

__all__ = [
    "Device",
    "Event",
    "Graph",
    "HipError",
    "Module",
    "OutOfMemoryError",
    "Pinned",
    "Stream",
    "call",
    "compile_with_hiprtc",
    "device_count",
    "find_device",
    "free",
    "hip",
    "version_text",
]
