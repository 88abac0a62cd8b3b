"""`CpuBackend` with its heavy ops in C++; the rest stays NumPy."""

from __future__ import annotations

from hipgpt_kernels.cpu.backend import CpuBackend, bind
from hipgpt_kernels.native import attention, ops
from hipgpt_kernels.native.library import load_library


class NativeBackend(CpuBackend):
    """GPT operations on the CPU's vector units; float32 throughout.

    Raises:
        LibraryError: the compiled library is missing or cannot be loaded.
    """

    def __init__(self, threads: int | None = None) -> None:
        super().__init__(threads)
        width = load_library().hipgpt_own_width()
        self.description += f", own {width * 32}-bit vector code"

    linear_forward = bind(ops.linear_forward)
    linear_backward_input = bind(ops.linear_backward_input)
    linear_backward_weight = bind(ops.linear_backward_weight)
    activation_forward = bind(ops.activation_forward)
    activation_backward = bind(ops.activation_backward)
    layernorm_forward = bind(ops.layernorm_forward)
    layernorm_backward = bind(ops.layernorm_backward)
    attention_forward = bind(attention.attention_forward)
    attention_backward = bind(attention.attention_backward)
    attention_cached = bind(attention.attention_cached)
    cross_entropy_forward = bind(ops.cross_entropy_forward)
    cross_entropy_forward_backward = bind(ops.cross_entropy_forward_backward)
    gradient_norm = bind(ops.gradient_norm)
    adamw_step = bind(ops.adamw_step)
