"""Run the GPU tests on emulated AMD cards, and say which kernels they have launched.

    python scripts/emulate.py                  on every card that can be emulated
    python scripts/emulate.py gfx942           on one
    python scripts/emulate.py --page           write docs/kernels/emulated.md from the last runs

Needs a checkout of tinygrad, named by HIPGPT_TINYGRAD, and clang with lld. The tests are the
ordinary ones of packages/hipgpt-kernels and packages/hipgpt-model; those that execute too much are
skipped by the emulator. The odd thing: a kernel that no passing test has launched fails the run as
a wrong answer would.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "packages" / "hipgpt-kernels" / "src"))

from hipgpt_kernels.hip import build, resources  # noqa: E402

ARCHITECTURES = ("gfx942", "gfx950", "gfx1100", "gfx1201")
TESTS = ("packages/hipgpt-kernels/tests", "packages/hipgpt-model/tests")
RECORDS = ROOT / "build" / "emulated"
"""What the last run on each architecture has found."""
PAGE = ROOT / "docs" / "kernels" / "emulated.md"
TYPES = ("f32", "bf16", "f16")

HEAD = """# Kernels in the emulator

Which kernels were executed as AMD machine code, and by how many tests that passed. Written by
`scripts/emulate.py`, which ran the GPU tests of hipgpt-kernels and hipgpt-model;
[Portability](../portability.md) tells how that works and what it cannot show. A cell counts tests
for float32 / bf16 / fp16, or all of them where a kernel has no such variants. A test that fails, or
a kernel that no passing test launches, would have failed the run.

"""


def kernels_of(architecture: str) -> dict[str, list[str]]:
    """The kernels in the code objects of an architecture, by source file."""
    build.build((architecture,), missing=True)
    return {
        stem: sorted(resources.read(build.code_path(build.CODE, architecture, stem).read_bytes()))
        for stem in build.stems()
    }


def run_tests(architecture: str, folder: str, extra: list[str]) -> list[dict[str, Any]]:
    """Run the tests below a folder in a process of its own; a record of each that was begun."""
    with tempfile.TemporaryDirectory() as temporary:
        record = Path(temporary, "record")
        record.touch()
        environment = {"HIPGPT_EMULATE": architecture, "HIPGPT_EMULATED": str(record)}
        command = [sys.executable, "-m", "pytest", "-q", "-rf", "-p", "no:cacheprovider"]
        command += ["-m", "gpu and not slow", folder, *extra]
        subprocess.run(command, cwd=ROOT, env=os.environ | environment, check=False)
        return [json.loads(line) for line in record.read_text("utf-8").splitlines()]


def processor_seconds() -> float:
    """Of all processes that were run and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(architecture: str, extra: list[str]) -> dict[str, Any]:
    """Everything that is to be known of a run on one architecture."""
    kernels = kernels_of(architecture)
    start = processor_seconds()
    tests = [test for folder in TESTS for test in run_tests(architecture, folder, extra)]
    passed = Counter(
        name for test in tests if test["outcome"] == "passed" for name in test["kernels"]
    )
    return {
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "seconds": round(processor_seconds() - start),
        "outcomes": Counter(test["outcome"] for test in tests),
        "failed": [test["test"] for test in tests if test["outcome"] == "failed"],
        "sources": {stem: build.source_hash(stem) for stem in kernels},
        "kernels": {
            stem: {name: passed[name] for name in names} for stem, names in kernels.items()
        },
    }


def never_launched(record: dict[str, Any]) -> list[str]:
    """Kernels that no passing test has launched."""
    return [
        f"{name} of {stem}.hip"
        for stem, counts in record["kernels"].items()
        for name, count in counts.items()
        if not count
    ]


def report(architecture: str, record: dict[str, Any]) -> str:
    """What a run says in the end."""
    counts = [count for kernels in record["kernels"].values() for count in kernels.values()]
    outcomes = ", ".join(f"{count} {name}" for name, count in sorted(record["outcomes"].items()))
    launched = f"{sum(map(bool, counts))} of {len(counts)} kernels launched"
    lines = [f"{architecture}: {outcomes} in {record['seconds']} processor seconds; {launched}"]
    lines += [f"  failed: {test}" for test in record["failed"]]
    lines += [f"  never launched: {name}" for name in never_launched(record)]
    return "\n".join(lines)


