"""Decoding one token a row, fused over all layers, held to the formulas of its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hipgpt_kernels import reference
from hipgpt_kernels.doctor.cases.case import Case, case

if TYPE_CHECKING:
    from hipgpt_kernels.doctor.trial import Trial

CASES: list[Case] = []

V, S, E, H, F, L = 50, 12, 64, 2, 96, 2
BLOCK = {
    "norm1_weight": (E,),
    "norm1_bias": (E,),
    "qkv_weight": (3 * E, E),
    "qkv_bias": (3 * E,),
    "output_weight": (E, E),
    "output_bias": (E,),
    "norm2_weight": (E,),
    "norm2_bias": (E,),
    "up_weight": (F, E),
    "up_bias": (F,),
    "down_weight": (E, F),
    "down_bias": (E,),
}
ENDS = {
    "token_table": (V, E),
    "position_table": (S, E),
    "final_norm_weight": (E,),
    "final_norm_bias": (E,),
    "head_weight": (V, E),
    "head_bias": (V,),
}


def _decoded(positions: list[int], tokens: Any, *arrays: Any) -> Any:
    """The logits (B, V) of one token a row, from the formulas of its parts.

    The arrays are the ends, the blocks' weights, then keys and values of each block.
    """
    ends = dict(zip(ENDS, arrays, strict=False))
    per_block = [
        dict(zip(BLOCK, arrays[len(ENDS) + i * len(BLOCK) :], strict=False)) for i in range(L)
    ]
    caches = arrays[len(ENDS) + L * len(BLOCK) :]
    rows = []
    for b, position in enumerate(positions):
        x = ends["token_table"][tokens[b]] + ends["position_table"][position]
        x = x[None, None]  # (1, 1, E)
        for i, w in enumerate(per_block):
            norm = reference.layernorm_forward(x, w["norm1_weight"], w["norm1_bias"])[0]
            qkv = reference.linear_forward(norm, w["qkv_weight"], w["qkv_bias"])
            q, k, v = (part.reshape(1, 1, H, E // H) for part in np.split(qkv, 3, axis=-1))
            keys, values = caches[2 * i][b : b + 1], caches[2 * i + 1][b : b + 1]
            heads = reference.attention_cached(q, k, v, keys, values, position)[0]
            x = reference.linear_forward(
                heads.reshape(1, 1, E), w["output_weight"], w["output_bias"], None, x
            )
            norm = reference.layernorm_forward(x, w["norm2_weight"], w["norm2_bias"])[0]
            up = reference.linear_forward(norm, w["up_weight"], w["up_bias"], "gelu")
            x = reference.linear_forward(up, w["down_weight"], w["down_bias"], None, x)
        norm = reference.layernorm_forward(x, ends["final_norm_weight"], ends["final_norm_bias"])[0]
        rows.append(reference.linear_forward(norm, ends["head_weight"], ends["head_bias"])[0, 0])
    return np.stack(rows)


def _decode(t: Trial, positions: list[int]) -> None:
    from hipgpt_kernels.decoder import Decoder, DecoderBlock

    def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
        return {
            name: t.normal(*shape, scale=shape[-1] ** -0.5 if len(shape) == 2 else 0.5)
            for name, shape in shapes.items()
        }

    B = len(positions)
    ends, blocks = weights(ENDS), [weights(BLOCK) for _ in range(L)]
    caches = [t.normal(B, H, S, E // H) for _ in range(2 * L)]
    tokens = t.ids(V, B)
    inputs = [
        *ends.values(),
        *(pair for block in blocks for pair in block.values()),
        *caches,
    ]
    made = tuple(
        DecoderBlock(**{name: pair.device for name, pair in block.items()}) for block in blocks
    )
    decoder = Decoder(
        **{name: pair.device for name, pair in ends.items()},
        blocks=made,
        num_heads=H,
        activation="gelu",
        epsilon=1e-5,
    )
    copies = [t.copy(one) for one in caches]
    where = t.backend.from_numpy(np.array(positions, np.int32))
    out = t.backend.decode_step(decoder, copies[::2], copies[1::2], tokens.device, where)
    # What goes from op to op is rounded on the way, several times a block.
    t.check("logits", out, lambda *a: _decoded(positions, *a), tokens, *inputs, low_ulps=8)


@case(CASES, "decode_step", "one row")
def _decode_one(t: Trial) -> None:
    _decode(t, [7])


@case(CASES, "decode_step", "three rows")
def _decode_rows(t: Trial) -> None:
    _decode(t, [5, 0, 11])
