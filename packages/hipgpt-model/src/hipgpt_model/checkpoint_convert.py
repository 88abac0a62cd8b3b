"""Write the weights of a checkpoint into a file of their own: without its run, or in 16 bits.

The odd thing: only one tensor at a time is in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hipgpt_model.checkpoint import opened, weights_prefix
from hipgpt_model.checkpoint_header import EMA, CheckpointHeader
from hipgpt_model.checkpoint_stream import read_tensors, save_checkpoint

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from hipgpt_model.checkpoint_header import Storage, Weights


def convert_checkpoint(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    weights: Weights | None = None,
    storage: Storage | None = None,
) -> CheckpointHeader:
    """Write the weights of a checkpoint into a file of their own, for inference.

    Only one tensor at a time is in memory.

    Args:
        source: a checkpoint of either kind.
        target: the new file.
        weights: which of them, as for `load_parameters`.
        storage: "float32", or "bf16" for half the size; None: as in the source.

    Returns:
        The new file's header.

    Raises:
        CheckpointError: as `load_parameters`.
        OSError: a file could not be read or written.
    """
    with opened(source) as (where, file, header):
        prefix = weights_prefix(header, where, weights)
        made = CheckpointHeader(
            "weights",
            header.model,
            header.training,
            header.step,
            header.data_position,
            header.data,
            header.tokenizer,
            header.metrics,
            0,
            header.dtype,
            header.weights if header.kind == "weights" else "ema" if prefix == EMA else "model",
            storage or header.storage,
        )
        shapes = made.tensor_shapes()

        def tensors() -> Iterator[tuple[str, np.ndarray]]:
            wanted = {prefix + name for name in shapes}
            for name, start, chunk in read_tensors(file, header, where, wanted):
                plain = name.removeprefix(prefix)
                if start == 0:
                    array = np.empty(shapes[plain], np.float32)
                array.reshape(-1)[start : start + len(chunk)] = chunk
                if start + len(chunk) == array.size:
                    yield plain, array

        save_checkpoint(target, made, tensors())
    return made
