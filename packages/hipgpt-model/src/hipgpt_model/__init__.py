"""GPT-2 style language models: layers, training, generation and checkpoints. Ids in, ids out.

Importing the package imports none of its modules, and not even NumPy: each name brings in its own
module when it is first used, so that a command line can show its help at once. The function
`generate` is not among them, because its module has the same name:
`from hipgpt_model.generate import generate`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hipgpt_model.checkpoint import (
        load_checkpoint,
        load_model,
        load_parameters,
        save_training,
        save_weights,
    )
    from hipgpt_model.checkpoint_header import CheckpointError, CheckpointHeader
    from hipgpt_model.checkpoint_stream import read_header, save_checkpoint
    from hipgpt_model.config import GPTConfig, TrainConfig
    from hipgpt_model.data import TokenData
    from hipgpt_model.data_folder import DataFolder, open_folder
    from hipgpt_model.data_shard import DataError
    from hipgpt_model.evaluate import EvalReport, Score, perplexity, score
    from hipgpt_model.generate import SamplingConfig
    from hipgpt_model.gpt import GPT, KVCache
    from hipgpt_model.memory import generation_bytes, training_bytes
    from hipgpt_model.optim import AdamW
    from hipgpt_model.parameter_specs import ParameterSpec, parameter_table
    from hipgpt_model.parameters import Parameters
    from hipgpt_model.schedule import learning_rate
    from hipgpt_model.train import StepReport, Trainer

__version__ = "0.1.0"

__all__ = [
    "GPT",
    "AdamW",
    "CheckpointError",
    "CheckpointHeader",
    "DataError",
    "DataFolder",
    "EvalReport",
    "GPTConfig",
    "KVCache",
    "ParameterSpec",
    "Parameters",
    "SamplingConfig",
    "Score",
    "StepReport",
    "TokenData",
    "TrainConfig",
    "Trainer",
    "generation_bytes",
    "learning_rate",
    "load_checkpoint",
    "load_model",
    "load_parameters",
    "open_folder",
    "parameter_table",
    "perplexity",
    "read_header",
    "save_checkpoint",
    "save_training",
    "save_weights",
    "score",
    "training_bytes",
]

_MODULES = {
    "checkpoint": (
        "load_checkpoint", "load_model", "load_parameters", "save_training", "save_weights",
    ),
    "checkpoint_header": ("CheckpointError", "CheckpointHeader"),
    "checkpoint_stream": ("read_header", "save_checkpoint"),
    "config": ("GPTConfig", "TrainConfig"),
    "data": ("TokenData",),
    "data_folder": ("DataFolder", "open_folder"),
    "data_shard": ("DataError",),
    "evaluate": ("EvalReport", "Score", "perplexity", "score"),
    "generate": ("SamplingConfig",),
    "gpt": ("GPT", "KVCache"),
    "memory": ("generation_bytes", "training_bytes"),
    "optim": ("AdamW",),
    "parameter_specs": ("ParameterSpec", "parameter_table"),
    "parameters": ("Parameters",),
    "schedule": ("learning_rate",),
    "train": ("StepReport", "Trainer"),
}  # fmt: skip


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            value = getattr(import_module(f"hipgpt_model.{module}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
