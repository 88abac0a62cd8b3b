"""The layers of docs/architecture.md, held by reading every import in the source.

Between packages: what each may import. Inside a package: imports run one way, which means that no
two modules need each other, and that the groups of ORDER import only what stands before them.
"""

from __future__ import annotations

import ast
import graphlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# What each package may import beside the standard library and itself.
ALLOWED = {
    "hipgpt_tokenizer": set(),
    "hipgpt_kernels": {"numpy", "threadpoolctl", "rocm"},
    "hipgpt_model": {"numpy", "msgpack", "mpi4py", "hipgpt_kernels"},
    "hipgpt_cli": {
        "click",
        "rich",
        "datasets",
        "matplotlib",
        "pyarrow",
        "numpy",
        "starlette",
        "torch",
        "uvicorn",
        "prompt_toolkit",
        "huggingface_hub",
        "lm_eval",
        "hipgpt_tokenizer",
        "hipgpt_kernels",
        "hipgpt_model",
    },
}

# Modules and folders of a package, lowest first.
ORDER = {
    "hipgpt_kernels": [
        {"philox", "checks", "backend", "select", "reference"},
        {"reference_random", "decoder"},
        {"arena", "decode_loop"},
        {"cpu"},
        {"native"},
        {"hip"},
        {"foreign", "doctor", "recorder"},
        {"ops"},
    ],
    "hipgpt_model": [
        {"config", "stopping", "random_streams"},
        {"data_shard"},
        {"data_manifest"},
        {"schedule", "parameter_specs", "data"},
        {"flat_layout"},
        {"parameters"},
        {"data_feed", "data_folder"},
        {"layers", "optim", "ema"},
        {"head", "plan", "program"},
        {"gpt"},
        {"rows"},
        {"batch"},
        {"generate", "evaluate", "memory"},
        {"hellaswag"},
        {"checkpoint_header"},
        {"checkpoint_stream", "training_state"},
        {"checkpoint"},
        {"checkpoint_convert", "saving", "warm_start"},
        {"passes", "run_setup", "step_report"},
        {"train"},
        {"distributed"},
        {"interop"},
    ],
}

PRINTING = {"hipgpt_cli"}


def folder_of(package: str) -> Path:
    return ROOT / "packages" / package.replace("_", "-") / "src" / package


def sources(package: str) -> list[Path]:
    """Every module of a package."""
    return sorted(folder_of(package).rglob("*.py"))


ALL = [(package, path) for package in ALLOWED for path in sources(package)]


def named(case: tuple[str, Path]) -> str:
    return str(case[1].relative_to(ROOT / "packages"))


def module_name(package: str, path: Path) -> str:
    """Dotted name of a file, a package's own for its __init__."""
    parts = path.relative_to(folder_of(package)).with_suffix("").parts
    return ".".join([package, *(part for part in parts if part != "__init__")])


def imported(package: str, path: Path, node: ast.AST) -> list[str]:
    """Dotted names that an import statement brings in; none for other statements."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        here = module_name(package, path).split(".")
        up = node.level - (path.name == "__init__.py")
        base = ".".join(here[: len(here) - up] + ([base] if base else []))
    return [f"{base}.{alias.name}" for alias in node.names]


def all_imports(package: str, path: Path) -> list[tuple[int, str]]:
    """(line, dotted name) of every import in a file, wherever it stands."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        (node.lineno, name) for node in ast.walk(tree) for name in imported(package, path, node)
    ]


def import_time_imports(package: str, path: Path) -> list[str]:
    """Dotted names of the imports that run when the module is imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [name for node in tree.body for name in imported(package, path, node)]


@pytest.mark.parametrize("case", ALL, ids=named)
def test_package_imports_only_what_lies_below_it(case: tuple[str, Path]) -> None:
    package, path = case
    for line, name in all_imports(package, path):
        top = name.split(".")[0]
        if top != package and top not in sys.stdlib_module_names:
            assert top in ALLOWED[package], f"{path}:{line}: {package} may not import {top}"


@pytest.mark.parametrize("package", ALLOWED)
def test_no_two_modules_need_each_other(package: str) -> None:
    """The graph of what runs at import has no cycle; the error names one."""
    modules = {module_name(package, path): path for path in sources(package)}
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        names = import_time_imports(package, path)
        # "a.b.c" is the module a.b.c, or a name in the module a.b.
        targets = {name if name in modules else name.rpartition(".")[0] for name in names}
        graph[module] = {target for target in targets if target in modules} - {module, package}
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("case", [case for case in ALL if case[0] in ORDER], ids=named)
def test_groups_import_what_stands_before_them(case: tuple[str, Path]) -> None:
    package, path = case
    own = path.relative_to(folder_of(package)).with_suffix("").parts[0]
    if own == "__init__":
        return
    rank = {name: place for place, group in enumerate(ORDER[package]) for name in group}
    assert own in rank, f"{path}: give {own} a place in ORDER"
    for name in import_time_imports(package, path):
        parts = name.split(".")
        if parts[0] == package and len(parts) > 1 and parts[1] in rank and parts[1] != own:
            assert rank[parts[1]] < rank[own], f"{path}: {own} imports {parts[1]}"


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


def test_hip_python_is_imported_in_one_folder() -> None:
    importers = {
        path.parent.name
        for package, path in ALL
        for _, name in all_imports(package, path)
        if name.split(".")[0] in {"hip", "rocm"}
    }
    assert importers <= {"driver"}
