"""What must hold before a run begins: data, model, parameters and memory fit each other.

The odd thing: memory is looked at before any is taken, so a run that does not fit says so at once,
with smaller ones that would.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hipgpt_model.memory import available_bytes, run_bytes, shortage, smaller_runs
from hipgpt_model.parameters import Parameters

if TYPE_CHECKING:
    from hipgpt_kernels.backend import Backend
    from hipgpt_model.config import GPTConfig, TrainConfig
    from hipgpt_model.data import TokenData
    from hipgpt_model.distributed.ranks import Ranks


def check_data(data: TokenData, model_config: GPTConfig) -> None:
    """Refuse data whose rows or ids the model has no room for.

    Raises:
        ValueError: what is too long or too large, and what to do.
    """
    if data.T > model_config.max_seq_len:
        raise ValueError(
            f"the data has rows of {data.T} tokens, but the model's max_seq_len is "
            f"{model_config.max_seq_len}: make one fit the other"
        )
    data.check_ids(model_config.vocab_size)


def check_memory(
    model_config: GPTConfig,
    train_config: TrainConfig,
    T: int,
    backend: Backend,
    *,
    owners: int = 1,
    made: bool = False,
) -> int:
    """Refuse a run for which there is not enough memory.

    Args:
        model_config: the model.
        train_config: how it is trained; its batch is the one of this process.
        T: length of a row.
        backend: where it runs.
        owners: processes that share the optimizer out.
        made: whether the parameters have their memory already.

    Returns:
        Bytes of its activations.

    Raises:
        MemoryError: it has the run's parts, and smaller runs that would fit.
    """
    needed = run_bytes(model_config, train_config, T, backend, owners)
    if made:
        needed = {"activations": needed["activations"]}
    available = available_bytes(backend)
    if sum(needed.values()) > available:
        smaller = smaller_runs(model_config, train_config, T, backend, available, owners)
        raise MemoryError(shortage(needed, available, smaller))
    return needed["activations"]


def first_parameters(
    model_config: GPTConfig, train_config: TrainConfig, backend: Backend, ranks: Ranks | None
) -> Parameters:
    """New parameters for training, with their values from the seed."""
    dtype = train_config.dtype
    if ranks is None:
        parameters = Parameters(model_config, backend, training=True, dtype=dtype)
    else:
        parameters = ranks.parameters(model_config, backend, dtype)
    parameters.initialize(train_config.seed)
    return parameters


def check_parameters(parameters: Parameters, train_config: TrainConfig) -> None:
    """Refuse parameters that were made for something else.

    Raises:
        ValueError: for what they were made, and how to make others.
    """
    if not parameters.training:
        raise ValueError(
            "these parameters were made for inference and have no gradients; "
            "make or load them with training=True"
        )
    if parameters.dtype != train_config.dtype:
        raise ValueError(
            f"these parameters are for {parameters.dtype}, but the run is to train in "
            f"{train_config.dtype}: make or load them with dtype={train_config.dtype!r}"
        )
