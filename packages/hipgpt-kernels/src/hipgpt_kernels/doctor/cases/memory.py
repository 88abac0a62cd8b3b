"""Memory: copied, filled, converted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels.doctor.cases.case import LOW, Case, case

if TYPE_CHECKING:
    from hipgpt_kernels.doctor.trial import Trial

CASES: list[Case] = []


@case(CASES, "copy")
def _copy(t: Trial) -> None:
    x = t.normal(5, 12)
    t.equal("copy", t.copy(x), x.host)


@case(CASES, "fill")
def _fill(t: Trial) -> None:
    array = t.empty(3, 7)
    t.backend.fill(array, 1.5)
    t.equal("fill", array, np.full((3, 7), 1.5, np.float32))


@case(CASES, "convert", dtypes=LOW)
def _convert(t: Trial) -> None:
    x = t.float32(5, 33)
    t.check("out", t.backend.convert(x.device, t.dtype), lambda x: x, x, low_ulps=0.51)
