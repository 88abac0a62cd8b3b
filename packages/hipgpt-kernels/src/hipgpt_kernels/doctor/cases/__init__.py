"""Every op of the contract, forward and backward, on small random arrays.

A case is a function of a `Trial`; `CASES` names the op and the variant that it stands for, the
simplest first: where a device fails at all, that is what should be read. The odd thing: sizes are
small and divide nothing, so that the edges of tiles are met, and large enough in one direction that
each kernel for many rows is met too.
"""

from hipgpt_kernels.doctor.cases import decoding, generation, layers, memory, training
from hipgpt_kernels.doctor.cases.case import Case

CASES: list[Case] = [
    *memory.CASES,
    *layers.CASES,
    *training.CASES,
    *generation.CASES,
    *decoding.CASES,
]

__all__ = ["CASES", "Case"]
