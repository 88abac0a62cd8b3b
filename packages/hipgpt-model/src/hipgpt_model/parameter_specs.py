"""The one table of a GPT's parameters: names, shapes, initial values and weight decay.

They are written down here and nowhere else; layers, checkpoints and tests go by this table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from hipgpt_model.config import GPTConfig


Initial: TypeAlias = Literal["normal", "zeros", "ones"]
STANDARD_DEVIATION = 0.02
"""Of every matrix at the start (Radford et al. 2019, the released code of GPT-2)."""


@dataclass(frozen=True)
class ParameterSpec:
    """One row of the table.

    Attributes:
        name: such as "blocks.0.attention.qkv.weight".
        shape: rows are outputs: (out, in), as in PyTorch.
        initial: the kind of its first values.
        std: standard deviation of "normal", else 0.
        decay: whether weight decay applies: to matrices only.
    """

    name: str
    shape: tuple[int, ...]
    initial: Initial
    std: float
    decay: bool

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def parameter_table(config: GPTConfig) -> tuple[ParameterSpec, ...]:
    """Every parameter of a model, in the order of the forward pass.

    The two matrices that write to the residual stream in each block start smaller, by 1/√(2L), so
    that the stream's variance does not grow with depth (Radford et al. 2019, section 2.3).
    """
    V, S, E, F = config.vocab_size, config.max_seq_len, config.embed_dim, config.ff_dim
    up = 2 * F if config.activation == "swiglu" else F  # the gate's rows come first
    residual_std = STANDARD_DEVIATION / math.sqrt(2 * config.num_layers)

    def matrix(
        name: str, rows: int, columns: int, std: float = STANDARD_DEVIATION
    ) -> ParameterSpec:
        return ParameterSpec(name, (rows, columns), "normal", std, decay=True)

    def bias(name: str, size: int) -> ParameterSpec:
        return ParameterSpec(name, (size,), "zeros", 0.0, decay=False)

    def norm(name: str) -> list[ParameterSpec]:
        return [
            ParameterSpec(f"{name}.weight", (E,), "ones", 0.0, decay=False),
            bias(f"{name}.bias", E),
        ]

    table = [matrix("token_embedding", V, E), matrix("position_embedding", S, E)]
    for i in range(config.num_layers):
        block = f"blocks.{i}"
        table += [
            *norm(f"{block}.norm1"),
            matrix(f"{block}.attention.qkv.weight", 3 * E, E),
            bias(f"{block}.attention.qkv.bias", 3 * E),
            matrix(f"{block}.attention.output.weight", E, E, residual_std),
            bias(f"{block}.attention.output.bias", E),
            *norm(f"{block}.norm2"),
            matrix(f"{block}.feed_forward.up.weight", up, E),
            bias(f"{block}.feed_forward.up.bias", up),
            matrix(f"{block}.feed_forward.down.weight", E, F, residual_std),
            bias(f"{block}.feed_forward.down.bias", E),
        ]
    if config.final_norm:
        table += norm("final_norm")
    if not config.tied:
        table.append(matrix("output.weight", V, E))
    if config.output_bias:
        table.append(bias("output.bias", V))
    return tuple(table)
