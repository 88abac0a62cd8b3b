"""The examples in the docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest

import hipgpt_cli

MODULES = [
    module.name
    for module in pkgutil.walk_packages(hipgpt_cli.__path__, "hipgpt_cli.")
    if not module.name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    """Each >>> gives what stands below it."""
    if name == "hipgpt_cli.harness":
        pytest.importorskip("lm_eval", reason="lm-evaluation-harness is in `peers` only")
    assert doctest.testmod(importlib.import_module(name)).failed == 0
