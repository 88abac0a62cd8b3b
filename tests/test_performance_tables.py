"""The measured figures of the docs are those of the records in benchmarks/results."""

import json
import re
import sys
from pathlib import Path

import pytest

from hipgpt_cli.bench.result import Result, Row

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def scripts():
    """The modules of scripts/, which import each other as programs of one folder do."""
    sys.path.insert(0, str(ROOT / "scripts"))
    import figure_records
    import figure_tables
    import performance_tables

    yield figure_records, figure_tables, performance_tables
    sys.path.remove(str(ROOT / "scripts"))


def record(*rows, command="python packages/p/benchmarks/bench_x.py", **settings):
    versions = {"Python": "3.11", "torch": "2.13.0", "NVIDIA driver": "580.1"}
    machine = {"processor": "a processor", "cores": 2, "system": "Linux"}
    device = "a card, 80 GiB, CUDA through HIP"
    return Result(
        "x", device, settings, machine, versions, list(rows), [], command, "2026-11-21"
    )  # fmt: skip


def test_every_page_shows_the_records(scripts):
    records, _, tables = scripts
    old = tables.stale(records.Records.load(records.RESULTS))
    assert not old, f"run python scripts/performance_tables.py: {', '.join(old)}"


def test_every_record_is_asked_for_by_a_table(scripts):
    """No file lies in benchmarks/results that nobody sees."""
    records, _, tables = scripts
    assert {path.stem for path in records.RESULTS.glob("*.json")} <= tables.wanted()


def test_every_table_is_on_a_page(scripts):
    _, figures, tables = scripts
    shown = {
        name
        for page in tables.pages()
        for name in re.findall(r"<!-- figures:([\w-]+) -->", page.read_text("utf-8"))
    }
    assert shown == set(figures.TABLES)


def test_no_record_holds_a_path_of_a_machine(scripts):
    records, _, _ = scripts
    for path in records.RESULTS.glob("*.json"):
        assert not re.search(r'[" ]/\w', path.read_text("utf-8")), path.name


def test_a_region_is_written_and_the_rest_is_kept(scripts):
    records, _, tables = scripts
    generate = record(
        Row("write", "hipgpt", {"tokens/s": 4000.0}, {"B": 1}),
        Row("write", "torch 2.11.0 compiled", {"tokens/s": 2000.0}, {"B": 1}),
        Row("read", "hipgpt", {"ms": 6.06}, {"B": 1}),
    )
    page = "before\n<!-- figures:gpu-generate -->\nold\n<!-- /figures -->\nafter\n"
    found = tables.filled(page, "docs/a.md", records.Records({"h200-generate": generate}))
    assert found.startswith("before\n<!-- figures:gpu-generate -->\n\n| texts")
    assert "| 1 | 4,000 | 2,000 | 2.00 | 6.06 ms |" in found
    assert found.endswith("<!-- /figures -->\nafter\n")
    assert "old" not in found
    assert (
        "Measured 2026-11-21, a card, 80 GiB, PyTorch 2.13.0, Python 3.11, NVIDIA driver 580.1: "
        "`python packages/p/benchmarks/bench_x.py`.\n" in found
    )
    assert tables.filled(found, "docs/a.md", records.Records({"h200-generate": generate})) == found


def test_a_table_of_the_readme_links_from_where_it_stands(scripts):
    records, _, tables = scripts
    step = record(
        Row("step", "hipgpt", {"ms": 26.0}),
        Row("step", "torch 2.13.0 eager", {"ms": 65.0}),
    )
    page = "<!-- figures:model-summary -->\n<!-- /figures -->\n"
    found = tables.filled(page, "packages/a/README.md", records.Records({"cpu-step-default": step}))
    assert "| 26.0 ms a step | PyTorch 65.0 ms a step | 2.50 |" in found
    assert "[Performance](../../docs/performance.md) has the commands." in found


@pytest.mark.parametrize(
    ("name", "said"), [("nothing", "no table named nothing"), ("linear", "no record")]
)
def test_a_region_without_figures_is_an_error(scripts, name, said):
    records, _, tables = scripts
    page = f"<!-- figures:{name} -->\n<!-- /figures -->\n"
    with pytest.raises(ValueError, match=said):
        tables.filled(page, "a.md", records.Records({}))


def test_commands_of_one_program_are_shortened(scripts):
    records, _, _ = scripts
    runs = [record(command=f"python bench_x.py --size {size}") for size in "ab"]
    assert records.origin(runs).endswith(
        ": `python bench_x.py --size a`, `… --size b`."
    )  # fmt: skip


def test_new_records_are_taken_by_name(scripts, tmp_path):
    _, _, tables = scripts
    new, results = tmp_path / "new", tmp_path / "results"
    new.mkdir()
    record(Row("step", "hipgpt", {"ms": 1.0})).write(new / "cpu-step-default.json")
    assert tables.take(new, results) == ["cpu-step-default"]
    assert json.loads((results / "cpu-step-default.json").read_text("utf-8"))["rows"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [("other.json", "{}", "no table asks for it"), ("h200-linear.json", "{}", "no record of a")],
)
def test_other_files_are_not_taken(scripts, tmp_path, name, text, said):
    _, _, tables = scripts
    new, results = tmp_path / "new", tmp_path / "results"
    new.mkdir()
    record().write(new / "cpu-memory.json")
    (new / name).write_text(text, "utf-8")
    with pytest.raises(ValueError, match=said):
        tables.take(new, results)
    assert not results.exists()
