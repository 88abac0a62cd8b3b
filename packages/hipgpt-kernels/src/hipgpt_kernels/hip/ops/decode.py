"""One token of each row through all layers: which kernels, by the number of rows.

Up to four rows go through csrc/decode.hip, where LayerNorm and the end of attention are part of
the products; up to 64 rows of 16 bits through csrc/decode_skinny.hip on the matrix cores; all else
through the ordinary products. The odd thing: nothing here looks at a number on the device, so that
all of it can be captured in a graph and launched again for every token.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hipgpt_kernels.decoder import check_decode
from hipgpt_kernels.hip.dtypes import suffix as suffix_of
from hipgpt_kernels.hip.kernel import FLOAT, INT, POINTER, Kernel
from hipgpt_kernels.hip.ops import layernorm, linear
from hipgpt_kernels.hip.ops.attention import is_wide
from hipgpt_kernels.hip.ops.errors import error_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hipgpt_kernels.decoder import Decoder, DecoderBlock
    from hipgpt_kernels.hip.array import DeviceArray
    from hipgpt_kernels.hip.backend import HipBackend

THREADS = 128
"""THREADS of decode.hip."""
SHORT_RESULTS, LOOP_RESULTS = 2, {1: 4, 2: 4, 4: 2}
"""Rows of the matrix that a wave takes at a time, in the loops by the rows of x; see VARIANTS."""
SHORT_BYTES, LONG_BYTES = 2048, 6144
"""Of a row of the matrix that a wave holds: SHORT_SPAN and LONG_SPAN packs a lane."""
MOST_VECTOR_ROWS = 4
SHARED_LIMIT = 48 << 10
"""Bytes of LDS that a block of decode.hip may take: what every GPU gives."""
SKINNY_ROWS = 64
SKINNY_WAVES = 8
SKINNY_STEP = 32
FINISH_THREADS = 256
NUMBERS = {None: 0, "gelu": 1, "relu": 2, "gelu_erf": 3, "swiglu": 4}
"""Activations, as decode.hip and decode_skinny.hip call them."""
SMALLEST_CHUNK, LARGEST_CHUNK = 128, 1024
"""Keys of a chunk of attention."""

PRODUCT_TYPES = (*[POINTER] * 9, *[INT] * 4, FLOAT, *[INT] * 4)
NORM = Kernel("decode", "decode_norm", *PRODUCT_TYPES)
DEEP = Kernel("decode", "decode_deep", *PRODUCT_TYPES)
CHUNKS = Kernel("decode", "decode_chunks", *PRODUCT_TYPES)
NORM_LOOP = Kernel("decode", "decode_norm_loop", *PRODUCT_TYPES)
PLAIN_LOOP = Kernel("decode", "decode_plain_loop", *PRODUCT_TYPES)
DEEP_LOOP = Kernel("decode", "decode_deep_loop", *PRODUCT_TYPES)
CHUNKS_LOOP = Kernel("decode", "decode_chunks_loop", *PRODUCT_TYPES)
LOOPS = {NORM: NORM_LOOP, DEEP: DEEP_LOOP, CHUNKS: CHUNKS_LOOP, PLAIN_LOOP: PLAIN_LOOP}
"""For matrices that are too wide, or have too many rows, to be held in registers at once."""
EMBED = Kernel("decode", "decode_embed", *[POINTER] * 5, *[INT] * 3, POINTER)
SKINNY = Kernel("decode_skinny", "decode_skinny", *[POINTER] * 5, *[INT] * 5)
FINISH = Kernel("decode_skinny", "decode_finish", *[POINTER] * 6, *[INT] * 3, FLOAT)
ATTEND = Kernel("decode_attention", "decode_attend", *[POINTER] * 6, *[INT] * 3, FLOAT, *[INT] * 3)
COMBINE = Kernel("decode_attention", "decode_combine", *[POINTER] * 3, *[INT] * 4)
ATTENTION_THREADS = 128
HEAD_SIZES = (64, 128, 256)
"""Head sizes up to which there are kernels of decode_attention.hip."""
RECORD_TAIL = 4
"""Numbers after the D of a chunk's partial result."""


class Chunks(NamedTuple):
    """How attention cuts its keys."""

    parts: int  # chunks of a full cache
    size: int  # keys of one
    partial: DeviceArray | None  # (B, H, parts, D + 4) float32, where there is more than one


