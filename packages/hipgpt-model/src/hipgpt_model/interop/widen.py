"""A bias of the output in formats that have none: the same function by a slightly wider model.

GPT-2's logits are W · norm(x), so a bias can only be a column of W times a number that is always
1. The final norm can give that number in one more dimension, if its gain there is 0 and its bias 1.
But more dimensions change every norm's mean and variance, unless each of them always holds the mean
m of the others. So that is what they hold: every matrix that writes to the residual stream gets
rows that are the mean of its others. Then, with E' dimensions for E,

    mean' = m,   var' = var·E/E',   (x − m) / √(var' + ε·E/E') = √(E'/E) · (x − m) / √(var + ε)

and gains times √(E/E') make it the same. Heads are wider too, with zeros, and the queries take the
√(D'/D) by which the scores are divided too much. The odd thing: nothing is approximated; only
float32's rounding differs.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hipgpt_model.config import GPTConfig

_BLOCK = 32
"""llama.cpp's quantised rows are a multiple of it; a width that is one stays one."""


def widened(config: GPTConfig) -> GPTConfig:
    """The configuration that does without a bias of the output.

    The width is the next that the heads divide and, where E is a multiple of 32, a multiple of 32.

    Example:
        >>> from hipgpt_model.config import GPTConfig
        >>> widened(GPTConfig(vocab_size=5000)).embed_dim  # from 128
        160

    Raises:
        ValueError: the model has no bias of the output, or no norm before it.
    """
    if not config.output_bias or not config.final_norm:
        raise ValueError("only a model with a bias of the output and a final norm can be widened")
    E, H = config.embed_dim, config.num_heads
    step = math.lcm(H, _BLOCK) if E % _BLOCK == 0 else H
    wide = (E // step + 1) * step
    return replace(
        config,
        embed_dim=wide,
        tied=False,
        output_bias=False,
        norm_epsilon=config.norm_epsilon * E / wide,
    )


def widen(
    config: GPTConfig, tensors: Iterable[tuple[str, np.ndarray]]
) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors of the wider model.

    Args:
        config: the model with a bias of the output.
        tensors: its names and float32 values, in the order of `parameter_table`.

    Yields:
        Names and values for `widened(config)`, in the order of its `parameter_table`.
    """
    E, wide = config.embed_dim, widened(config).embed_dim
    H, D, wide_D = config.num_heads, config.head_dim, wide // config.num_heads
    more = wide - E
    embedding = output = np.empty((0, 0), np.float32)
    for name, array in tensors:
        part = name.rpartition(".")[0].removeprefix("blocks.").partition(".")[2]
        if name in ("token_embedding", "position_embedding"):
            if name == "token_embedding" and config.tied:
                embedding = array
            yield name, _with_means(array.T, more).T
        elif part in ("norm1", "norm2") or name.startswith("final_norm."):
            values = np.zeros(wide, np.float32)
            values[:E] = array
            if name.endswith(".weight"):
                values[:E] *= math.sqrt(E / wide)
            elif name == "final_norm.bias":
                values[E] = 1.0
            yield name, values
        elif part == "attention.qkv":
            columns = E if array.ndim == 2 else 1
            values = np.zeros((3, H, wide_D, wide if array.ndim == 2 else 1), np.float32)
            values[:, :, :D, :columns] = array.reshape(3, H, D, columns)
            values[0] *= math.sqrt(wide_D / D)
            yield name, values.reshape(3 * wide, -1) if array.ndim == 2 else values.reshape(-1)
        elif part == "attention.output" and array.ndim == 2:
            values = np.zeros((E, H, wide_D), np.float32)
            values[:, :, :D] = array.reshape(E, H, D)
            yield name, _with_means(values.reshape(E, wide), more)
        elif part in ("attention.output", "feed_forward.down"):
            yield name, _with_means(array, more)
        elif name == "output.weight":
            output = array
        elif name == "output.bias":
            values = np.zeros((config.vocab_size, wide), np.float32)
            values[:, :E] = embedding if config.tied else output
            values[:, E] = array
            yield "output.weight", values
        elif array.ndim == 2:  # feed_forward.up
            yield name, np.pad(array, ((0, 0), (0, more)))
        else:
            yield name, array


def _with_means(array: np.ndarray, more: int) -> np.ndarray:
    """(E, …) → (E + more, …): the new rows are the mean of the others."""
    mean = array.mean(axis=0, dtype=np.float64).astype(np.float32)
    return np.concatenate([array, np.broadcast_to(mean, (more, *array.shape[1:]))])
