"""The embedding's gradient by the compiled library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hipgpt_kernels import checks
from hipgpt_kernels.cpu.embedding import check_ids
from hipgpt_kernels.native.library import address, load_library

if TYPE_CHECKING:
    import numpy as np

    from hipgpt_kernels.cpu.threads import Workers


def embedding_backward(
    workers: Workers,
    dout: np.ndarray,
    tokens: np.ndarray,
    dtoken_table: np.ndarray,
    dposition_table: np.ndarray | None = None,
) -> None:
    """See `Backend.embedding_backward`."""
    B, T, V, E = checks.embedding_backward(dout, tokens, dtoken_table, dposition_table)
    check_ids("embedding_backward", tokens, V)
    arrays = map(address, (dout, tokens, dtoken_table))
    load_library().hipgpt_embedding_backward(workers.threads, *arrays, B * T, E)
    if dposition_table is not None and B:
        dposition_table[:T] += dout.sum(axis=0)
