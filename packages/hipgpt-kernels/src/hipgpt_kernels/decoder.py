"""What a backend needs to know of a GPT to make token after token without its layers.

`Decoder` names the weights; `Backend.decode_step` reads one token of each row and gives logits,
`Backend.decode_loop` draws from them too. The odd thing: `decode_step` here does it with the
ordinary ops and is what fused ones are compared with; a backend that has no better one uses it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hipgpt_kernels import checks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hipgpt_kernels.backend import Activation, Array, Backend


@dataclass(frozen=True)
class DecoderBlock:
    """The weights of one pre-norm block; all of one dtype. Matrices are (outputs, inputs)."""

    norm1_weight: Array  # (E,)
    norm1_bias: Array  # (E,)
    qkv_weight: Array  # (3E, E): the rows of q, then k, then v, each head by head
    qkv_bias: Array  # (3E,)
    output_weight: Array  # (E, E)
    output_bias: Array  # (E,)
    norm2_weight: Array  # (E,)
    norm2_bias: Array  # (E,)
    up_weight: Array  # (F, E), swiglu (2F, E): the gate's rows first
    up_bias: Array  # (F,), swiglu (2F,)
    down_weight: Array  # (E, F)
    down_bias: Array  # (E,)


@dataclass(frozen=True)
class Decoder:
    """The weights of a GPT, as `Backend.decode_step` wants them.

    x = token_table[token] + position_table[position]; each block does x += output(attention(qkv(
    norm1(x)))) and then x += down(activation(up(norm2(x)))); logits = head(final_norm(x)).
    """

    token_table: Array  # (V, E)
    position_table: Array  # (S, E)
    blocks: tuple[DecoderBlock, ...]
    final_norm_weight: Array | None  # (E,); None: no final norm
    final_norm_bias: Array | None  # (E,)
    head_weight: Array  # (V, E), may be token_table
    head_bias: Array | None  # (V,)
    num_heads: int
    activation: Activation
    epsilon: float

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """V, S, E, H."""
        V, E = self.token_table.shape
        return V, self.position_table.shape[0], E, self.num_heads


def check_decode(
    decoder: Decoder,
    keys: Sequence[Array],
    values: Sequence[Array],
    tokens: Any,
    positions: Any,
    out: Any,
) -> int:
    """B, where the arguments of `Backend.decode_step` fit together.

    Raises:
        ValueError: a shape is wrong, or tokens or positions are no int32; it is named.
    """
    V, S, E, H = decoder.sizes
    op, L, B = "decode_step", len(decoder.blocks), tokens.shape[0] if tokens.shape else 0
    for name, caches in (("keys", keys), ("values", values)):
        if len(caches) != L:
            raise ValueError(f"{op}: {name} has {len(caches)} arrays, expected {L}, one a block")
        for cache in caches:
            checks.shape(op, name, cache, (B, H, S, E // H), "(B, H, S, D)")
    for name, array in (("tokens", tokens), ("positions", positions)):
        checks.shape(op, name, array, (B,), "(B,)")
        checks.dtype(op, name, array, np.dtype(np.int32))
    if out is not None:
        checks.shape(op, "out", out, (B, V), "(B, V)")
    return B


def decode_step(
    backend: Backend,
    decoder: Decoder,
    keys: Sequence[Array],
    values: Sequence[Array],
    tokens: Array,
    positions: Array,
    *,
    out: Array | None = None,
) -> Array:
    """`Backend.decode_step` with the ordinary ops; waits for the device to know the positions."""
    B = check_decode(decoder, keys, values, tokens, positions, out)
    V, _, E, H = decoder.sizes
    dtype = decoder.token_table.dtype
    where = [int(position) for position in backend.to_numpy(positions)]
    live = [row for row in range(B) if where[row] >= 0]
    x = backend.zeros((B, E), dtype)
    for row in live:
        backend.embedding_forward(
            tokens[row : row + 1].reshape((1, 1)),
            decoder.token_table,
            decoder.position_table,
            position=where[row],
            out=x[row : row + 1].reshape((1, 1, E)),
        )
    norm, attended = backend.empty((B, E), dtype), backend.zeros((B, E), dtype)
    qkv = backend.empty((B, 3 * E), dtype)
    wide = backend.empty((B, decoder.blocks[0].down_weight.shape[1]), dtype)  # (B, F)
    for block, k_cache, v_cache in zip(decoder.blocks, keys, values, strict=True):
        backend.layernorm_forward(
            x, block.norm1_weight, block.norm1_bias, epsilon=decoder.epsilon, out=norm
        )
        backend.linear_forward(norm, block.qkv_weight, block.qkv_bias, out=qkv)
        packed = qkv.reshape((B, 1, 3, H, E // H))
        for row in live:
            one = slice(row, row + 1)
            q, k, v = (packed[one, :, part] for part in range(3))  # (1, 1, H, D) each
            backend.attention_cached(
                *(q, k, v, k_cache[one], v_cache[one], where[row]),
                out=attended[one].reshape((1, 1, H, E // H)),
            )
        backend.linear_forward(attended, block.output_weight, block.output_bias, residual=x, out=x)
        backend.layernorm_forward(
            x, block.norm2_weight, block.norm2_bias, epsilon=decoder.epsilon, out=norm
        )
        backend.linear_forward(
            norm, block.up_weight, block.up_bias, activation=decoder.activation, out=wide
        )
        backend.linear_forward(wide, block.down_weight, block.down_bias, residual=x, out=x)
    if decoder.final_norm_weight is not None:
        backend.layernorm_forward(
            x, decoder.final_norm_weight, decoder.final_norm_bias, epsilon=decoder.epsilon, out=x
        )
    out = backend.empty((B, V), dtype) if out is None else out
    return backend.linear_forward(x, decoder.head_weight, decoder.head_bias, out=out)
