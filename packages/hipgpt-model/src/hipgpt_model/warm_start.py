"""Begin a new run with the weights of a checkpoint: of an imported model, or of another run.

What the weights were trained with (moments, step, data) stays behind. The odd thing: the new model
may see fewer tokens than the old one; of the position embedding its first rows are then taken.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hipgpt_model.checkpoint import opened, weights_prefix
from hipgpt_model.checkpoint_stream import read_tensors
from hipgpt_model.parameters import Parameters

if TYPE_CHECKING:
    import os

    from hipgpt_kernels.backend import Backend
    from hipgpt_model.checkpoint import SharesOut
    from hipgpt_model.config import GPTConfig


def warm_start(
    path: str | os.PathLike[str],
    config: GPTConfig,
    backend: Backend,
    *,
    tokenizer: str | None = None,
    dtype: str = "float32",
    ranks: SharesOut | None = None,
) -> Parameters:
    """Parameters to train, with a checkpoint's weights: their running average, where it has one.

    Args:
        path: the file, of either kind.
        config: the model. It may have another dropout than the file's, and a smaller max_seq_len.
        backend: where the parameters shall live.
        tokenizer: fingerprint of the tokenizer in use; None checks nothing.
        dtype: what the layers compute in: "float32", "bf16" or "fp16".
        ranks: the processes that share the optimizer out; None: there is one.

    Raises:
        ValueError: the file's model has another shape; the field is named.
        CheckpointError: the file is damaged, or belongs to another tokenizer.
        OSError: the file could not be read.
    """
    with opened(path, tokenizer) as (where, file, header):
        check_shape(header.model, config)
        if ranks is None:
            parameters = Parameters(config, backend, training=True, dtype=dtype)
        else:
            parameters = ranks.parameters(config, backend, dtype)
        prefix = weights_prefix(header, where, None)
        specs = {prefix + spec.name: spec for spec in parameters.table}
        for name, start, chunk in read_tensors(file, header, where, specs):
            spec = specs[name]
            if start < spec.size:  # beyond are positions that the new model does not have
                parameters.put(parameters.kept, spec.name, start, chunk[: spec.size - start])
    parameters.refresh()
    return parameters


def check_shape(old: GPTConfig, new: GPTConfig) -> None:
    """See that a model can begin with another one's weights.

    Raises:
        ValueError: it cannot; the sentence names the field.
    """
    if new.max_seq_len > old.max_seq_len:
        raise ValueError(
            f"max_seq_len must be at most the {old.max_seq_len} that the weights were trained "
            f"with; got {new.max_seq_len}"
        )
    wanted = replace(old, max_seq_len=new.max_seq_len, dropout=new.dropout).to_dict()
    for name, value in new.to_dict().items():
        if value != wanted[name]:
            raise ValueError(f"{name} must be the weights' own, {wanted[name]}; got {value}")
