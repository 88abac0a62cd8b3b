"""Causal attention: tiles forward and backward, and a cache read in chunks for one token at a time.

The odd thing: the tiles are read out of csrc/attention_tiles.h, the table that the kernels are
compiled with, so that they stand in one place.
"""

from __future__ import annotations

import functools
import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.hip.build import SOURCES
from hipgpt_kernels.hip.kernel import FLOAT, INT, LONG, POINTER, Kernel
from hipgpt_kernels.hip.ops.seen import floating, plain, value_or_pointer, variant

if TYPE_CHECKING:
    from hipgpt_kernels.hip.array import DeviceArray
    from hipgpt_kernels.hip.backend import HipBackend

LINE = re.compile(r"^TILE\((\w+), (\w+), ([\d, ]+)\)", re.MULTILINE)
SIZES = (16, 32, 64, 128, 256)
"""Head sizes that there are kernels for; others are padded with zeros up to the next."""
PIECE_BYTES = 16
"""The wide paths read 16 bytes at a time."""
THREADS = 128
"""Threads of the kernels of attention_decode.hip."""
CHUNKS = (256, 1024)
"""Keys of a chunk: small where few (row, head) pairs leave the GPU idle, large where they fill it.
"""

FORWARD = Kernel(
    "attention",
    "attention_forward",
    *[POINTER] * 6,
    *[LONG] * 4,
    *[INT] * 12,
    *(FLOAT, INT),
)
BACKWARD_QUERIES = Kernel(
    "attention",
    "attention_backward_queries",
    *[POINTER] * 8,
    *[LONG] * 6,
    *[INT] * 15,
    *(FLOAT, INT),
)
BACKWARD_KEYS = Kernel(
    "attention",
    "attention_backward_keys",
    *[POINTER] * 8,
    *[LONG] * 6,
    *[INT] * 15,
    *(FLOAT, INT),
)
DECODE = Kernel(
    "attention_decode",
    "attention_decode",
    *[POINTER] * 8,
    *[LONG] * 4,
    *[INT] * 8,
    *(FLOAT, INT, INT, INT),
)
COMBINE = Kernel("attention_decode", "attention_combine", *[POINTER] * 3, LONG, *[INT] * 6)
APPEND = Kernel("attention_decode", "attention_append", *[POINTER] * 5, *[LONG] * 3, *[INT] * 9)


