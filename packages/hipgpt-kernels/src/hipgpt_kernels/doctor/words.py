"""A `Report` in words: what is there, what failed, what to do. Returns lines and prints nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hipgpt_kernels.doctor.report import Check, Device, Report

WIDTH = 17


def lines(report: Report, *, verbose: bool = False) -> list[str]:
    """The report, a line each.

    Args:
        report: what was found.
        verbose: every check, not only those that failed.
    """
    result = _system(report.system)
    result.extend(_fact("Note", note) for note in report.notes)
    for device in report.devices:
        result += ["", *_device(device, verbose=verbose)]
    bad = [device.name for device in report.devices if not device.healthy]
    result.append("")
    if bad:
        result.append(f"Something that should work does not: {', '.join(bad)}.")
    else:
        result.append("Everything works that should.")
    return result


def _fact(label: str, text: str) -> str:
    return f"{label.ljust(WIDTH)}{text}"


def _system(facts: dict[str, Any]) -> list[str]:
    versions = ", ".join(
        f"{name} {facts[key]}"
        for name, key in (("hipgpt-kernels", "hipgpt-kernels"), ("Python", "python"),
                          ("NumPy", "numpy"))
    )  # fmt: skip
    compilers = [text for text in facts["compilers"].values() if text]
    kept = facts["cache"]
    state = f"{len(kept['damaged'])} damaged" if kept["damaged"] else "all sound"
    return [
        _fact("Versions", versions),
        _fact("hip-python", facts["hip-python"] or "not installed"),
        _fact("Kernel modules", facts["kernel modules"] or "no amdgpu or nvidia version is told"),
        _fact("PCI bus", "; ".join(facts["pci"]) or "no AMD or NVIDIA GPU"),
        *(
            _fact("Compiler" if i == 0 else "", text)
            for i, text in enumerate(compilers or ["none"])
        ),
        _fact(
            "Cache",
            f"{kept['folder']}: {kept['files']} files, {size(kept['bytes'])}"
            + (f", {state}" if kept["files"] else ""),
        ),
    ]


def _device(device: Device, *, verbose: bool) -> list[str]:
    result = [_fact(device.name, device.description or "cannot be used")]
    facts = device.facts
    if "memory total" in facts:
        free, total = size(facts["memory free"]), size(facts["memory total"])
        result.append(_fact("  memory", f"{free} of {total} free"))
    known = [name for name in ("architecture", "runtime", "compiled code") if facts.get(name)]
    result += [_fact(f"  {name}", str(facts[name])) for name in known]
    if "kernels" in facts:
        text = ", ".join(
            f"{len(stems)} {kind}" for kind, stems in facts["kernels"].items() if stems
        )
        if missing := facts["kernels"]["missing"]:
            text += f" ({', '.join(missing)}: compiled at first use)"
        result.append(_fact("  kernels", text))
    if device.problem:
        result.append(_fact("  problem", device.problem))
    if device.remedy:
        result.append(_fact("  remedy", device.remedy))
    if device.checks:
        failures = device.failures
        count = f"{len(device.checks)} checks of every op, forward and backward"
        state = f"{len(failures)} FAILED" if failures else "all right"
        result.append(_fact("  checks", f"{count}: {state}"))
    shown = device.checks if verbose else device.failures
    result += [f"    {check_line(check)}" for check in shown]
    return result


def check_line(check: Check) -> str:
    """One check: op, dtype, how far from the truth and how far it may be."""
    name = check.op + (f" ({check.detail})" if check.detail else "")
    figures = ""
    if check.error is not None and check.bound is not None:
        figures = f"error {check.error:.2g} of {check.bound:.2g} allowed"
    text = f"{'ok  ' if check.passed else 'FAIL'} {check.dtype:8}{name:50}{figures}"
    if not check.passed:
        kernels = f"; kernels {', '.join(check.kernels)}" if check.kernels else ""
        text += f"\n         {check.message}{kernels}"
    return text.rstrip()


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError
