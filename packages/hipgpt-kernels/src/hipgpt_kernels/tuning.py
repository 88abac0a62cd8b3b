"""Let NumPy's matrix product use the whole vector unit.

NumPy's wheels carry OpenBLAS, which chooses its kernels when it is loaded. It takes AMD's Zen 4 and
Zen 5 for AVX2 machines, although both have AVX-512; on Zen 5 its AVX-512 kernels were measured at
twice the speed (two cores, 1024×3072×768: 223 GFLOP/s as chosen, 413 told so). Intel machines are
chosen right. The odd thing: this must happen before NumPy is imported, so programs call it first.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

AVX512_FLAGS = frozenset(("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"))
"""What OpenBLAS's SkylakeX kernels execute."""


def prefer_wide_blas() -> bool:
    """Ask OpenBLAS for its AVX-512 kernels where the processor is an AMD one that has them.

    Does nothing, and returns False, where NumPy is loaded already, where the user has set
    OPENBLAS_CORETYPE, or where the processor cannot be told.
    """
    if "numpy" in sys.modules or "OPENBLAS_CORETYPE" in os.environ:
        return False
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return False
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    if not is_avx512_amd(cpuinfo):
        return False
    os.environ["OPENBLAS_CORETYPE"] = "SkylakeX"
    return True


def is_avx512_amd(cpuinfo: str) -> bool:
    """Whether the text of /proc/cpuinfo describes an AMD processor with AVX-512.

    Example:
        >>> is_avx512_amd("vendor_id : GenuineIntel")
        False
    """
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(), value.strip())
    flags = frozenset(fields.get("flags", "").split())
    return fields.get("vendor_id") == "AuthenticAMD" and flags >= AVX512_FLAGS