class Pass(NamedTuple):
    """The tile of one of the three passes."""

    waves: int
    """Waves in a block."""
    tiles: int
    """Tiles of 16 rows that a wave owns."""
    others: int
    """Rows that stream through LDS at a time."""
    blocks: int
    """Blocks that share a tile, each with its own columns of the result."""

    def grid(self, rows: int, pairs: int) -> int:
        """Blocks for `rows` rows of each of `pairs` (row, head) pairs."""
        return -(-rows // (self.waves * self.tiles * 16)) * pairs * self.blocks


class Tile(NamedTuple):
    """One line of the table."""

    forward: Pass
    queries: Pass
    keys: Pass


@functools.cache
def table() -> dict[tuple[str, str, int], Tile]:
    """Tiles by GPU family, unit ("MATRIX" or "FMA") and head size."""
    text = (SOURCES / "attention_tiles.h").read_text("utf-8")
    result = {}
    for family, unit, numbers in LINE.findall(text):
        D, *n, _keep, columns = map(int, numbers.split(","))
        forward, queries = Pass(n[0], n[1], n[2], 1), Pass(n[3], n[4], n[5], 1)
        result[family, unit, D] = Tile(forward, queries, Pass(n[6], n[7], n[8], D // columns))
    return result


@functools.cache
def find_tile(architecture: str, suffix: str, D: int) -> Tile:
    """The tile that the kernels for this GPU, type and head size were compiled with.

    As attention_unit.h chooses: float32 multiplies and adds, and so does everything on RDNA 2.
    """
    half = suffix != "f32"
    if architecture.startswith("sm_"):
        if half and architecture == "sm_90" and ("HOPPER", "MATRIX", D) in table():
            return table()["HOPPER", "MATRIX", D]
        family, matrix = "NVIDIA", True
    elif architecture.startswith("gfx9"):
        family, matrix = "CDNA", True
    else:
        matrix = not architecture.startswith("gfx10")
        family = "RDNA3" if half and architecture.startswith("gfx11") else "RDNA"
    return table()[family, "MATRIX" if half and matrix else "FMA", D]


def choose(backend: HipBackend, op: str, suffix: str, D: int) -> tuple[str, Tile]:
    """The suffix of the kernels' names, and their tile."""
    size = next((size for size in SIZES if size >= D), None)
    if size is None:
        raise ValueError(f"{op}: D is {D}, expected a head size of at most {SIZES[-1]} on a GPU")
    return f"{suffix}_{size}", find_tile(backend.device.architecture, suffix, size)


def steps(array: DeviceArray, *dimensions: int) -> list[int]:
    """Strides of these dimensions in elements."""
    return [array.strides[one] // array.itemsize for one in dimensions]


def batch_steps(*arrays: DeviceArray) -> list[int]:
    """The stride of the batch of each."""
    return [steps(array, 0)[0] for array in arrays]


def inner_steps(*arrays: DeviceArray) -> list[int]:
    """The strides of tokens and of heads of each, alternating."""
    return [step for array in arrays for step in steps(array, 1, 2)]


def is_wide(D: int, *arrays: DeviceArray) -> int:
    """1 where every row of every array can be read 16 bytes at a time, else 0."""

    def fits(array: DeviceArray) -> bool:
        outer = zip(array.shape[:-1], array.strides[:-1], strict=True)
        places = (array.pointer, D * array.itemsize, *(step for size, step in outer if size > 1))
        return all(place % PIECE_BYTES == 0 for place in places)

    return int(all(map(fits, arrays)))


def attention_forward(
    backend: HipBackend,
    q: DeviceArray,
    k: DeviceArray,
    v: DeviceArray,
    *,
    out: DeviceArray | None = None,
    lse: DeviceArray | None = None,
) -> DeviceArray:
    """See `Backend.attention_forward`. lse is float32 whatever q is."""
    op = "attention_forward"
    suffix = variant(op, q=q, k=k, v=v, out=out)
    checks.attention_forward(floating(q), floating(k), floating(v), floating(out), plain(lse))
    out = backend.empty(q.shape, q.dtype) if out is None else out
    if out.size:
        run_forward(backend, suffix, q, (k, steps(k, 0, 1, 2)), (v, steps(v, 0, 1, 2)), out, lse, 0)
    return out


def run_forward(
    backend: HipBackend,
    suffix: str,
    q: DeviceArray,
    k: tuple[DeviceArray, list[int]],
    v: tuple[DeviceArray, list[int]],
    out: DeviceArray,
    lse: DeviceArray | None,
    position: int | DeviceArray,
) -> None:
    """Attention of q over the keys before and at its positions; k and v with strides b, t, h."""
    B, T, H, D = q.shape
    number, pointer = value_or_pointer("attention_cached", "position", position, 0, np.int32)
    suffix, tile = choose(backend, "attention_forward", suffix, D)
    (keys, k_steps), (values, v_steps) = k, v
    FORWARD.launch(
        backend,
        suffix,
        tile.forward.grid(T, B * H),
        tile.forward.waves * backend.device.wave,
        *(q, keys, values, out, lse, pointer),
        *(*batch_steps(q), k_steps[0], v_steps[0], *batch_steps(out)),
        *(*inner_steps(q), *k_steps[1:], *v_steps[1:], *inner_steps(out)),
        *(T, H, D, number, 1.0 / math.sqrt(D), is_wide(D, q, keys, values, out)),
        overlapped=True,
    )


def attention_backward(
    backend: HipBackend,
    dout: DeviceArray,
    q: DeviceArray,
    k: DeviceArray,
    v: DeviceArray,
    out: DeviceArray,
    lse: DeviceArray,
    dq: DeviceArray,
    dk: DeviceArray,
    dv: DeviceArray,
) -> None:
    """See `Backend.attention_backward`. lse is float32 whatever q is.

    Two launches: the queries' pass writes dq and delta (B, H, T), which the keys' pass needs.
    """
    op = "attention_backward"
    others = {"k": k, "v": v, "dout": dout, "out": out, "dq": dq, "dk": dk, "dv": dv}
    suffix = variant(op, q=q, **others)
    B, T, H, D = checks.attention_backward(
        floating(dout),
        *(floating(q), floating(k), floating(v), floating(out), plain(lse)),
        *(floating(dq), floating(dk), floating(dv)),
    )
    if not q.size:
        return
    suffix, tile = choose(backend, op, suffix, D)
    delta = backend.empty((B, H, T), np.float32)
    tail = (T, H, D, 1.0 / math.sqrt(D), is_wide(D, q, *others.values()))
    wave = backend.device.wave
    strided = dout, q, k, v, out, dq
    BACKWARD_QUERIES.launch(
        backend,
        suffix,
        tile.queries.grid(T, B * H),
        tile.queries.waves * wave,
        *(dout, q, k, v, out, lse, delta, dq),
        *(*batch_steps(*strided), *inner_steps(*strided), *tail),
        overlapped=True,
    )
    strided = dout, q, k, v, dk, dv
    BACKWARD_KEYS.launch(
        backend,
        suffix,
        tile.keys.grid(T, B * H),
        tile.keys.waves * wave,
        *(dout, q, k, v, lse, delta, dk, dv),
        *(*batch_steps(*strided), *inner_steps(*strided), *tail),
        overlapped=True,
    )


def attention_cached(
    backend: HipBackend,
    q: DeviceArray,
    k: DeviceArray,
    v: DeviceArray,
    k_cache: DeviceArray,
    v_cache: DeviceArray,
    position: Any,
    *,
    out: DeviceArray | None = None,
) -> DeviceArray:
    """See `Backend.attention_cached`. `position` may be one int32 on the device, for graphs.

    It is then not checked here: where position + T > S nothing is written.
    """
    op = "attention_cached"
    suffix = variant(op, q=q, k=k, v=v, k_cache=k_cache, v_cache=v_cache, out=out)
    number, pointer = value_or_pointer(op, "position", position, 0, np.int32)
    B, T, H, D = checks.attention_cached(
        *(floating(q), floating(k), floating(v), floating(k_cache), floating(v_cache)),
        *(number, floating(out)),
    )
    S = k_cache.shape[2]
    out = backend.empty(q.shape, q.dtype) if out is None else out
    if not out.size:
        return out
    if T > 1:
        APPEND.launch(
            backend,
            suffix,
            -(-q.size // THREADS),
            THREADS,
            *(k, v, k_cache, v_cache, pointer),
            *(*batch_steps(k, v), q.size, *inner_steps(k, v), T, H, S, D, number),
        )
        cache = [H * S * D, D, S * D]
        run_forward(backend, suffix, q, (k_cache, cache), (v_cache, cache), out, None, position)
        return out
    choose(backend, op, suffix, D)  # refuses a D that is too large
    keys = S if pointer is not None else number + 1
    chunk = CHUNKS[B * H >= 4 * backend.device.compute_units]
    chunks = -(-keys // chunk)
    partial = backend.empty((B * H * chunks, 2 + D), np.float32) if chunks > 1 else None
    heads = [step for array in (q, k, v, out) for step in steps(array, 2)]
    DECODE.launch(
        backend,
        suffix,
        B * H * chunks,
        THREADS,
        *(q, k, v, k_cache, v_cache, out, partial, pointer),
        *(*batch_steps(q, k, v, out), *heads, H, S, D, number, 1.0 / math.sqrt(D)),
        *(chunks, chunk, is_wide(D, q, k, v, k_cache, v_cache)),
    )
    if partial is not None:
        COMBINE.launch(
            backend,
            suffix,
            B * H,
            THREADS,
            *(partial, out, pointer, *batch_steps(out), *steps(out, 2)),
            *(H, D, number, chunks, chunk),
        )
    return out
