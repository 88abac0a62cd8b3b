"""The diagrams of the docs are those that the scripts draw."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", ["draw_diagrams", "draw_layers", "draw_steps"])
def test_the_pictures_are_what_the_script_draws(name, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    script, drawing = importlib.import_module(name), importlib.import_module("drawing")
    monkeypatch.setattr(drawing, "FOLDER", tmp_path)
    script.main()
    for picture in tmp_path.iterdir():
        drawn = (ROOT / "docs" / "images" / picture.name).read_text(encoding="utf-8")
        assert picture.read_text(encoding="utf-8") == drawn, (
            f"{picture.name} is another one: run python scripts/{name}.py"
        )
