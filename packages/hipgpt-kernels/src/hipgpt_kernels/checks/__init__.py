"""Arguments are checked here, once for every backend, before anything is written.

Each function is named for its op, returns the sizes that the op goes on with, and raises with the
op, the argument, what was expected and what came: TypeError for what is no array or has another
dtype, ValueError for the rest. The files mirror those of `backend/`, the contract.
"""

from hipgpt_kernels.checks.arrays import (
    contiguous,
    dimensions,
    dtype,
    has_rows,
    needed,
    optional,
    rows,
    shape,
    writable,
    written,
)
from hipgpt_kernels.checks.generation import attention_cached, sample
from hipgpt_kernels.checks.layers import (
    ACTIVATIONS,
    activation_backward,
    activation_forward,
    add,
    attention_backward,
    attention_forward,
    dropout_forward,
    embedding_backward,
    embedding_forward,
    layernorm_backward,
    layernorm_forward,
    linear_backward_input,
    linear_backward_weight,
    linear_forward,
)
from hipgpt_kernels.checks.numbers import (
    at_least,
    finite,
    fraction,
    number,
    precision,
    word64,
)
from hipgpt_kernels.checks.training import (
    adamw_step,
    cross_entropy,
    gather_batch,
    gradient_norm,
    lerp,
    mean,
    row_means,
    step_control,
    take_row,
)

__all__ = [
    "ACTIVATIONS",
    "activation_backward",
    "activation_forward",
    "adamw_step",
    "add",
    "at_least",
    "attention_backward",
    "attention_cached",
    "attention_forward",
    "contiguous",
    "cross_entropy",
    "dimensions",
    "dropout_forward",
    "dtype",
    "embedding_backward",
    "embedding_forward",
    "finite",
    "fraction",
    "gather_batch",
    "gradient_norm",
    "has_rows",
    "layernorm_backward",
    "layernorm_forward",
    "lerp",
    "linear_backward_input",
    "linear_backward_weight",
    "linear_forward",
    "mean",
    "needed",
    "number",
    "optional",
    "precision",
    "row_means",
    "rows",
    "sample",
    "shape",
    "step_control",
    "take_row",
    "word64",
    "writable",
    "written",
]
