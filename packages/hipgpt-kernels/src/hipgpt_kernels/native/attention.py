"""Attention by the compiled library."""

from __future__ import annotations

import math
from ctypes import byref
from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import checks
from hipgpt_kernels.cpu.attention import by_head
from hipgpt_kernels.native.library import View, address, load_library

if TYPE_CHECKING:
    from hipgpt_kernels.cpu.threads import Workers


def view(array: np.ndarray, *, heads_first: bool = False) -> View:
    """Address and strides of a (B, T, H, D) array, or of a (B, H, S, D) cache."""
    strides = [stride // array.itemsize for stride in array.strides]
    t, h = (strides[2], strides[1]) if heads_first else (strides[1], strides[2])
    return View(array.ctypes.data, strides[0], t, h)


def attend(
    workers: Workers,
    q: np.ndarray,
    k: View,
    v: View,
    out: np.ndarray,
    lse: np.ndarray | None,
    position: int,
) -> None:
    """Attention of q over the position + T rows of k and v."""
    B, T, H, D = q.shape
    views = [view(q), k, v, view(out)]
    load_library().hipgpt_attention_forward(
        workers.threads,
        *map(byref, views),
        address(lse),
        *(B, H, T, D),
        position,
        1.0 / math.sqrt(D),
    )


def attention_forward(
    workers: Workers,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    *,
    out: np.ndarray | None = None,
    lse: np.ndarray | None = None,
) -> np.ndarray:
    """See `Backend.attention_forward`."""
    checks.attention_forward(q, k, v, out, lse)
    out = np.empty(q.shape, np.float32) if out is None else out
    attend(workers, q, view(k), view(v), out, lse, 0)
    return out


def attention_backward(
    workers: Workers,
    dout: np.ndarray,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    out: np.ndarray,
    lse: np.ndarray,
    dq: np.ndarray,
    dk: np.ndarray,
    dv: np.ndarray,
) -> None:
    """See `Backend.attention_backward`."""
    B, T, H, D = checks.attention_backward(dout, q, k, v, out, lse, dq, dk, dv)
    before = [view(array) for array in (dout, q, k, v, out)]
    after = [view(array) for array in (dq, dk, dv)]
    load_library().hipgpt_attention_backward(
        workers.threads,
        *map(byref, before),
        lse.ctypes.data,
        *map(byref, after),
        *(B, H, T, D),
        1.0 / math.sqrt(D),
    )


def attention_cached(
    workers: Workers,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    k_cache: np.ndarray,
    v_cache: np.ndarray,
    position: int,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """See `Backend.attention_cached`."""
    _B, T, _H, _D = checks.attention_cached(q, k, v, k_cache, v_cache, position, out)
    end = position + T
    out = np.empty(q.shape, np.float32) if out is None else out
    k_cache[:, :, position:end] = by_head(k)
    v_cache[:, :, position:end] = by_head(v)
    keys, values = view(k_cache, heads_first=True), view(v_cache, heads_first=True)
    attend(workers, q, keys, values, out, None, position)
    return out
