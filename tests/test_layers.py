"""The layers of docs/architecture.md, held by reading every import in the source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# What each package may import beside the standard library and itself.
ALLOWED = {
    "hipgpt_tokenizer": set(),
    "hipgpt_kernels": {"numpy", "threadpoolctl"},
    "hipgpt_model": {"numpy", "msgpack", "hipgpt_kernels"},
    "hipgpt_cli": {
        "click",
        "rich",
        "numpy",
        "hipgpt_tokenizer",
        "hipgpt_kernels",
        "hipgpt_model",
    },
}

# Within a package, a module may import only what stands to its left, or beside it in its group.
ORDER = {
    "hipgpt_kernels": [
        {"philox", "checks", "backend", "select"},
        {"arena"},
        {"cpu"},
    ],
    "hipgpt_model": [
        {"errors", "config"},
        {"schedule", "parameters", "data", "memory"},
        {"layers", "optim"},
        {"gpt"},
        {"generate", "evaluate"},
        {"train"},
        {"checkpoint"},
    ],
}

PRINTING = {"hipgpt_cli"}


def sources(package: str) -> list[Path]:
    """Every module of a package."""
    folder = ROOT / "packages" / package.replace("_", "-") / "src" / package
    return sorted(folder.rglob("*.py"))


ALL = [(package, path) for package in ALLOWED for path in sources(package)]


def named(case: tuple[str, Path]) -> str:
    return str(case[1].relative_to(ROOT / "packages"))


def type_checking_blocks(tree: ast.Module) -> set[ast.AST]:
    """Nodes under `if TYPE_CHECKING:`, which never run."""
    inside: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            inside.update(child for part in node.body for child in ast.walk(part))
    return inside


def imports(path: Path, *, typing: bool) -> list[tuple[int, str]]:
    """(line, dotted module) of every import; those for type checkers only where `typing`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = set() if typing else type_checking_blocks(tree)
    found = []
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            assert node.module is not None
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


@pytest.mark.parametrize("case", ALL, ids=named)
def test_package_imports_only_what_lies_below_it(case: tuple[str, Path]) -> None:
    import sys

    package, path = case
    for line, module in imports(path, typing=True):
        top = module.split(".")[0]
        if top == package or top in sys.stdlib_module_names:
            continue
        assert top in ALLOWED[package], f"{path}:{line}: {package} may not import {top}"


@pytest.mark.parametrize(
    "case", [case for case in ALL if case[0] in ORDER], ids=named
)
def test_modules_import_one_way(case: tuple[str, Path]) -> None:
    package, path = case
    folder = ROOT / "packages" / package.replace("_", "-") / "src" / package
    own = path.relative_to(folder).with_suffix("").parts[0]
    if own == "__init__":
        return
    order = ORDER[package]
    rank = {name: place for place, group in enumerate(order) for name in group}
    assert own in rank, f"{path}: give {own} a place in ORDER"
    for line, module in imports(path, typing=False):
        parts = module.split(".")
        if parts[0] != package or len(parts) < 2 or parts[1] not in rank or own == "select":
            continue
        other = parts[1]
        assert other == own or rank[other] <= rank[own], f"{path}:{line}: {own} imports {other}"


@pytest.mark.parametrize("case", ALL, ids=named)
def test_module_says_what_it_is(case: tuple[str, Path]) -> None:
    _, path = case
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, f"{path}: no module docstring"


@pytest.mark.parametrize("case", ALL, ids=named)
def test_only_the_command_line_prints(case: tuple[str, Path]) -> None:
    package, path = case
    if package in PRINTING:
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{path}:{node.lineno}: a library returns"


def test_hip_python_is_imported_in_one_module_at_most() -> None:
    importers = [
        path
        for _, path in ALL
        for _, module in imports(path, typing=True)
        if module.split(".")[0] in {"hip", "rocm"}
    ]
    assert {path.name for path in importers} <= {"driver.py"}
