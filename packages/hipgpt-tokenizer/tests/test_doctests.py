"""The examples in the docstrings hold; `Tokenizer` is known in all of them."""

import doctest
import importlib
import pkgutil

import pytest

import hipgpt_tokenizer

MODULES = [
    found.name for found in pkgutil.walk_packages(hipgpt_tokenizer.__path__, "hipgpt_tokenizer.")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    known = {"Tokenizer": hipgpt_tokenizer.Tokenizer}
    assert doctest.testmod(importlib.import_module(name), extraglobs=known).failed == 0
