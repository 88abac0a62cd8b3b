"""What `examine` finds, as plain values; the words for people are in `words.py`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Check:
    """One op in one dtype.

    Attributes:
        op: its name in the contract.
        dtype: "float32", "bf16" or "fp16".
        detail: which of its variants, such as "gelu"; may be empty.
        error: how far the worst output is from the float64 formula; None where it gave none.
        bound: how far it may be.
        passed: whether every output is within its bound.
        message: what was raised instead, or which output is wrong; empty where all is well.
        kernels: the GPU kernels that it launched.
    """

    op: str
    dtype: str
    detail: str
    error: float | None
    bound: float | None
    passed: bool
    message: str = ""
    kernels: tuple[str, ...] = ()


@dataclass
class Device:
    """One device, or one that cannot be used.

    Attributes:
        name: "cpu", "hip:0"; "hip" where no GPU can be used at all.
        usable: whether a backend could be made.
        expected: whether it ought to be usable: the CPU, a GPU that is there, or one asked for.
        description: what it is.
        problem: why it cannot be used; empty where it can.
        remedy: what to do; may be empty where the problem says it.
        facts: what is known of it, by name.
        checks: what was run.
    """

    name: str
    usable: bool
    expected: bool = True
    description: str = ""
    problem: str = ""
    remedy: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)

    @property
    def failures(self) -> list[Check]:
        """The checks that did not pass."""
        return [check for check in self.checks if not check.passed]

    @property
    def healthy(self) -> bool:
        """Usable with every kernel right; or not expected to be usable at all."""
        return not self.failures if self.usable else not self.expected


@dataclass
class Report:
    """Everything.

    Attributes:
        system: versions, compilers and the cache, by name.
        notes: what is not right and harms nothing.
        devices: the CPU first.
    """

    system: dict[str, Any]
    notes: list[str]
    devices: list[Device]

    @property
    def healthy(self) -> bool:
        """Whether everything works that should."""
        return all(device.healthy for device in self.devices)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        devices = [asdict(one) | {"healthy": one.healthy} for one in self.devices]
        return {
            "healthy": self.healthy,
            "system": self.system,
            "notes": self.notes,
            "devices": devices,
        }
