"""Save and load models and training runs.

What the file looks like is docs/checkpoint-format.md; how it is written and checked is
`checkpoint_stream.py`. The odd thing: tensors go from the file into the model's own memory chunk by
chunk, so loading a model takes no second copy of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from hipgpt_model.checkpoint_header import CheckpointError, CheckpointHeader
from hipgpt_model.checkpoint_stream import (
    read_header,
    read_header_from,
    read_tensors,
    save_checkpoint,
)
from hipgpt_model.gpt import GPT
from hipgpt_model.parameters import Parameters

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    from hipgpt_kernels.backend import Array, Backend
    from hipgpt_model.config import TrainConfig

__all__ = [
    "CheckpointError",
    "CheckpointHeader",
    "TrainingState",
    "load_checkpoint",
    "load_model",
    "load_parameters",
    "read_header",
    "save_checkpoint",
    "save_training",
    "save_weights",
]


@dataclass(frozen=True)
class TrainingState:
    """Everything that determines the rest of a run, given the data.

    Attributes:
        parameters: the weights and AdamW's moments (not copied).
        config: how the run trains; the seed is here.
        step: optimizer steps done.
        data_position: windows of training text consumed.
        data: fingerprint of the data.
    """

    parameters: Parameters
    config: TrainConfig
    step: int
    data_position: int
    data: dict[str, int]


class _HasState(Protocol):
    """A `Trainer`, without importing the module that imports this one."""

    def state(self) -> TrainingState: ...


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
    trainer: _HasState,
    tokenizer_fingerprint: str | None = None,
    *,
    metrics: Mapping[str, float] | None = None,
) -> None:
    """Save a training run, so that `Trainer.from_checkpoint` continues it bit for bit.

    Args:
        path: the file.
        trainer: a `Trainer`, between two steps.
        tokenizer_fingerprint: of the tokenizer whose ids it trains on, hexadecimal.
        metrics: figures for the record, by name.

    Raises:
        OSError: the file could not be written; an older one of this name is as it was.
    """
    state = trainer.state()
    parameters = state.parameters
    header = CheckpointHeader(
        "training",
        parameters.config,
        state.config,
        state.step,
        state.data_position,
        state.data,
        tokenizer_fingerprint,
        dict(metrics or {}),
    )
    save_checkpoint(path, header, _training_tensors(header, parameters))


def load_checkpoint(
    path: str | os.PathLike[str], tokenizer: str | None = None
) -> tuple[CheckpointHeader, dict[str, np.ndarray]]:
    """The header and every tensor by name, as NumPy arrays.

    Args:
        path: the file.
        tokenizer: fingerprint of the tokenizer in use; None checks nothing.

    Raises:
        CheckpointError: the file is not a complete, undamaged checkpoint, or belongs to another
            tokenizer.
        OSError: the file could not be read.
    """
    path = Path(path)
    with path.open("rb") as file:
        header = read_header_from(file, path)
        _check_tokenizer(header, tokenizer, path)
        shapes = header.tensor_shapes()
        tensors = {name: np.empty(shape, np.float32) for name, shape in shapes.items()}
        for name, start, chunk in read_tensors(file, header, path, len(shapes)):
            tensors[name].reshape(-1)[start : start + len(chunk)] = chunk
    return header, tensors


def load_parameters(
    path: str | os.PathLike[str],
    backend: Backend,
    *,
    training: bool = False,
    tokenizer: str | None = None,
) -> tuple[CheckpointHeader, Parameters]:
    """New parameters with a checkpoint's values, read straight into their own memory.

    Args:
        path: the file, of either kind.
        backend: where the parameters shall live.
        training: also make gradients and moments. The moments are the checkpoint's where it has
            them, else 0.
        tokenizer: fingerprint of the tokenizer in use; None checks nothing.

    Raises:
        CheckpointError: as `load_checkpoint`.
        OSError: the file could not be read.
    """
    path = Path(path)
    with path.open("rb") as file:
        header = read_header_from(file, path)
        _check_tokenizer(header, tokenizer, path)
        parameters = Parameters(header.model, backend, training=training)
        buffers = _buffers(parameters)
        if header.kind == "weights":
            del buffers[1:]
        wanted = len(buffers) * len(parameters.names())
        views = {
            name: parameters.view(buffer, spec.name).reshape((spec.size,))
            for (name, _), (buffer, spec) in zip(
                header.tensor_shapes().items(),
                ((buffer, spec) for buffer in buffers for spec in parameters.table),
                strict=False,  # a training checkpoint goes on, with moments nobody asked for
            )
        }
        for name, start, chunk in read_tensors(file, header, path, wanted):
            backend.copy(views[name][start : start + len(chunk)], chunk)
    return header, parameters


def load_model(
    path: str | os.PathLike[str],
    backend: Backend,
    *,
    training: bool = False,
    tokenizer: str | None = None,
) -> GPT:
    """The model of a checkpoint of either kind.

    Args:
        path: the file.
        backend: where it shall run.
        training: whether it shall be trained further.
        tokenizer: fingerprint of the tokenizer in use; None checks nothing.

    Raises:
        CheckpointError: as `load_checkpoint`.
        OSError: the file could not be read.
    """
    header, parameters = load_parameters(path, backend, training=training, tokenizer=tokenizer)
    return GPT(header.model, backend, parameters)


def _buffers(parameters: Parameters) -> list[Array]:
    """The flat buffers that a checkpoint holds, in its order."""
    if not parameters.training:
        return [parameters.weights]
    return [parameters.weights, parameters.m, parameters.v]


def _training_tensors(
    header: CheckpointHeader, parameters: Parameters
) -> Iterator[tuple[str, np.ndarray]]:
    names = iter(header.tensor_shapes())
    for buffer in _buffers(parameters):
        for spec in parameters.table:
            yield next(names), parameters.backend.to_numpy(parameters.view(buffer, spec.name))


def _check_tokenizer(header: CheckpointHeader, tokenizer: str | None, path: Path) -> None:
    if tokenizer is not None and header.tokenizer not in (None, tokenizer):
        raise CheckpointError(
            f"{path}: trained on the ids of tokenizer {header.tokenizer}, but the one in use is "
            f"{tokenizer}: use the tokenizer that was saved with this model"
        )
