"""The package as a whole: its list of names, its free import, its examples, its README."""

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hipgpt_model

README = Path(__file__).parents[1] / "README.md"
MODULES = [module.name for module in pkgutil.iter_modules(hipgpt_model.__path__)]


def test_every_public_name_is_there():
    for name in hipgpt_model.__all__:
        assert getattr(hipgpt_model, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        hipgpt_model.nothing


def test_importing_is_free():
    """Neither NumPy nor msgpack, and not a word, until a name is used."""
    code = (
        "import sys, hipgpt_model, hipgpt_model.config\n"
        "sys.exit(' '.join(m for m in ('numpy', 'msgpack', 'hipgpt_kernels') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("", "\n")


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_are_true(name):
    module = importlib.import_module(f"hipgpt_model.{name}")
    assert doctest.testmod(module).failed == 0


def test_the_block_in_the_readme_prints_what_the_readme_says(tmp_path):
    text = README.read_text(encoding="utf-8")
    source, printed = re.search(
        r"```python\n(.*?)```\n\n```text\n(.*?)```", text, re.DOTALL
    ).groups()
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.stderr == ""
    assert done.stdout == printed


def test_the_readme_names_every_module():
    text = README.read_text(encoding="utf-8")
    for name in MODULES:
        assert f"{name}.py" in text or f"{name}/ " in text, name
