"""`hipgpt completion`: the script with which a shell completes commands, options and runs.

The odd thing: the script holds no names. It asks `hipgpt` each time, so it is never out of date.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from hipgpt_cli import options, say
from hipgpt_cli.errors import UserError
from hipgpt_cli.nearest import Choice

INSTALL = {
    "bash": ("~/.bashrc", 'eval "$(hipgpt completion bash)"'),
    "zsh": ("~/.zshrc", 'eval "$(hipgpt completion zsh)"'),
    "fish": ("~/.config/fish/completions/hipgpt.fish", "hipgpt completion fish | source"),
}
"""Shell -> the file that it reads at its start, and the line to put there."""


@click.command(
    "completion",
    cls=options.Command,
    short_help="Show how the shell can complete hipgpt's commands and options.",
    examples=(
        "hipgpt completion                      # what to put where, for your shell",
        'eval "$(hipgpt completion bash)"       # for this session of bash',
    ),
)
@click.argument("shell", metavar="[bash|zsh|fish]", required=False, type=Choice([*INSTALL]))
@click.pass_context
def command(ctx: click.Context, shell: str | None) -> None:
    """Print the script with which a shell completes commands, options and names of runs.

    Without a shell it says which line to put into which file, for the shell that $SHELL names.
    """
    if shell is None:
        _say_how(Path(os.environ.get("SHELL", "")).name)
        return
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise UserError(f"this version of click knows no completion for {shell}")
    say.line(kind(ctx.find_root().command, {}, "hipgpt", "_HIPGPT_COMPLETE").source())


def _say_how(shell: str) -> None:
    """What to put where; for all shells where $SHELL is none of them."""
    for name in [shell] if shell in INSTALL else INSTALL:
        file, text = INSTALL[name]
        say.line(f"For {name}, put this line into {file}:")
        say.line()
        say.line(f"    {text}")
        say.line()
