"""`hipgpt plot`: the curves of one or several runs, as a picture or in the terminal.

The odd thing: a RUN is a name in --runs-dir, as everywhere, or the path of a run's folder, so that
runs of different folders can be compared.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hipgpt_cli import option_sets, options, say
from hipgpt_cli.errors import UserError
from hipgpt_cli.nearest import Choice
from hipgpt_cli.options import Integer, Number, option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hipgpt_cli.history import History, Panel
    from hipgpt_cli.runs import Run

PANEL_NAMES = ("loss", "perplexity", "accuracy", "learning-rate", "gradient-norm", "speed")


@click.command(
    "plot",
    cls=options.Command,
    short_help="Draw the curves of one or several runs.",
    examples=(
        "hipgpt plot                              # the newest run, into its folder",
        "hipgpt plot small large --out both.svg",
        "hipgpt plot --terminal --metric loss",
    ),
)
@click.argument("names", nargs=-1, metavar="[RUN]...", shell_complete=option_sets.models)
@option_sets.runs_dir_option()
@option(
    "--metric",
    "metrics",
    multiple=True,
    type=Choice(PANEL_NAMES),
    show_default="all",
    group="Picture",
    help="What to draw; may be repeated.",
)
@option(
    "--x",
    "axis",
    type=Choice(["step", "tokens", "time"]),
    default="step",
    group="Picture",
    help="Over what: steps, tokens of training text, or hours of computing.",
)
@option(
    "--smooth",
    type=Number(0, 1, open_high=True),
    default=None,
    show_default="by the number of points",
    group="Picture",
    help="How much of the moving average stays from point to point; 0 draws what was recorded.",
)
@option(
    "--out",
    type=click.Path(dir_okay=False),
    default=None,
    metavar="FILE",
    show_default="plot.png in the run's folder",
    group="Picture",
    help="The picture: .png, .svg or .pdf.",
)
@option(
    "--theme",
    type=Choice(["light", "dark", "transparent"]),
    default="light",
    group="Picture",
    help="Colours for a light page or a dark one; transparent has no background and suits both.",
)
@option("--terminal", is_flag=True, group="Picture", help="Draw here instead of into a file.")
@option(
    "--width",
    type=Integer(30, 1000),
    default=None,
    show_default="the terminal's",
    group="Picture",
    help="With --terminal: columns.",
)
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Draw loss, perplexity, accuracy, learning rate, gradient norm and speed of runs.

    RUN is a run's name or folder; without one it is the newest run.
    """
    from hipgpt_cli.history import PANELS, read_history

    if params["terminal"] and params["out"] is not None:
        raise click.UsageError("--terminal draws here and --out into a file; choose one", ctx)
    runs = chosen_runs(params["names"], Path(params["runs_dir"]))
    histories = [read_history(run, params["axis"]) for run in runs]
    panels = [panel for panel in PANELS if not params["metrics"] or panel.name in params["metrics"]]
    if params["terminal"]:
        _draw_here(panels, histories, params)
        return
    from hipgpt_cli.plot_figure import draw

    default = runs[0].path / "plot.png" if len(runs) == 1 else Path("plot.png")
    path = Path(params["out"]) if params["out"] else default
    path.parent.mkdir(parents=True, exist_ok=True)
    titles = draw(histories, path, panels=panels, smooth=params["smooth"], theme=params["theme"])
    say.fact("Drawn", f"{path}: {', '.join(titles).lower()}")


def chosen_runs(names: Sequence[str], runs_dir: Path) -> list[Run]:
    """The runs of these names or folders; of none, the newest.

    Raises:
        UserError: there is no such run.
    """
    from hipgpt_cli.runs import Run, find_run, newest_run

    if not names:
        return [newest_run(runs_dir)]
    runs = []
    for name in names:
        folder = Path(name)
        is_folder = (folder / "config.json").is_file()
        runs.append(Run(folder.absolute()) if is_folder else find_run(runs_dir, name))
    if len({run.path.absolute() for run in runs}) < len(runs):
        raise UserError("the same run is named twice")
    return runs


def _draw_here(
    panels: Sequence[Panel], histories: Sequence[History], params: dict[str, Any]
) -> None:
    from hipgpt_cli.plot_terminal import COLORS, draw_panel

    color = say.has_color()
    width = params["width"] or min(shutil.get_terminal_size((80, 24)).columns, 120)
    if color or len(histories) == 1:
        groups = [histories]
        if len(histories) > 1:
            names = [
                click.style(f"── {history.name}", fg=COLORS[number % len(COLORS)])
                for number, history in enumerate(histories)
            ]
            say.line("  ".join(names))
    else:
        groups = [[history] for history in histories]
    say.line("Lines are training, squares validation.")
    say.line()
    drawn = False
    for panel in panels:
        for group in groups:
            lines = draw_panel(panel, group, width, 10, color=color, smooth=params["smooth"])
            if not lines:
                continue
            drawn = True
            if len(groups) > 1:
                say.line(group[0].name)
            for line in lines:
                say.line(line)
            say.line()
    if not drawn:
        raise UserError("there is nothing to draw: no figure of this kind was recorded")
