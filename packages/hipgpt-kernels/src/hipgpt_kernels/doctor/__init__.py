"""What is wrong with this machine: every device, every kernel on it, and what to do.

`examine` gives a `Report`; `python -m hipgpt_kernels.doctor` and `hipgpt doctor` show it. The odd
thing: a device is not believed. It runs every op, forward and backward, in every dtype, on small
random arrays, and is held to the float64 formulas of `hipgpt_kernels.reference`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hipgpt_kernels.doctor.examination import examine
    from hipgpt_kernels.doctor.report import Check, Device, Report

__all__ = ["Check", "Device", "Report", "examine"]


def __getattr__(name: str) -> Any:
    if name == "examine":
        from hipgpt_kernels.doctor.examination import examine

        return examine
    if name in ("Check", "Device", "Report"):
        from hipgpt_kernels.doctor import report

        return getattr(report, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
