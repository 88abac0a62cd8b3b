"""Is there a GPU in this machine, and may this user open it? Asked of the kernel, not of a driver.

Where a driver shows no GPU its own words are few; /sys and /dev know more: what is on the PCI bus,
whether the kernel's module is loaded, who may open the device files. The odd thing: everything is
read below `root`, so that the tests can build a machine out of files.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

VENDORS = {"0x1002": "AMD", "0x10de": "NVIDIA"}
"""PCI's numbers for the makers of GPUs."""
CLASSES = ("0x03", "0x12")
"""How PCI's class begins: displays, processing accelerators."""
MODULES = ("amdgpu", "nvidia")
"""The kernel's modules that drive them."""
ROOT = Path("/")


@dataclass(frozen=True)
class Card:
    """A GPU on the PCI bus.

    Attributes:
        vendor: "AMD" or "NVIDIA".
        address: "0000:03:00.0".
        identity: vendor and device as PCI numbers them, "1002:74a1".
    """

    vendor: str
    address: str
    identity: str

    def __str__(self) -> str:
        return f"{self.vendor} {self.identity} at {self.address}"


def cards(root: Path = ROOT) -> list[Card]:
    """The AMD and NVIDIA GPUs that the kernel sees, with or without a driver."""
    found = []
    for folder in sorted(Path(root, "sys/bus/pci/devices").glob("*")):
        vendor, kind, device = (_read(folder / name) for name in ("vendor", "class", "device"))
        if vendor in VENDORS and kind.startswith(CLASSES):
            identity = f"{vendor.removeprefix('0x')}:{device.removeprefix('0x')}"
            found.append(Card(VENDORS[vendor], folder.name, identity))
    return found


def why_none(root: Path = ROOT) -> str:
    """Why no GPU is usable, as far as the kernel's files tell, and what to do; one clause."""
    there = cards(root)
    in_container = Path(root, ".dockerenv").exists() or Path(root, "run/.containerenv").exists()
    reasons = []
    if any(card.vendor == "AMD" for card in there) or Path(root, "dev/kfd").exists():
        reasons.append(_why_no_amd(root, in_container=in_container))
    if any(card.vendor == "NVIDIA" for card in there):
        reasons.append(_why_no_nvidia(root, in_container=in_container))
    if not reasons:
        return "no AMD or NVIDIA GPU is on this machine's PCI bus"
    return "; ".join(reasons)


def _why_no_amd(root: Path, *, in_container: bool) -> str:
    kfd = Path(root, "dev/kfd")
    if not kfd.exists():
        if in_container:
            return (
                "an AMD GPU is there, but /dev/kfd is not: start the container with "
                "--device=/dev/kfd --device=/dev/dri --group-add render"
            )
        module = "is not loaded" if not Path(root, "sys/module/amdgpu").exists() else "has failed"
        return (
            f"an AMD GPU is there, but /dev/kfd is not: the kernel's module amdgpu {module}; try "
            "sudo modprobe amdgpu and look at dmesg"
        )
    for path in [kfd, *sorted(Path(root, "dev/dri").glob("renderD*"))]:
        if not os.access(path, os.R_OK | os.W_OK):
            name = "/" + path.relative_to(root).as_posix()
            group = _group(path)
            return (
                f"you may not open {name}, which belongs to the group {group}: "
                f"sudo usermod -aG {group},video $USER, then log in again"
            )
    return (
        "/dev/kfd is there and may be opened, but ROCm's runtime shows no GPU: see rocminfo, and "
        "whether ROCm's version knows this card"
    )


def _why_no_nvidia(root: Path, *, in_container: bool) -> str:
    control = Path(root, "dev/nvidiactl")
    if not control.exists():
        if in_container:
            return (
                "an NVIDIA GPU is there, but /dev/nvidiactl is not: start the container with "
                "--gpus all"
            )
        return (
            "an NVIDIA GPU is there, but /dev/nvidiactl is not: the kernel's module nvidia is not "
            "loaded; install NVIDIA's driver"
        )
    for path in [control, *sorted(Path(root, "dev").glob("nvidia[0-9]*"))]:
        if not os.access(path, os.R_OK | os.W_OK):
            return (
                f"you may not open /{path.relative_to(root).as_posix()}, which belongs to the "
                f"group {_group(path)}: have an administrator let you"
            )
    return (
        "/dev/nvidiactl is there and may be opened, but CUDA's driver shows no GPU: see nvidia-smi "
        "and whether libcuda.so.1 and the kernel's module are of one version"
    )


def driver_version(root: Path = ROOT) -> str:
    """Versions of the kernel's GPU modules, "amdgpu 6.12.12"; empty where it tells none."""
    versions = {name: _read(Path(root, "sys/module", name, "version")) for name in MODULES}
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version)


def _group(path: Path) -> str:
    with contextlib.suppress(KeyError, OSError, NotImplementedError):
        return path.group()
    return str(path.stat().st_gid)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except OSError:
        return ""
