"""Find and load the widest compiled library that this processor executes; declare its functions."""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, c_char_p, c_double, c_float, c_int32, c_int64, c_uint64, c_void_p
from functools import cache
from typing import TYPE_CHECKING, Any

from hipgpt_kernels.native.build import SOURCES, library_path, source_hash

if TYPE_CHECKING:
    import numpy as np


KINDS = {None: 0, "gelu": 1, "relu": 2, "swiglu": 3, "gelu_erf": 4}
"""The numbers of `Activation` in csrc/activation.h."""


REMEDY = 'run "python -m hipgpt_kernels.native.build" with a C++ compiler at hand'


class LibraryError(RuntimeError):
    """The compiled library is missing or cannot be loaded; the message says what to do."""


class Epilogue(ctypes.Structure):
    """What follows a product; the mirror of `Epilogue` in csrc/gemm.h."""

    _fields_ = (
        ("bias", c_void_p),
        ("activation", c_int32),
        ("backward", c_int32),
        ("before", c_void_p),
        ("ld_before", c_int64),
        ("residual", c_void_p),
        ("ld_residual", c_int64),
    )


class View(ctypes.Structure):
    """A (B, T, H, D) array by its strides in elements; the mirror of `View` in csrc/kernels.cpp."""

    _fields_ = (("data", c_void_p), ("b", c_int64), ("t", c_int64), ("h", c_int64))


P, N, F, V = c_void_p, c_int64, c_float, POINTER(View)

I = c_int32
SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "hipgpt_sources": (c_char_p, []),
    "hipgpt_width": (I, []),
    "hipgpt_own_width": (I, []),
    "hipgpt_gemm": (None, [I, N, N, N, P, N, N, P, N, N, P, I, POINTER(Epilogue)]),
    "hipgpt_add_rows": (None, [I, P, P, N, N]),
    "hipgpt_activation_forward": (None, [I, P, P, N, N, I]),
    "hipgpt_activation_backward": (None, [I, P, P, P, N, N, I]),
    "hipgpt_layernorm_forward": (None, [I, P, P, P, F, P, P, P, N, N]),
    "hipgpt_layernorm_backward": (None, [I, P, P, P, P, P, P, P, P, N, N]),
    "hipgpt_cross_entropy": (None, [I, P, P, P, P, N, N, I, F]),
    "hipgpt_adamw": (None, [I, P, P, P, P, N, F, F, F, F, F, F, F, F]),
    "hipgpt_squares": (c_double, [I, P, N]),
    "hipgpt_dropout": (None, [I, P, P, P, N, c_uint64, F, c_uint64, c_uint64]),
    "hipgpt_embedding_backward": (None, [I, P, P, P, N, N]),
    "hipgpt_attention_forward": (None, [I, V, V, V, V, P, N, N, N, N, N, F]),
    "hipgpt_decode": (None, [I, P, P, P, P, P, N]),
    "hipgpt_weight_bytes": (N, [I, N, N]),
    "hipgpt_pack_weights": (None, [I, I, P, P, N, N]),
    "hipgpt_attention_backward": (None, [I, V, V, V, V, V, P, V, V, V, N, N, N, N, F]),
}
"""Result and arguments of every function; the first argument is the number of threads."""


def open_library(width: int) -> Any:
    """The library for vectors of `width` floats, its functions declared."""
    path = library_path(width)
    if not path.exists():
        raise LibraryError(f"the native CPU library is not built; {REMEDY}")
    try:
        library = ctypes.CDLL(str(path))
        for name, (result, arguments) in SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        built_from = library.hipgpt_sources().decode()
    except (OSError, AttributeError) as error:
        raise LibraryError(
            f"the native CPU library {path.name} cannot be loaded ({error}); {REMEDY}"
        ) from error
    if SOURCES.exists() and built_from != source_hash():
        raise LibraryError(f"the native CPU library is older than its sources; {REMEDY}")
    return library


@cache
def load_library() -> Any:
    """The widest library that this processor executes, or that HIPGPT_CPU_WIDTH allows.

    Raises:
        LibraryError: none was built, or it cannot be loaded.
        ValueError: HIPGPT_CPU_WIDTH is no width.
    """
    narrow = open_library(4)
    width = min(narrow.hipgpt_width(), allowed_width())
    return narrow if width == 4 else open_library(width)


def allowed_width() -> int:
    """HIPGPT_CPU_WIDTH: the most floats a vector may have."""
    text = os.environ.get("HIPGPT_CPU_WIDTH", "16")
    if text not in ("4", "8", "16"):
        raise ValueError(f"HIPGPT_CPU_WIDTH is {text!r}, expected 4, 8 or 16")
    return int(text)


def address(array: np.ndarray | None) -> int | None:
    """Where an array begins, as C wants it."""
    return None if array is None else array.ctypes.data
