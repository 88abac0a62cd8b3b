"""`hipgpt report`: a run's page, made from its folder; a training writes it at its end, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hipgpt_cli import human, option_sets, options, say
from hipgpt_cli.options import option


@click.command(
    "report",
    cls=options.Command,
    short_help="Write a run's report, one page to look at and pass on.",
    examples=("hipgpt report", "hipgpt report my-run --out my-run.html"),
)
@click.argument("name", required=False, metavar="[RUN]", shell_complete=option_sets.models)
@option_sets.runs_dir_option()
@option(
    "--out",
    type=click.Path(dir_okay=False),
    default=None,
    metavar="FILE",
    show_default="report.html in the run's folder",
    group="Output",
    help="The page.",
)
def command(**params: Any) -> None:
    """Write the report of RUN, a run's name or folder: curves, figures, samples, configuration.

    It is one file of HTML, and needs no network to be read. Without RUN it is the newest run.
    """
    from hipgpt_cli.commands.plot import chosen_runs
    from hipgpt_cli.report import write_report

    names = [params["name"]] if params["name"] else []
    [run] = chosen_runs(names, Path(params["runs_dir"]))
    path = write_report(run, Path(params["out"]) if params["out"] else None)
    say.fact("Report", f"{path} ({human.size(path.stat().st_size)})")
