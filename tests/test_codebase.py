"""docs/codebase.md names every file, in the file's own words."""

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "list_codebase.py"


def script():
    spec = importlib.util.spec_from_file_location("list_codebase", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_that_of_the_tree():
    listed = script()
    assert listed.PAGE.read_text(encoding="utf-8") == listed.page(), (
        "files were added or say other things of themselves: run python scripts/list_codebase.py"
    )


def test_every_listed_file_says_what_it_is():
    """No row of the page is empty."""
    text = script().page()
    assert "|  |" not in text
