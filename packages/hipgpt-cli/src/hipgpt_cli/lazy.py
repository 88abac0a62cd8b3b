"""A click group that knows its commands by name and one sentence, and imports one only to run it.

The odd thing: the sentence that `--help` shows stands in the group's table, not in the command's
module, because reading it there would mean importing the module (a test holds the two together).
"""

from __future__ import annotations

from importlib import import_module
from keyword import iskeyword
from typing import TYPE_CHECKING, Any

import click

from hipgpt_cli import errors
from hipgpt_cli.help import WIDEST, Context, greeting, write_examples
from hipgpt_cli.nearest import meant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from click.shell_completion import CompletionItem

CONTEXT = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": WIDEST,
    "show_default": True,
    # --num_tokens is --num-tokens: the predecessor's flags mix both spellings.
    "token_normalize_func": lambda token: token.replace("_", "-"),
}


class LazyGroup(click.Group):
    """A group whose commands live in modules of the same name below `package`.

    Args:
        package: dotted name of the package that holds one module for each command.
        summaries: command name -> the sentence for the list of commands, in the order shown.
        examples: command lines for the end of `--help`.
        welcome: what is said where no command was typed: a sentence, and command lines with what
            they do; None says what the commands are, and that one was expected.
    """

    context_class = Context

    def __init__(
        self,
        *args: Any,
        package: str,
        summaries: Mapping[str, str],
        examples: Sequence[str] = (),
        welcome: tuple[str, Sequence[tuple[str, str]]] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("context_settings", CONTEXT)
        super().__init__(*args, **kwargs)
        self.package = package
        self.summaries = summaries
        self.examples = examples
        self.welcome = welcome

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's; without any word the welcome is said, and that is all."""
        if not args and self.welcome is not None and not ctx.resilient_parsing:
            title, rows = self.welcome
            click.echo(greeting(title, rows, f"{ctx.command_path} --help"), nl=False)
            ctx.exit()
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The names that begin so, without importing a command for its sentence."""
        from click.shell_completion import CompletionItem

        names = [name for name in self.summaries if name.startswith(incomplete)]
        found = [CompletionItem(name, help=self.summaries[name]) for name in names]
        return found or click.Command.shell_complete(self, ctx, incomplete)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The names, in the order of the table."""
        return list(self.summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the command's module and return its attribute `command`."""
        if cmd_name not in self.summaries:
            return None
        module_name = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name  # `hipgpt import`
        module = import_module(f"{self.package}.{module_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the nearest names where there is no such command."""
        name = args[0]
        if name not in self.summaries and not name.startswith("-"):
            near = meant(name, self.summaries, most=3) or f"; there {self._names()}."
            raise click.UsageError(f"no such command: {name}{near}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.summaries.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        write_examples(formatter, self.examples)
        super().format_epilog(ctx, formatter)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line; every way it can end badly goes through `errors.exit_on_error`."""

        def run() -> Any:
            return super(LazyGroup, self).main(
                args,
                prog_name,
                complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )

        return errors.exit_on_error(run) if standalone_mode else run()

    def _names(self) -> str:
        *most, last = self.summaries
        return f"are {', '.join(most)} and {last}" if most else f"is {last} alone"
