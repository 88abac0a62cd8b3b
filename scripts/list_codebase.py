"""Write the lists of docs/codebase.md: every file with the first sentence that it says of itself.

    python scripts/list_codebase.py

The odd thing: only what stands below the marker is written; a test compares it with the tree, so a
new file, or another first sentence, means running this again.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]

PAGE = ROOT / "docs" / "codebase.md"

MARKER = "<!-- from here on written by scripts/list_codebase.py -->"

PACKAGES = ("hipgpt-tokenizer", "hipgpt-kernels", "hipgpt-model", "hipgpt-cli")

ENDINGS = frozenset({".py", ".hip", ".h", ".cpp", ".js", ".css", ".html"})

BESIDE = ("examples", "benchmarks", "tests")
"""Folders of a package beside src/."""

PURPOSES = {
    "hipgpt_kernels/csrc": "GPU kernels, a file an op; headers hold what several need.",
    "hipgpt_kernels/csrc/nvidia": "A `libamdhip64.so` of our own, on top of CUDA's driver.",
    "hipgpt_kernels/native/csrc": "Vector code, a header an op; Python calls `kernels.cpp`.",
    "hipgpt_cli/serve/page": "The page that `hipgpt serve` shows in a browser.",
    "hipgpt-kernels/examples": "Attention, linear layers and losses for arrays of other libraries.",
    "hipgpt-kernels/tests/emulator": "AMD's GPUs without one: their machine code is executed.",
    "hipgpt-model/tests/ranks": "What the tests start as several processes.",
}
"""What folders are for that have no `__init__.py` to say it."""


def page() -> str:
    """The whole text of docs/codebase.md as it should be."""
    before, _, _ = PAGE.read_text(encoding="utf-8").partition(MARKER)
    parts = [f"{before}{MARKER}\n"]
    for package in PACKAGES:
        top = ROOT / "packages" / package
        source = top / "src" / package.replace("-", "_")
        parts.append(f"## {package}\n")
        for folder in _folders(source):
            parts += _listing(folder, folder.relative_to(source.parent).as_posix())
        for name in BESIDE:
            for folder in _folders(top / name) if (top / name).is_dir() else ():
                parts += _listing(folder, folder.relative_to(top.parent).as_posix())
    parts.append("## For the whole repository\n")
    parts += _listing(ROOT / "scripts", "scripts")
    parts += _listing(ROOT / "tests", "tests")
    return "\n".join(parts)


def _folders(top: Path) -> Iterator[Path]:
    """A folder and all below it that hold source."""
    yield top
    for path in sorted(top.iterdir()):
        if path.is_dir() and not path.name.startswith(("_", ".")):
            yield from _folders(path)


def _listing(folder: Path, name: str) -> list[str]:
    """A heading and a table; nothing for a folder that has nothing to tell."""
    files = sorted(path for path in folder.glob("*") if path.suffix in ENDINGS)
    tests = [path for path in files if path.name.startswith("test_")]
    told = [path for path in files if path not in tests and path.name != "__init__.py"]
    own = folder / "__init__.py"
    intro = [f"{sentence(own)}\n"] if own.is_file() else []
    intro += [f"{PURPOSES[name]}\n"] if name in PURPOSES else []
    if tests and folder.parent != ROOT:
        intro.append("`test_….py`, named like what they test.\n")
    elif tests:
        told = files
    if not (told or own.is_file() or name in PURPOSES):
        return []
    rows = [f"| `{path.name}` | {sentence(path).replace('|', chr(92) + '|')} |" for path in told]
    table = ["| file | what it is |", "|---|---|", *rows, ""] if rows else []
    return [f"### {name}/\n", *intro, *table]


def sentence(path: Path) -> str:
    """The first sentence of a file's docstring or first comment."""
    text = path.read_text(encoding="utf-8")
    words = ast.get_docstring(ast.parse(text)) if path.suffix == ".py" else _comment(text)
    paragraph = " ".join((words or "").strip().partition("\n\n")[0].split())
    return re.split(r"(?<=[^.][.])\s+(?=[A-Z`\"])", paragraph, maxsplit=1)[0]


def _comment(text: str) -> str:
    """The paragraph of the first comment of a file in C++, JavaScript, CSS or HTML."""
    text = re.sub(r"^\s*<!doctype html>\s*", "", text)
    if match := re.match(r"\s*(?:/\*|<!--)(.*?)(?:\*/|-->)", text, re.DOTALL):
        return match[1]
    if match := re.match(r"(?:\s*//[^\n]*\n)+", text):
        return re.sub(r"(?m)^\s*// ?", "", match[0])
    if match := re.search(r"<title>(.*?)</title>", text):
        return match[1]
    return ""


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
