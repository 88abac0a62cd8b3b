"""Save and load models and training runs.

What the file looks like is docs/checkpoint-format.md; how it is written and checked is
`checkpoint_stream.py`. The odd thing: tensors go from the file into the model's own memory chunk by
chunk, so loading a model takes no second copy of it.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from hipgpt_model.checkpoint_header import (
    CORRECT,
    EMA,
    LOSSES,
    MOMENTS,
    STEP_CONTROL,
    CheckpointError,
    CheckpointHeader,
)
from hipgpt_model.checkpoint_stream import (
    read_header,
    read_header_from,
    read_tensors,
    save_checkpoint,
)
from hipgpt_model.gpt import GPT
from hipgpt_model.parameters import Parameters
from hipgpt_model.training_state import TrainingState

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO

    from hipgpt_kernels.backend import Array, Backend
    from hipgpt_model.checkpoint_header import Weights
    from hipgpt_model.config import GPTConfig
    from hipgpt_model.training_state import HasState

__all__ = [
    "CheckpointError",
    "CheckpointHeader",
    "TrainingState",
    "load_checkpoint",
    "load_model",
    "load_parameters",
    "load_training",
    "read_header",
    "save_checkpoint",
    "save_training",
    "save_weights",
    "verify_checkpoint",
]


class SharesOut(Protocol):
    """`distributed.Ranks`, which imports this module."""

    def parameters(self, config: GPTConfig, backend: Backend, dtype: str) -> Parameters:
        """See `Ranks.parameters`."""
        ...


def save_weights(
    path: str | os.PathLike[str],
    model: GPT,
    tokenizer_fingerprint: str | None = None,
    *,
    step: int = 0,
    metrics: Mapping[str, float] | None = None,
) -> None:
    """Save a model without its optimizer: a third of a training checkpoint's size.

    Args:
        path: the file.
        model: the model.
        tokenizer_fingerprint: of the tokenizer whose ids it knows, hexadecimal.
        step: for the record: optimizer steps it was trained for.
        metrics: figures for the record, by name.

    Raises:
        OSError: the file could not be written; an older one of this name is as it was.
    """
    header = CheckpointHeader(
        "weights",
        model.config,
        step=step,
        tokenizer=tokenizer_fingerprint,
        metrics=dict(metrics or {}),
    )
    save_checkpoint(path, header, model.parameters.items())


def save_training(
    path: str | os.PathLike[str],
    trainer: HasState,
    tokenizer_fingerprint: str | None = None,
    *,
    metrics: Mapping[str, float] | None = None,
) -> None:
    """Save a training run, so that `Trainer.from_checkpoint` continues it bit for bit.

    `saving.BackgroundSaver` does the same beside the training.

    Args:
        path: the file.
        trainer: a `Trainer`, between two steps.
        tokenizer_fingerprint: of the tokenizer whose ids it trains on, hexadecimal.
        metrics: figures for the record, by name.

    Raises:
        OSError: the file could not be written; an older one of this name is as it was.
    """
    state = trainer.state()
    tensors = state.tensors(state.buffers(), state.others(), state.parameters.backend.to_numpy)
    save_checkpoint(path, state.header(tokenizer_fingerprint, metrics), tensors)


@contextmanager
def opened(
    path: str | os.PathLike[str], tokenizer: str | None = None
) -> Iterator[tuple[Path, BinaryIO, CheckpointHeader]]:
    """A checkpoint's file, standing at its first tensor, and its header."""
    path = Path(path)
    with path.open("rb") as file:
        header = read_header_from(file, path)
        if tokenizer is not None and header.tokenizer not in (None, tokenizer):
            raise CheckpointError(
                f"{path}: trained on the ids of tokenizer {header.tokenizer}, but the one in use "
                f"is {tokenizer}: use the tokenizer that was saved with this model"
            )
        yield path, file, header


def load_checkpoint(
    path: str | os.PathLike[str], tokenizer: str | None = None
) -> tuple[CheckpointHeader, dict[str, np.ndarray]]:
    """The header and every tensor by name, as float32 NumPy arrays.

    Args:
        path: the file.
        tokenizer: fingerprint of the tokenizer in use; None checks nothing.

    Raises:
        CheckpointError: the file is not a complete, undamaged checkpoint, or belongs to another
            tokenizer.
        OSError: the file could not be read.
    """
    with opened(path, tokenizer) as (where, file, header):
        shapes = header.tensor_shapes()
        tensors = {name: np.empty(shape, np.float32) for name, shape in shapes.items()}
        for name, start, chunk in read_tensors(file, header, where, shapes):
            tensors[name].reshape(-1)[start : start + len(chunk)] = chunk
    return header, tensors


def verify_checkpoint(path: str | os.PathLike[str]) -> CheckpointHeader:
    """Read a whole checkpoint, a chunk at a time, and check it to its last byte.

    Raises:
        CheckpointError: it is damaged; the sentence names the tensor.
        OSError: the file could not be read.
    """
    with opened(path) as (where, file, header):
        for _ in read_tensors(file, header, where, header.tensor_shapes()):
            pass
    return header