# --- the page ---------------------------------------------------------------------------------


def split(name: str) -> tuple[str, str, str]:
    """What stands before the type of a kernel's name, the type ("" for none), and after it."""
    match = re.fullmatch(rf"(\w+?)_({'|'.join(TYPES)})(_\d+)?", name)
    return (match[1], match[2], match[3] or "") if match else (name, "", "")


def rows(kernels: dict[str, int]) -> dict[str, str]:
    """A cell for each kernel, its variants together."""
    found: dict[str, dict[str, int]] = {}
    for name, count in kernels.items():
        before, kind, after = split(name)
        found.setdefault(before + after, {})[kind] = count
    cells = {}
    for name, counts in found.items():
        alone = counts.pop("", None)
        if (
            alone is not None and counts
        ):  # adamw_step, beside which only the 16-bit types have names
            counts["f32"] = alone
        words = [str(counts[kind]) if kind in counts else "–" for kind in TYPES]
        cells[name] = " / ".join(words) if counts else str(alone)
    return cells


def page(records: dict[str, dict[str, Any]]) -> str:
    """The page, from the records of the architectures that there are."""
    lines = [
        "| | " + " | ".join(records) + " |",
        "|---" * (len(records) + 1) + "|",
    ]
    facts: dict[str, Callable[[dict[str, Any]], Any]] = {
        "date": lambda one: one["date"],
        "tests passed": lambda one: one["outcomes"].get("passed", 0),
        "skipped: too large, or not for this GPU": lambda one: one["outcomes"].get("skipped", 0),
        "failed": lambda one: one["outcomes"].get("failed", 0),
        "processor seconds": lambda one: one["seconds"],
        "kernels launched by tests that passed": lambda one: sum(
            map(bool, (count for part in one["kernels"].values() for count in part.values()))
        ),
        "kernels": lambda one: sum(map(len, one["kernels"].values())),
    }
    for name, fact in facts.items():
        lines.append(f"| {name} | " + " | ".join(str(fact(one)) for one in records.values()) + " |")
    for stem in build.stems():
        columns = {}
        for architecture, record in records.items():
            same = record["sources"].get(stem) == build.source_hash(stem)
            columns[architecture] = rows(record["kernels"][stem]) if same else {}
        names = sorted({name for column in columns.values() for name in column})
        if not names:
            continue  # kernels for NVIDIA alone
        lines += ["", f"## {stem}", ""]
        lines += ["| kernel | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
        lines += [
            f"| `{name}` | "
            + " | ".join(column.get(name, "") for column in columns.values())
            + " |"
            for name in names
        ]
    return HEAD + "\n".join(lines) + "\n"


def main() -> int:
    """Run, report, and fail where something is wrong or was never launched."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("architectures", nargs="*", metavar="ARCHITECTURE", help="such as gfx942")
    parser.add_argument("-k", dest="expression", help="only tests that pytest's -k selects")
    parser.add_argument("--page", action="store_true", help="run nothing, write the page")
    arguments = parser.parse_args()
    if unknown := set(arguments.architectures) - set(ARCHITECTURES):
        parser.error(f"{', '.join(sorted(unknown))}: expected {', '.join(ARCHITECTURES)}")
    RECORDS.mkdir(parents=True, exist_ok=True)
    if arguments.page:
        paths = [RECORDS / f"{architecture}.json" for architecture in ARCHITECTURES]
        records = {
            path.stem: json.loads(path.read_text("utf-8")) for path in paths if path.exists()
        }
        PAGE.write_text(page(records), "utf-8")
        return 0
    if not Path(os.environ.get("HIPGPT_TINYGRAD", ""), "test", "mockgpu").is_dir():
        parser.error("HIPGPT_TINYGRAD names no checkout of tinygrad, whose emulator is needed")
    extra = ["-k", arguments.expression] if arguments.expression else []
    wrong = False
    for architecture in arguments.architectures or ARCHITECTURES:
        record = run(architecture, extra)
        print(report(architecture, record), flush=True)
        if extra:
            wrong |= bool(record["failed"])
            continue
        wrong |= bool(record["failed"] or never_launched(record))
        (RECORDS / f"{architecture}.json").write_text(json.dumps(record), "utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
