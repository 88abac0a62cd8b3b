"""`CpuBackend` with its heavy ops in C++; the rest stays NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hipgpt_kernels.cpu.backend import CpuBackend, bind
from hipgpt_kernels.native import (
    activation,
    adamw,
    attention,
    cross_entropy,
    decode,
    dropout,
    embedding,
    layernorm,
    linear,
)
from hipgpt_kernels.native.library import load_library

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from hipgpt_kernels.decoder import Decoder


class NativeBackend(CpuBackend):
    """GPT operations on the CPU's vector units; float32 throughout.

    Raises:
        LibraryError: the compiled library is missing or cannot be loaded.
    """

    def __init__(self, threads: int | None = None) -> None:
        super().__init__(threads)
        width = load_library().hipgpt_own_width()
        self.description += f", own {width * 32}-bit vector code"
        self._addresses: decode.Addresses | None = None
        self._decode_weights = "float32"

    @property
    def decode_weights(self) -> str:
        """What `decode_step` reads matrices as: "float32", "bf16" or "int8".

        A token reads every weight once and memory decides how long that takes, so the two rounded
        copies, which are made at the next step, save up to a half and three quarters of the time.
        All sums stay float32. Prompts are read with the weights as they are.
        """
        return self._decode_weights

    @decode_weights.setter
    def decode_weights(self, kind: str) -> None:
        if kind not in decode.KINDS_OF_WEIGHTS:
            choices = ", ".join(decode.KINDS_OF_WEIGHTS)
            raise ValueError(f"decode_weights is {kind!r}, expected one of {choices}")
        self._decode_weights = kind

    def decode_step(
        self,
        decoder: Decoder,
        keys: Sequence[np.ndarray],
        values: Sequence[np.ndarray],
        tokens: np.ndarray,
        positions: np.ndarray,
        *,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """See `Backend.decode_step`. A row gets the same bits in any batch and with any threads."""
        last = self._addresses
        if last is None or last.decoder is not decoder or last.kind != self.decode_weights:
            self._addresses = None  # the old copies go before the new ones come
            last = decode.Addresses(decoder, self.decode_weights, self.workers.threads)
            self._addresses = last
        return decode.decode_step(self.workers, last, keys, values, tokens, positions, out)

    linear_forward = bind(linear.linear_forward)
    linear_backward_input = bind(linear.linear_backward_input)
    linear_backward_weight = bind(linear.linear_backward_weight)
    activation_forward = bind(activation.activation_forward)
    activation_backward = bind(activation.activation_backward)
    layernorm_forward = bind(layernorm.layernorm_forward)
    layernorm_backward = bind(layernorm.layernorm_backward)
    attention_forward = bind(attention.attention_forward)
    attention_backward = bind(attention.attention_backward)
    attention_cached = bind(attention.attention_cached)
    cross_entropy_forward = bind(cross_entropy.cross_entropy_forward)
    cross_entropy_forward_backward = bind(cross_entropy.cross_entropy_forward_backward)
    gradient_norm = bind(adamw.gradient_norm)
    adamw_step = bind(adamw.adamw_step)
    dropout_forward = bind(dropout.dropout_forward)
    embedding_backward = bind(embedding.embedding_backward)
