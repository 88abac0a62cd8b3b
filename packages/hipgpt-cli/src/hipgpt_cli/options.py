"""What an option is here: its group in `--help`, its number type, and what was typed.

The odd thing: an option's parameter is named like the field of GPTConfig or TrainConfig that it
sets, so that a configuration is made by name, and a library's complaint about a field can be told
as a complaint about the option.
"""

from __future__ import annotations

import math
import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from hipgpt_cli.help import Context, write_examples

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hipgpt_model.config import GPTConfig, TrainConfig

Decorated = TypeVar("Decorated", bound="Callable[..., Any]")
Config = TypeVar("Config", "GPTConfig", "TrainConfig")


class Option(click.Option):
    """An option that stands under a heading in `--help`."""

    def __init__(self, *args: Any, group: str = "Other", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


class Command(click.Command):
    """A command whose `--help` lists options by group, in the order of their definition.

    Args:
        examples: command lines for the end of `--help`.
    """

    context_class = Context

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section a group."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Argument):
                continue  # the usage line and the text above say what it is
            if (record := parameter.get_help_record(ctx)) is not None:
                groups.setdefault(getattr(parameter, "group", "Other"), []).append(record)
        for name, records in groups.items():
            with formatter.section(name):
                formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        write_examples(formatter, self.examples)
        super().format_epilog(ctx, formatter)


class Number(click.ParamType):  # type: ignore[type-arg]
    """A finite number in an interval.

    Args:
        low: the smallest value.
        high: the largest value.
        open_low: `low` itself is refused.
        open_high: `high` itself is refused.
    """

    name = "number"

    def __init__(
        self,
        low: float,
        high: float = math.inf,
        *,
        open_low: bool = False,
        open_high: bool = False,
    ) -> None:
        self.low, self.high, self.open_low, self.open_high = low, high, open_low, open_high

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002
        """X, as an integer is N."""
        return "X"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number, or a usage error that names the interval."""
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number", param, ctx)
        low_ok = number > self.low if self.open_low else number >= self.low
        high_ok = number < self.high if self.open_high else number <= self.high
        if not (low_ok and high_ok and math.isfinite(number)):
            self.fail(f"{value} is not {self._wanted()}", param, ctx)
        return number

    def _wanted(self) -> str:
        low = f"{'above' if self.open_low else 'at least'} {self.low:g}"
        if math.isinf(self.high):
            return f"a finite number {low}"
        return f"a number {low} and {'below' if self.open_high else 'at most'} {self.high:g}"


class Integer(click.ParamType):  # type: ignore[type-arg]
    """A whole number, at least `low`."""

    name = "integer"

    def __init__(self, low: int, high: int = 2**63 - 1) -> None:
        self.low, self.high = low, high

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002
        """N, as a number with a fraction is X."""
        return "N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The integer, or a usage error that names the smallest one."""
        try:
            number = int(value)
        except ValueError:
            self.fail(f"{value!r} is not a whole number", param, ctx)
        if number < self.low:
            self.fail(f"{number} is not a whole number of at least {self.low}", param, ctx)
        if number > self.high:
            self.fail(f"{number} is not a whole number of at most {self.high}", param, ctx)
        return number


def option(*names: str, group: str, **kwargs: Any) -> Callable[[Decorated], Decorated]:
    """`click.option` with a heading."""
    return click.option(*names, cls=Option, group=group, **kwargs)


def together(*decorators: Callable[[Decorated], Decorated]) -> Callable[[Decorated], Decorated]:
    """Several options as one decorator, in the order in which `--help` shows them."""

    def decorate(function: Decorated) -> Decorated:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def given(ctx: click.Context) -> dict[str, Any]:
    """The parameters that were written on the command line, by name."""
    return {
        name: value
        for name, value in ctx.params.items()
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }


def flag(ctx: click.Context, name: str) -> str:
    """The first spelling of the option that sets parameter `name`: "embed_dim" -> "--dim"."""
    return next((p.opts[0] for p in ctx.command.params if p.name == name), name)


def typed(ctx: click.Context, name: str, value: Any) -> str:
    """An option as it was typed, with its value: "--dim 64", "--tied", "--no-tied"."""
    parameter = next(p for p in ctx.command.params if p.name == name)
    if isinstance(value, bool):
        return (parameter.opts if value else parameter.secondary_opts)[0]
    return f"{parameter.opts[0]} {value}"


def make_config(ctx: click.Context, kind: type[Config], params: dict[str, Any]) -> Config:
    """A configuration from the parameters that are named like its fields.

    Raises:
        click.UsageError: they do not fit together; the sentence names options, not fields.
    """
    values = {field.name: params[field.name] for field in fields(kind)}
    try:
        return kind(**values)
    except ValueError as error:
        message = re.sub(r"\w+", lambda word: flag(ctx, word[0]), str(error))
        raise click.UsageError(message, ctx) from error
