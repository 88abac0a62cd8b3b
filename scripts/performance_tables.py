"""Write the measured figures into the docs: tables and charts, from the records of benchmarks.

    python scripts/performance_tables.py                 write tables and charts anew
    python scripts/performance_tables.py --check         fail where a file is not as written
    python scripts/performance_tables.py --take FOLDER   take a folder of new records, then write

Records are in benchmarks/results, one file a run, written by the benchmarks' --json. A page has its
tables between `<!-- figures:NAME -->` and `<!-- /figures -->`, with a line below each that says
when, where and by which command it was measured. The odd thing: --take goes by the files' names,
which say the card and the benchmark (h200-linear.json), and refuses a name that no table asks for.
"""

from __future__ import annotations

import argparse
import posixpath
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from figure_charts import CHARTS
from figure_records import RESULTS, ROOT, Records, dates_and_devices, origin
from figure_tables import BRIEF, TABLES

from hipgpt_cli.bench.result import read_result

if TYPE_CHECKING:
    from collections.abc import Iterator

REGION = re.compile(r"(<!-- figures:([\w-]+) -->\n).*?(<!-- /figures -->)", re.DOTALL)

PAGE = "docs/performance.md"


def pages() -> Iterator[Path]:
    """Every page that may have a region."""
    yield ROOT / "README.md"
    yield from sorted((ROOT / "docs").rglob("*.md"))
    yield from sorted((ROOT / "packages").glob("*/README.md"))


def filled(text: str, place: str, found: Records) -> str:
    """A page's text with its regions written anew.

    Args:
        text: of the page.
        place: path of the page in the repository, where links begin.
        found: the records.

    Raises:
        ValueError: a region has no table, or its table no record.
    """

    def write(match: re.Match[str]) -> str:
        name = match[2]
        if name not in TABLES:
            raise ValueError(
                f"{place}: there is no table named {name}; see scripts/figure_tables.py"
            )
        records = Records(found.found)  # notes what this table asks for
        try:
            table = TABLES[name](records)
        except ValueError as error:
            raise ValueError(f"{place}: {name}: {error}") from error
        if name == "records":
            return f"{match[1]}\n{table}\n\n{match[3]}"
        if name in BRIEF:
            page = posixpath.relpath(PAGE, posixpath.dirname(place) or ".")
            line = f"{dates_and_devices(records.used())}. [Performance]({page}) has the commands."
        else:
            line = origin(records.used())
        return f"{match[1]}\n{table}\n\n{line}\n\n{match[3]}"

    return REGION.sub(write, text)


def written(records: Records) -> Iterator[tuple[Path, str]]:
    """Every file with what should be in it."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        place = page.relative_to(ROOT).as_posix()
        yield page, filled(text, place, records)
    for name, draw in CHARTS.items():
        yield ROOT / "docs" / "images" / name, draw(Records(records.found))


def stale(records: Records) -> list[str]:
    """Files in which something else stands."""
    return [
        path.relative_to(ROOT).as_posix()
        for path, text in written(records)
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


def wanted() -> set[str]:
    """Names of the records that tables ask for."""
    records = Records({})
    for make in TABLES.values():
        try:
            make(records)
        except ValueError:
            continue  # an empty table, but its questions are noted
    return set(records.asked)


def take(folder: Path, results: Path = RESULTS) -> list[str]:
    """Copy the records of a folder; their names.

    Raises:
        ValueError: a file is no record, or no table asks for its name; nothing was copied then.
    """
    known = wanted()
    paths = sorted(folder.glob("*.json"))
    for path in paths:
        if path.stem not in known:
            raise ValueError(
                f"{path.name}: no table asks for it; there are {', '.join(sorted(known))}"
            )
        read_result(path)
    results.mkdir(parents=True, exist_ok=True)
    for path in paths:
        shutil.copyfile(path, results / path.name)
    return [path.stem for path in paths]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail if it would")
    parser.add_argument("--take", type=Path, metavar="FOLDER", help="of new records")
    arguments = parser.parse_args()
    try:
        if arguments.take:
            print("taken:", ", ".join(take(arguments.take)) or "nothing")
        records = Records.load(RESULTS)
        old = stale(records)
        if arguments.check:
            if old:
                sys.exit(f"run python scripts/performance_tables.py: {', '.join(old)}")
            return
        for path, text in written(records):
            path.write_text(text, encoding="utf-8")
    except ValueError as error:
        sys.exit(str(error))
    print("written:", ", ".join(old) or "nothing new")


if __name__ == "__main__":
    main()
