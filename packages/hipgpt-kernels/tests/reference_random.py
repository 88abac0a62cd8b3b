"""The formulas of `hipgpt_kernels.reference_random`; see `reference.py`."""

from hipgpt_kernels.reference_random import *  # noqa: F403
