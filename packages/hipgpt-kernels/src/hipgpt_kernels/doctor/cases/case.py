"""What a case is, and how a function becomes one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from hipgpt_kernels.doctor.trial import Trial

Function: TypeAlias = "Callable[[Trial], None]"
ALL = ("float32", "bf16", "fp16")
ONE = ("float32",)
"""Ops whose arrays have one dtype whatever the model's is."""
LOW = ("bf16", "fp16")


@dataclass(frozen=True)
class Case:
    """What is run.

    Attributes:
        op: its name in the contract.
        run: raises, or leaves its judgement in the trial.
        detail: which variant.
        dtypes: in which precisions.
    """

    op: str
    run: Function
    detail: str = ""
    dtypes: tuple[str, ...] = ALL


def case(
    cases: list[Case], op: str, detail: str = "", dtypes: tuple[str, ...] = ALL
) -> Callable[[Function], Function]:
    """Enter a function into a list of cases."""

    def enter(function: Function) -> Function:
        cases.append(Case(op, function, detail, dtypes))
        return function

    return enter
