"""One token further for every row by the compiled library: all layers in one call.

The odd thing: the addresses of a model's weights are gathered once and kept for as long as the same
`Decoder` comes back, because gathering them takes longer than a small model's token.
"""

from __future__ import annotations

import ctypes
from ctypes import byref, c_float, c_int32, c_int64, c_void_p
from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels.decoder import DecoderBlock, check_decode
from hipgpt_kernels.native.library import KINDS, address, load_library

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hipgpt_kernels.cpu.threads import Workers
    from hipgpt_kernels.decoder import Decoder

KINDS_OF_WEIGHTS = {"float32": 0, "bf16": 1, "int8": 2}
"""The numbers of `Weights` in csrc/weights.h."""
MATRICES = frozenset({"qkv_weight", "output_weight", "up_weight", "down_weight", "head_weight"})
"""What is read in the chosen kind; all else is float32."""

WEIGHTS = tuple(DecoderBlock.__dataclass_fields__)
"""Of a block, in the order of `DecodeBlock` in csrc/decode.h."""


class Block(ctypes.Structure):
    """The mirror of `DecodeBlock` in csrc/decode.h."""

    _fields_ = tuple((name, c_void_p) for name in (*WEIGHTS, "keys", "values"))


class Model(ctypes.Structure):
    """The mirror of `DecodeModel` in csrc/decode.h."""

    _fields_ = (
        *((name, c_int64) for name in "VSELHF"),
        ("activation", c_int32),
        ("weights", c_int32),
        ("epsilon", c_float),
        *((name, c_void_p) for name in ("token_table", "position_table")),
        *((name, c_void_p) for name in ("norm_weight", "norm_bias", "head_weight", "head_bias")),
        ("blocks", c_void_p),
    )


class Addresses:
    """Where the weights of a decoder lie, in C's form.

    Args:
        decoder: its arrays are float32 and contiguous; kept, so that they stay where they are.
        kind: what the matrices are read as: "float32" as they are; "bf16" and "int8" are copies,
            made here, of a half and a quarter of the size.
        threads: that make them.
    """

    def __init__(self, decoder: Decoder, kind: str = "float32", threads: int = 1) -> None:
        self.decoder = decoder
        self.kind = kind
        self._copies: list[np.ndarray] = []
        self.blocks = (Block * len(decoder.blocks))()
        for own, block in zip(self.blocks, decoder.blocks, strict=True):
            for name in WEIGHTS:
                setattr(own, name, self._place(name, getattr(block, name), threads))
        V, S, E, H = decoder.sizes
        self.model = Model(
            *(V, S, E, len(decoder.blocks), H),
            decoder.blocks[0].down_weight.shape[1] if decoder.blocks else 0,
            KINDS[decoder.activation],
            KINDS_OF_WEIGHTS[kind],
            decoder.epsilon,
            address(decoder.token_table),
            address(decoder.position_table),
            address(decoder.final_norm_weight),
            address(decoder.final_norm_bias),
            self._place("head_weight", decoder.head_weight, threads),
            address(decoder.head_bias),
            ctypes.addressof(self.blocks),
        )

    def _place(self, name: str, weight: np.ndarray, threads: int) -> int | None:
        """The address of a weight, or of its copy in another kind."""
        if self.kind == "float32" or name not in MATRICES:
            return address(weight)
        library, number = load_library(), KINDS_OF_WEIGHTS[self.kind]
        copy = np.empty(library.hipgpt_weight_bytes(number, *weight.shape), np.uint8)
        library.hipgpt_pack_weights(
            threads, number, weight.ctypes.data, copy.ctypes.data, *weight.shape
        )
        self._copies.append(copy)
        return copy.ctypes.data


def decode_step(
    workers: Workers,
    addresses: Addresses,
    keys: Sequence[np.ndarray],
    values: Sequence[np.ndarray],
    tokens: np.ndarray,
    positions: np.ndarray,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """See `Backend.decode_step`."""
    decoder = addresses.decoder
    B = check_decode(decoder, keys, values, tokens, positions, out)
    V, S, _, _ = decoder.sizes
    out = np.empty((B, V), np.float32) if out is None else out
    slots = np.flatnonzero(positions >= 0).astype(np.int32)
    if len(slots) == 0:
        return out
    whole = len(slots) == B
    tokens, positions = (np.ascontiguousarray(array[slots]) for array in (tokens, positions))
    for name, array, limit in (("tokens", tokens, V), ("positions", positions, S)):
        if array.min() < 0 or array.max() >= limit:
            raise ValueError(
                f"decode_step: {name} are {array.min()} … {array.max()}, expected 0 … {limit - 1}"
            )
    for own, key, value in zip(addresses.blocks, keys, values, strict=True):
        own.keys, own.values = key.ctypes.data, value.ctypes.data
    logits = out if whole and out.flags.c_contiguous else np.empty((len(slots), V), np.float32)
    load_library().hipgpt_decode(
        workers.threads,
        byref(addresses.model),
        tokens.ctypes.data,
        positions.ctypes.data,
        slots.ctypes.data,
        logits.ctypes.data,
        len(slots),
    )
    if logits is not out:
        out[slots] = logits
    return out
