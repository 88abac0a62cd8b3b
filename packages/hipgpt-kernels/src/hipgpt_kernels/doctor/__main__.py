"""`python -m hipgpt_kernels.doctor`: the examination for those who have this package alone."""

from __future__ import annotations

import argparse
import json
import sys

from hipgpt_kernels.doctor.examination import examine
from hipgpt_kernels.doctor.words import lines


def main(arguments: list[str] | None = None) -> int:
    """Examine, tell, and return the exit status: 1 where something that should work does not."""
    parser = argparse.ArgumentParser(
        prog="python -m hipgpt_kernels.doctor",
        description="Show every device, run every kernel on it, and say what is wrong.",
    )
    parser.add_argument("--device", default="all", help="all, cpu, hip, or hip:0, hip:1, …")
    parser.add_argument("--no-run", action="store_true", help="run nothing, show what is there")
    parser.add_argument("--verbose", action="store_true", help="show every check")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--clear-cache", action="store_true", help="first remove all compiled kernels that are kept"
    )
    given = parser.parse_args(arguments)
    if given.clear_cache:
        from hipgpt_kernels.hip import cache

        cache.clear()
    try:
        report = examine(given.device, run=not given.no_run)
    except ValueError as error:
        parser.error(str(error))
    if given.json:
        sys.stdout.write(json.dumps(report.to_dict(), indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write("\n".join(lines(report, verbose=given.verbose)) + "\n")
    return 0 if report.healthy else 1


if __name__ == "__main__":
    sys.exit(main())