def load_parameters(
    path: str | os.PathLike[str],
    backend: Backend,
    *,
    training: bool = False,
    tokenizer: str | None = None,
    dtype: str = "float32",
    weights: Weights | None = None,
) -> tuple[CheckpointHeader, Parameters]:
    """New parameters with a checkpoint's values, read straight into their own memory.

    Args:
        path: the file, of either kind.
        backend: where the parameters shall live.
        training: also make gradients and moments. The moments are the checkpoint's where it has
            them and `weights` is not "ema", else 0.
        tokenizer: fingerprint of the tokenizer in use; None checks nothing.
        dtype: what the layers compute in: "float32", "bf16" or "fp16".
        weights: "model", or "ema" for their running average; None: the average where the file has
            one, unless the parameters shall be trained.

    Raises:
        CheckpointError: as `load_checkpoint`, or the file has no such weights.
        OSError: the file could not be read.
    """
    with opened(path, tokenizer) as (where, file, header):
        prefix = weights_prefix(header, where, weights, training=training)
        parameters = Parameters(header.model, backend, training=training, dtype=dtype)
        buffers = {prefix: parameters.kept}
        if training and header.kind == "training" and prefix != EMA:
            buffers |= dict(zip(MOMENTS, (parameters.m, parameters.v), strict=True))
        _read_into(file, header, where, parameters, buffers)
    return header, parameters


def weights_prefix(
    header: CheckpointHeader, path: Path, weights: Weights | None, *, training: bool = False
) -> str:
    """The prefix of the names of the weights that are meant; see `load_parameters`.

    Raises:
        CheckpointError: the file does not have them.
    """
    if header.kind == "weights":
        if weights is not None and weights != header.weights:
            raise CheckpointError(
                f"{path}: holds the {_NAMES[header.weights]} alone, not the {_NAMES[weights]}"
            )
        return ""
    if weights == "ema" and not header.has_ema:
        raise CheckpointError(f"{path}: its run kept no running average of the weights")
    return EMA if weights == "ema" or (weights is None and header.has_ema and not training) else ""


_NAMES = {"model": "model's own weights", "ema": "running average of the weights"}


def _read_into(
    file: BinaryIO,
    header: CheckpointHeader,
    path: Path,
    parameters: Parameters,
    buffers: Mapping[str, Array],
    others: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Read the tensors of some prefixes into flat buffers, and others into NumPy arrays."""
    places: dict[str, tuple[Array, str]] = {
        prefix + spec.name: (buffer, spec.name)
        for prefix, buffer in buffers.items()
        for spec in parameters.table
    }
    flat = {name: array.reshape(-1) for name, array in (others or {}).items()}
    for name, start, chunk in read_tensors(file, header, path, {*places, *flat}):
        if name in flat:
            flat[name][start : start + len(chunk)] = chunk
        else:
            buffer, plain = places[name]
            parameters.put(buffer, plain, start, chunk)
    parameters.refresh()


def load_training(
    path: str | os.PathLike[str],
    backend: Backend,
    *,
    tokenizer: str | None = None,
    dtype: str | None = None,
    ranks: SharesOut | None = None,
) -> tuple[CheckpointHeader, TrainingState]:
    """What `save_training` saved; the arrays of `TrainingState.others` are NumPy's.

    Args:
        path: the file, of kind "training".
        backend: where the parameters shall live.
        tokenizer: fingerprint of the tokenizer in use; None checks nothing.
        dtype: what the layers compute in; None: as before.
        ranks: the processes that share the optimizer out; None: there is one.

    Raises:
        CheckpointError: as `load_checkpoint`, or the file holds weights alone.
        OSError: the file could not be read.
    """
    with opened(path, tokenizer) as (where, file, header):
        if header.kind != "training" or header.training is None or header.data is None:
            raise CheckpointError(
                f"{path}: holds the weights only, no run to continue: "
                "start a new run from it with Trainer(parameters=...)"
            )
        precision = header.dtype if dtype is None else dtype
        if ranks is None:
            parameters = Parameters(header.model, backend, training=True, dtype=precision)
        else:
            parameters = ranks.parameters(header.model, backend, precision)
        shapes = header.tensor_shapes()
        others = {
            name: np.empty(shapes[name], np.float32)
            for name in (STEP_CONTROL, LOSSES, CORRECT)
            if name in shapes
        }
        state = TrainingState(
            parameters,
            header.training,
            header.step,
            header.data_position,
            header.data,
            others[STEP_CONTROL],
            backend.zeros(tuple(parameters.weights.shape)) if header.has_ema else None,
            header.micro_steps,
            others.get(LOSSES),
            others.get(CORRECT),
        )
        _read_into(file, header, where, parameters, state.buffers(), others)
    return header, state


def load_model(
    path: str | os.PathLike[str],
    backend: Backend,
    *,
    training: bool = False,
    tokenizer: str | None = None,
    dtype: str = "float32",
    weights: Weights | None = None,
) -> GPT:
    """The model of a checkpoint of either kind.

    Args:
        path: the file.
        backend: where it shall run.
        training: whether it shall be trained further.
        tokenizer: fingerprint of the tokenizer in use; None checks nothing.
        dtype: what it shall compute in: "float32", "bf16" or "fp16".
        weights: as for `load_parameters`.

    Raises:
        CheckpointError: as `load_parameters`.
        OSError: the file could not be read.
    """
    header, parameters = load_parameters(
        path, backend, training=training, tokenizer=tokenizer, dtype=dtype, weights=weights
    )
    return GPT(header.model, backend, parameters)
