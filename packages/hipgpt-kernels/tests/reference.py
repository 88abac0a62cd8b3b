"""The formulas of `hipgpt_kernels.reference`, which every test of an op is held to.

The odd thing: they ship with the package, for `doctor`. What keeps them the tests' own all the same
is that they import nothing of it (a test here says so) and that finite differences prove them.
"""

from hipgpt_kernels.reference import *  # noqa: F403
