"""How much memory a model takes, in bytes by part, before any of it is taken.

The odd thing: this repeats, as arithmetic, what `layers.py` asks of the arena, array by array; a
test holds the two together.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hipgpt_kernels.arena import ALIGNMENT as ARENA_ALIGNMENT
from hipgpt_model.gpt import LOGITS_BYTES
from hipgpt_model.head import rows_per_chunk
from hipgpt_model.parameters import ALIGNMENT as TENSOR_ALIGNMENT
from hipgpt_model.parameters import parameter_table

if TYPE_CHECKING:
    from hipgpt_model.config import GPTConfig

_FLOAT = 4
"""Bytes of a float32."""


def training_bytes(
    config: GPTConfig, B: int, T: int | None = None, *, logits_bytes: int = LOGITS_BYTES
) -> dict[str, int]:
    """Memory for training by part: weights, gradients, moments, activations. The corpus is extra.

    Args:
        config: the model.
        B: rows in a batch.
        T: tokens in a row; None: S.
        logits_bytes: as for `GPT`.
    """
    T = config.max_seq_len if T is None else T
    weights = weight_bytes(config)
    return {
        "weights": weights,
        "gradients": weights,
        "moments": 2 * weights,
        "activations": _training_activations(config, B, T, logits_bytes),
    }


def generation_bytes(config: GPTConfig, B: int = 1) -> dict[str, int]:
    """Memory for generation by part: weights, key-value cache, activations of the longest prompt.

    Args:
        config: the model.
        B: rows generated at once.
    """
    S, E, V = config.max_seq_len, config.embed_dim, config.vocab_size
    stream = _array(B, S, E)
    block = 2 * stream + _array(B, S, 3 * E) + _array(B, S, config.ff_dim) - stream
    head = _array(B, E) + _array(B, V)
    return {
        "weights": weight_bytes(config),
        "key-value cache": 2 * config.num_layers * _array(B, S, E),
        "activations": stream + max(block, head),
    }


def weight_bytes(config: GPTConfig) -> int:
    """Memory of one flat buffer of all parameters."""
    return sum(
        _FLOAT * TENSOR_ALIGNMENT * -(-spec.size // TENSOR_ALIGNMENT)
        for spec in parameter_table(config)
    )


def _training_activations(config: GPTConfig, B: int, T: int, logits_bytes: int) -> int:
    """The arena's height at its highest."""
    E, F, H, V = config.embed_dim, config.ff_dim, config.num_heads, config.vocab_size
    up = 2 * F if config.activation == "swiglu" else F
    stream = _array(B, T, E)
    statistics = 2 * _array(B, T)

    block = (
        5 * stream  # norm1, attention, x2, norm2 and the output; the input is counted before
        + 2 * statistics
        + _array(B, T, 3 * E)  # q, k, v
        + _array(B, H, T)  # log-sum-exp
        + _array(B, T, up)  # before the activation
        + _array(B, T, F)  # and after
    )
    norm = stream + statistics if config.final_norm else 0
    kept = stream + config.num_layers * block + norm  # the embedding comes first

    logits = _array(rows_per_chunk(B * T, V, logits_bytes), V)
    dx = stream if config.final_norm else 0  # else it takes the last output's place
    backward = _array(B, T, 3 * E) + (2 * stream if config.dropout else 0)
    return kept + max(logits, dx + backward)


def _array(*shape: int) -> int:
    """Bytes of a float32 array in the arena."""
    return -(-math.prod(shape) * _FLOAT // ARENA_ALIGNMENT) * ARENA_ALIGNMENT
