"""What every command's options share: groups in `--help`, number types, and the sets themselves.

The odd thing: an option's parameter is named like the field of GPTConfig or TrainConfig that it
sets, so that a configuration is made by name, and a library's complaint about a field can be told
as a complaint about the option. Defaults are read from those classes; nothing here imports NumPy.
"""

from __future__ import annotations

import math
import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from hipgpt_cli.lazy import write_examples
from hipgpt_model.config import GPTConfig, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Decorated = TypeVar("Decorated", bound="Callable[..., Any]")
Config = TypeVar("Config", GPTConfig, TrainConfig)

DEFAULT_VOCAB_SIZE = 5000


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


def options(*decorators: Callable[[Decorated], Decorated]) -> Callable[[Decorated], Decorated]:
    """Several options as one decorator, in the order in which `--help` shows them."""

    def decorate(function: Decorated) -> Decorated:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def model_size_options() -> Callable[[Decorated], Decorated]:
    """Every field of GPTConfig."""
    group = "Model"
    return options(
        option("--vocab-size", type=Integer(257), default=DEFAULT_VOCAB_SIZE, group=group,
               help="V: how many token ids there are, <|endoftext|> and the 256 bytes included."),
        option("--seq", "max_seq_len", type=Integer(1), default=GPTConfig.max_seq_len, group=group,
               help="S: tokens that the model sees at once."),
        option("--dim", "embed_dim", type=Integer(1), default=GPTConfig.embed_dim, group=group,
               help="E: numbers that stand for one token; a multiple of --heads."),
        option("--layers", "num_layers", type=Integer(1), default=GPTConfig.num_layers,
               group=group, help="L: blocks, one after the other."),
        option("--heads", "num_heads", type=Integer(1), default=GPTConfig.num_heads, group=group,
               help="H: attention heads in a block."),
        option("--ff", "ff_dim", type=Integer(1), default=GPTConfig.ff_dim, group=group,
               help="F: numbers inside a feed-forward layer."),
        option("--activation", type=click.Choice(["gelu", "relu", "swiglu"]),
               default=GPTConfig.activation, group=group,
               help="Function inside the feed-forward layer."),
        option("--tied/--no-tied", default=GPTConfig.tied, group=group,
               help="Use the token embedding as output matrix too: E·V fewer parameters."),
        option("--output-bias/--no-output-bias", default=GPTConfig.output_bias, group=group,
               help="Give the logits a bias."),
        option("--final-norm/--no-final-norm", default=GPTConfig.final_norm, group=group,
               help="Normalise before the output, as GPT-2 does."),
        option("--dropout", type=Number(0, 1, open_high=True), default=GPTConfig.dropout,
               group=group, help="Probability with which a number is dropped while training."),
        option("--norm-epsilon", type=Number(0, 1, open_low=True, open_high=True),
               default=GPTConfig.norm_epsilon, group=group,
               help="Added to the variance in a normalisation."),
    )  # fmt: skip


def training_options() -> Callable[[Decorated], Decorated]:
    """Every field of TrainConfig."""
    group = "Training"
    return options(
        option("--steps", type=Integer(1), default=TrainConfig.steps, group=group,
               help="Optimizer steps in all; with --resume, the new end."),
        option("--batch", "batch_size", type=Integer(1), default=TrainConfig.batch_size,
               group=group, help="B: rows of S tokens in one pass."),
        option("--grad-accum", type=Integer(1), default=TrainConfig.grad_accum, group=group,
               help="Passes whose gradients make one step: a larger batch in the same memory."),
        option("--lr", "learning_rate", type=Number(0, open_low=True),
               default=TrainConfig.learning_rate, group=group, help="Highest learning rate."),
        option("--min-lr", "min_learning_rate", type=Number(0), default=None, group=group,
               show_default="--lr / 10", help="Learning rate of the last step."),
        option("--warmup-steps", type=Integer(0), default=TrainConfig.warmup_steps, group=group,
               help="Steps over which the learning rate rises to --lr."),
        option("--schedule", type=click.Choice(["cosine", "linear", "constant"]),
               default=TrainConfig.schedule, group=group,
               help="How the learning rate falls afterwards."),
        option("--weight-decay", type=Number(0), default=TrainConfig.weight_decay, group=group,
               help="AdamW's decay of matrices; biases and gains do not decay."),
        option("--clip", type=Number(0), default=TrainConfig.clip, group=group,
               help="Largest norm of the gradient over all parameters; 0 is off."),
        option("--beta1", type=Number(0, 1, open_high=True), default=TrainConfig.beta1,
               group=group, help="AdamW's decay of the gradient's running mean."),
        option("--beta2", type=Number(0, 1, open_high=True), default=TrainConfig.beta2,
               group=group, help="AdamW's decay of the squared gradient's running mean."),
        option("--adam-epsilon", "epsilon", type=Number(0, open_low=True),
               default=TrainConfig.epsilon, group=group, help="AdamW's epsilon."),
        option("--eval-every", type=Integer(0), default=TrainConfig.eval_every, group=group,
               help="Steps between looks at held-out text; 0: only at the end."),
        option("--eval-batches", type=Integer(1), default=TrainConfig.eval_batches, group=group,
               help="Batches of held-out text in one look."),
        option("--seed", type=Integer(0, 2**64 - 1), default=TrainConfig.seed, group=group,
               help="Decides initial weights, order of the text and dropout."),
    )  # fmt: skip


def device_options() -> Callable[[Decorated], Decorated]:
    """Where to compute."""
    group = "Device"
    return options(
        option("--device", type=click.Choice(["auto", "cpu", "hip"]), default="auto", group=group,
               help="hip is a GPU of AMD or NVIDIA; auto is a GPU where one works, else the CPU."),
        option("--threads", type=Integer(1), default=None, show_default="all cores", group=group,
               help="CPU threads."),
    )  # fmt: skip


def run_options(purpose: str) -> Callable[[Decorated], Decorated]:
    """Which run, and where runs are.

    Args:
        purpose: what --run-name does in this command.
    """
    return options(
        option("--run-name", "--run", "run_name", metavar="NAME", group="Run", help=purpose),
        option("--runs-dir", type=click.Path(file_okay=False, path_type=str), default="runs",
               metavar="FOLDER", group="Run", help="Folder that holds the runs."),
    )  # fmt: skip


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