class Step:
    """Everything that the kernels of one step need; made before a capture, for all its launches."""

    def __init__(
        self,
        backend: HipBackend,
        decoder: Decoder,
        x: DeviceArray,
        positions: DeviceArray,
        capacity: int,
    ) -> None:
        """Take what memory the step needs.

        Args:
            backend: where.
            decoder: the weights.
            x: (B, E), the embedded tokens; overwritten.
            positions: (B,) int32, −1 for a row that takes no part.
            capacity: S, the positions of the cache.
        """
        self.backend = backend
        self.decoder = decoder
        self.x = x
        self.positions = positions
        self.B, self.E = x.shape
        self.S = capacity
        self.H = decoder.num_heads
        self.D = self.E // self.H
        self.F = decoder.blocks[0].down_weight.shape[1]
        self.suffix = suffix_of(x.dtype)
        if self.D > HEAD_SIZES[-1]:
            raise ValueError(
                f"decode_step: D is {self.D}, expected a head size of at most {HEAD_SIZES[-1]} on "
                "a GPU"
            )
        self.norm = backend.empty((self.B, self.E), x.dtype)
        self.qkv = backend.empty((self.B, 3 * self.E), x.dtype)
        # Zeros: of a row that takes no part attention writes nothing, and the products read it.
        self.attended = backend.zeros((self.B, self.E), x.dtype)
        self.wide = backend.empty((self.B, self.F), x.dtype)
        self.chunks = self._cut()
        self.path = self._choose()

    def _cut(self) -> Chunks:
        """Chunks that give each compute unit a block or two where there are few rows."""
        units = self.backend.device.compute_units
        even = -(-self.S * self.B * self.H // (2 * units))
        size = min(max(-(-even // 64) * 64, SMALLEST_CHUNK), LARGEST_CHUNK)
        count = -(-self.S // size)
        if count == 1:
            return Chunks(1, size, None)
        shape = (self.B, self.H, count, self.D + RECORD_TAIL)
        return Chunks(count, size, self.backend.empty(shape, np.float32))

    def _choose(self) -> str:
        """Which of the three ways: "vector", "skinny" or "ordinary"."""
        itemsize = self.x.itemsize
        pack = 16 // itemsize
        if self.E % pack or self.F % pack or not aligned(self.decoder):
            return "ordinary"
        if self.B <= MOST_VECTOR_ROWS:
            rows = rows_of(self.B)
            most = max(
                (rows * self.E + 2 * self.E) * itemsize,
                rows * self.F * itemsize,
            )
            if most <= SHARED_LIMIT and self.D % pack == 0:
                return "vector"
        architecture = self.backend.device.architecture
        matrix = self.suffix != "f32" and not architecture.startswith("gfx10")
        deep = self.E % SKINNY_STEP == 0 and self.F % SKINNY_STEP == 0
        fits = 4 * self.E <= SHARED_LIMIT and self.B <= SKINNY_ROWS
        return "skinny" if matrix and deep and fits else "ordinary"

    def run(
        self, keys: Sequence[DeviceArray], values: Sequence[DeviceArray], out: DeviceArray
    ) -> None:
        """x → out (B, V), the logits; writes every cache at the positions."""
        layers = list(zip(self.decoder.blocks, keys, values, strict=True))
        {"vector": self._vector, "skinny": self._skinny, "ordinary": self._ordinary}[self.path](
            layers, out
        )

    # --- up to four rows ------------------------------------------------------------------------

    def _vector(
        self, layers: list[tuple[DecoderBlock, DeviceArray, DeviceArray]], out: DeviceArray
    ) -> None:
        decoder, x = self.decoder, self.x
        for block, k_cache, v_cache in layers:
            norm = block.norm1_weight, block.norm1_bias
            self._product(NORM, x, block.qkv_weight, block.qkv_bias, self.qkv, norm=norm)
            self._attend(k_cache, v_cache)
            self._product(
                CHUNKS, self.attended, block.output_weight, block.output_bias, x, residual=x
            )
            norm = block.norm2_weight, block.norm2_bias
            self._product(
                *(NORM, x, block.up_weight, block.up_bias, self.wide),
                norm=norm,
                activation=decoder.activation,
            )
            self._product(DEEP, self.wide, block.down_weight, block.down_bias, x, residual=x)
        if decoder.final_norm_weight is None:
            self._product(PLAIN_LOOP, x, decoder.head_weight, decoder.head_bias, out)
        else:
            norm = decoder.final_norm_weight, decoder.final_norm_bias
            self._product(NORM, x, decoder.head_weight, decoder.head_bias, out, norm=norm)

    def _product(
        self,
        kernel: Kernel,
        x: DeviceArray,
        weight: DeviceArray,
        bias: DeviceArray | None,
        out: DeviceArray,
        *,
        residual: DeviceArray | None = None,
        norm: tuple[DeviceArray | None, DeviceArray | None] = (None, None),
        activation: str | None = None,
    ) -> None:
        """out (B, N) = activation(x · weightᵀ + bias) + residual."""
        device = self.backend.device
        rows, N, K = rows_of(self.B), out.shape[1], x.shape[1]
        waves = THREADS // device.wave
        shared = rows * K * x.itemsize
        if kernel is NORM:
            shared += 2 * K * x.itemsize

        def blocks_for(results: int) -> int:
            each = results // 2 if activation == "swiglu" else results
            return -(-N // (each * waves))

        narrow = kernel in (DEEP, CHUNKS)
        blocks = blocks_for(1 if narrow else SHORT_RESULTS)
        held = (LONG_BYTES if kernel is DEEP else SHORT_BYTES) // x.itemsize
        if kernel is PLAIN_LOOP or K > held or blocks > 8 * device.compute_units:
            # As many blocks as are under way at once; their waves go on to further outputs.
            blocks = blocks_for(1 if narrow else LOOP_RESULTS[rows])
            blocks, kernel = min(blocks, 3 * device.compute_units), LOOPS[kernel]
        kernel.launch(
            self.backend,
            f"{rows}_{self.suffix}",
            blocks,
            THREADS,
            *(x, weight, bias, residual, out, *norm, self.chunks.partial, self.positions),
            *(self.B, N, K, NUMBERS[activation], self.decoder.epsilon, blocks * waves),
            *(self.H, self.chunks.parts, self.chunks.size),
            shared=shared,
            overlapped=True,
        )

    def _attend(self, k_cache: DeviceArray, v_cache: DeviceArray) -> None:
        """Attention of qkv over the caches into `attended`, or into the chunks' partial results."""
        wide = is_wide(self.D, self.qkv, k_cache, v_cache)
        held = next(size for size in HEAD_SIZES if size >= self.D)
        many = self.B * self.H > 2 * self.backend.device.compute_units
        ATTEND.launch(
            self.backend,
            f"{held}_{'many' if many else 'few'}_{self.suffix}",
            self.B * self.H * self.chunks.parts,
            ATTENTION_THREADS,
            *(self.qkv, k_cache, v_cache, self.attended, self.chunks.partial, self.positions),
            *(self.H, self.S, self.D, 1.0 / math.sqrt(self.D)),
            *(self.chunks.parts, self.chunks.size, wide),
            overlapped=True,
        )

    def _combine(self) -> None:
        """`attended` from the chunks, where there is more than one."""
        if self.chunks.partial is not None:
            COMBINE.launch(
                self.backend,
                self.suffix,
                self.B * self.H,
                ATTENTION_THREADS,
                *(self.chunks.partial, self.attended, self.positions),
                *(self.H, self.D, self.chunks.parts, self.chunks.size),
                overlapped=True,
            )

    # --- up to 64 rows --------------------------------------------------------------------------

    def _skinny(
        self, layers: list[tuple[DecoderBlock, DeviceArray, DeviceArray]], out: DeviceArray
    ) -> None:
        decoder = self.decoder
        final = decoder.final_norm_weight, decoder.final_norm_bias
        norms = [(block.norm1_weight, block.norm1_bias) for block, _, _ in layers] + [final]
        self._finish(None, None, *norms[0])
        for (block, k_cache, v_cache), following in zip(layers, norms[1:], strict=True):
            self._tall(self.norm, block.qkv_weight, block.qkv_bias, self.qkv)
            self._attend(k_cache, v_cache)
            self._combine()
            partial = self._pieces(self.attended, block.output_weight)
            self._finish(partial, block.output_bias, block.norm2_weight, block.norm2_bias)
            self._tall(
                self.norm, block.up_weight, block.up_bias, self.wide, activation=decoder.activation
            )
            partial = self._pieces(self.wide, block.down_weight)
            self._finish(partial, block.down_bias, *following)
        last = self.x if decoder.final_norm_weight is None else self.norm
        self._tall(last, decoder.head_weight, decoder.head_bias, out)

    def _tall(
        self,
        x: DeviceArray,
        weight: DeviceArray,
        bias: DeviceArray | None,
        out: DeviceArray,
        *,
        activation: str | None = None,
    ) -> None:
        """out (B, N) = activation(x · weightᵀ + bias)."""
        N, K = out.shape[1], x.shape[1]
        strips = 2 if activation == "swiglu" else 1
        if -(-N // 16) >= 16 * self.backend.device.compute_units:  # the head: read x less often
            strips = 4
        columns = 16 * strips // (2 if activation == "swiglu" else 1)
        SKINNY.launch(
            self.backend,
            f"{tiles_of(self.B)}x{strips}_{self.suffix}",
            (-(-N // columns), 1),
            SKINNY_WAVES * self.backend.device.wave,
            *(x, weight, bias, out, None, self.B, N, K, NUMBERS[activation], 1),
            overlapped=True,
        )

    def _pieces(self, x: DeviceArray, weight: DeviceArray) -> DeviceArray:
        """x · weightᵀ as (splits, B, N) float32 pieces of the depth, to be added up."""
        N, K = weight.shape
        blocks, steps = -(-N // 16), K // SKINNY_STEP
        units = self.backend.device.compute_units
        splits = max(1, min(-(-units // blocks), steps // SKINNY_WAVES))
        partial = self.backend.empty((splits, self.B, N), np.float32)
        SKINNY.launch(
            self.backend,
            f"{tiles_of(self.B)}x1_{self.suffix}",
            (blocks, splits),
            SKINNY_WAVES * self.backend.device.wave,
            *(x, weight, None, None, partial, self.B, N, K, 0, splits),
            overlapped=True,
        )
        return partial

    def _finish(
        self,
        partial: DeviceArray | None,
        bias: DeviceArray | None,
        gains: DeviceArray | None,
        offsets: DeviceArray | None,
    ) -> None:
        """x += bias + the pieces; norm = LayerNorm(x) where there are gains."""
        if partial is None and gains is None:
            return
        splits = 0 if partial is None else partial.shape[0]
        FINISH.launch(
            self.backend,
            self.suffix,
            self.B,
            FINISH_THREADS,
            *(partial, bias, self.x, gains, offsets, self.norm),
            *(self.B, self.E, splits, self.decoder.epsilon),
            shared=4 * self.E,
            overlapped=True,
        )

    # --- everything else ------------------------------------------------------------------------

    def _ordinary(
        self, layers: list[tuple[DecoderBlock, DeviceArray, DeviceArray]], out: DeviceArray
    ) -> None:
        backend, decoder, x, norm = self.backend, self.decoder, self.x, self.norm
        product = functools.partial(linear.linear_forward, backend)
        normalise = functools.partial(layernorm.layernorm_forward, backend, epsilon=decoder.epsilon)
        for block, k_cache, v_cache in layers:
            normalise(x, block.norm1_weight, block.norm1_bias, out=norm)
            product(norm, block.qkv_weight, block.qkv_bias, out=self.qkv)
            self._attend(k_cache, v_cache)
            self._combine()
            product(self.attended, block.output_weight, block.output_bias, residual=x, out=x)
            normalise(x, block.norm2_weight, block.norm2_bias, out=norm)
            product(
                *(norm, block.up_weight, block.up_bias),
                activation=decoder.activation,
                out=self.wide,
            )
            product(self.wide, block.down_weight, block.down_bias, residual=x, out=x)
        if decoder.final_norm_weight is not None and decoder.final_norm_bias is not None:
            normalise(x, decoder.final_norm_weight, decoder.final_norm_bias, out=norm)
            x = norm
        product(x, decoder.head_weight, decoder.head_bias, out=out)


def rows_of(B: int) -> int:
    """The kernel of decode.hip for B rows: that for 1, 2 or 4."""
    return 1 if B == 1 else 2 if B == 2 else 4


def tiles_of(B: int) -> int:
    """The kernel of decode_skinny.hip for B rows: that for 1, 2 or 4 tiles of 16 rows."""
    return 1 if B <= 16 else 2 if B <= 32 else 4


def aligned(decoder: Decoder) -> bool:
    """Do all weights begin on 16 bytes?"""
    arrays = [array for block in decoder.blocks for array in vars(block).values()]
    arrays += [decoder.head_weight, decoder.final_norm_weight, decoder.final_norm_bias]
    return all(array is None or array.pointer % 16 == 0 for array in arrays)


def decode_step(
    backend: HipBackend,
    decoder: Decoder,
    keys: Sequence[DeviceArray],
    values: Sequence[DeviceArray],
    tokens: DeviceArray,
    positions: DeviceArray,
    *,
    out: DeviceArray | None = None,
) -> DeviceArray:
    """See `Backend.decode_step`. A position beyond the cache counts as −1: nothing checks it."""
    B = check_decode(decoder, keys, values, tokens, positions, out)
    V, S, E, _ = decoder.sizes
    dtype = decoder.token_table.dtype
    x = backend.zeros((B, E), dtype)
    out = backend.empty((B, V), dtype) if out is None else out
    if B == 0:
        return out
    EMBED.launch(
        backend,
        suffix_of(dtype),
        B,
        THREADS,
        *(tokens, positions, decoder.token_table, decoder.position_table, x),
        *(V, S, E, error_record(backend)),
    )
    Step(backend, decoder, x, positions, S).run(keys, values, out)
    return out
