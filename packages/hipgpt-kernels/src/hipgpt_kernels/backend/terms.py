"""The terms of the contract: what an array, an activation, a number and a precision are.

The odd thing: an array is `Any`. NumPy's and the GPU's share no base class, only what `contract`
asks of them.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

Array: TypeAlias = Any
Activation: TypeAlias = Literal["gelu", "gelu_erf", "relu", "swiglu"]
Number: TypeAlias = Any
"""A number, or an array of shape () on the device, which is read when the op runs: in a captured
graph it changes from one launch to the next. Each op says the array's dtype."""
Precision: TypeAlias = Literal["float32", "bf16", "fp16"]
