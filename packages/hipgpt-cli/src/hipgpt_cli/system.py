"""What this machine and this installation are: versions and devices, as plain values."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hipgpt_kernels import Backend


def versions() -> dict[str, str]:
    """Version by name: the four packages, Python, NumPy and the BLAS that it calls."""
    import numpy as np

    import hipgpt_kernels
    import hipgpt_model
    import hipgpt_tokenizer
    from hipgpt_cli import __version__

    return {
        "hipgpt-cli": __version__,
        "hipgpt-model": hipgpt_model.__version__,
        "hipgpt-kernels": hipgpt_kernels.__version__,
        "hipgpt-tokenizer": hipgpt_tokenizer.__version__,
        "Python": f"{platform.python_version()} ({platform.python_implementation()}, "
        f"{platform.system()} {platform.machine()})",
        "NumPy": np.__version__,
        "BLAS": _blas(),
    }


def machine(backend: Backend) -> dict[str, str]:
    """What a run computes on, for its config.json: device, system, versions."""
    return {"device": f"{backend.name}: {backend.description}", **versions()}


def _blas() -> str:
    import numpy as np

    config: Any = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {})
    name, version = blas.get("name", "unknown"), blas.get("version", "")
    return f"{name} {version}".strip()


def devices() -> dict[str, dict[str, Any]]:
    """Each kind of device by name: {"usable": bool, "description": what it is, or why not}."""
    from hipgpt_cli.device import open_device, why_not

    found: dict[str, dict[str, Any]] = {}
    for name in ("cpu", "hip"):
        reason = why_not(name)
        if reason is None:
            backend = open_device(name, None)
            free, total = backend.memory_info()
            found[name] = {
                "usable": True,
                "description": backend.description,
                "memory_free": free,
                "memory_total": total,
            }
        else:
            found[name] = {"usable": False, "description": reason}
    return found
