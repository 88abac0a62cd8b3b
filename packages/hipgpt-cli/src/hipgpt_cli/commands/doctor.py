"""`hipgpt doctor`: what works on this machine, and what to do where it does not.

The odd thing: a machine without a GPU is well; one with a GPU that no driver shows is not, and the
exit status says so.
"""

from __future__ import annotations

import json
from typing import Any

import click

from hipgpt_cli import option_sets, options, say
from hipgpt_cli.options import option


@click.command(
    "doctor",
    cls=options.Command,
    short_help="Run every kernel on every device, and say what is wrong.",
    examples=(
        "hipgpt doctor                       # the CPU and every GPU",
        "hipgpt doctor --device hip:1 --verbose",
        "hipgpt doctor --json > report.json  # for a bug report",
    ),
)
@option(
    "--device",
    default="all",
    metavar="NAME",
    group="Device",
    help="all, cpu, hip (every GPU), or hip:0, hip:1, …; one that is named must be there.",
)
@option("--run/--no-run", default=True, group="Device", help="Run the kernels, or only look.")
@option(
    "--clear-cache",
    is_flag=True,
    group="Device",
    help="First remove all compiled kernels that are kept for this user.",
)
@option("--verbose", is_flag=True, group="Output", help="Show every check, not only failures.")
@option_sets.json_option()
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Look at every device, run every kernel on it, forward and backward, and say what is wrong.

    The exit status is 1 where something that should work does not.
    """
    from hipgpt_cli.errors import UserError
    from hipgpt_kernels import doctor
    from hipgpt_kernels.doctor.words import lines
    from hipgpt_kernels.hip import cache

    if params["clear_cache"]:
        try:
            removed = cache.clear()
        except OSError as error:
            raise UserError(f"the cache cannot be cleared: {error}") from error
        plural = "" if removed == 1 else "s"
        say.note(f"{removed} compiled kernel{plural} removed from {cache.cache_directory()}")
    try:
        report = doctor.examine(params["device"], run=params["run"], progress=_progress())
    except ValueError as error:
        raise click.UsageError(f"--device: {error}", ctx) from error
    if params["as_json"]:
        say.line(json.dumps(report.to_dict(), indent=2, ensure_ascii=False))
    else:
        for line in lines(report, verbose=params["verbose"]):
            say.line(line)
    if not report.healthy:
        ctx.exit(1)


def _progress() -> Any:
    """A counter on the terminal, where someone looks at standard error; else nothing."""
    if not say.is_terminal("stderr"):
        return None

    def show(name: str, done: int, count: int) -> None:
        end = "\r\033[K" if done == count else ""
        say.piece(f"\r{name}: {done} of {count} checks{end}", err=True)

    return show
