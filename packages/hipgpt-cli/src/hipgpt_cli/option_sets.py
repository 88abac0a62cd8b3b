"""The sets of options that commands share, each one decorator.

The odd thing: defaults are read from GPTConfig and TrainConfig, which import no NumPy, so `--help`
tells what the model package would do and is quick all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hipgpt_cli.nearest import Choice, Existing
from hipgpt_cli.options import Integer, Number, option, together
from hipgpt_model.config import GPTConfig, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

    from hipgpt_cli.options import Decorated

DEFAULT_VOCAB_SIZE = 5000

OTHER_DEVICES = dict.fromkeys(("cuda", "gpu", "rocm", "nvidia", "amd"), "hip")
"""What other programs call a GPU."""

SOURCES = (
    "a text file, a folder of text files, - (standard input), stdlib (Python's own source on this "
    "machine), shakespeare (1.1 MB, downloaded once), or for train a folder that hipgpt data "
    "prepare made."
)


def source_option(use: str, default: str | None = None) -> Callable[[Decorated], Decorated]:
    """--data.

    Args:
        use: what the text is for, before the list of what it can be.
        default: a source, or None.
    """
    return option("--data", "--data-path", "data", default=default, metavar="SOURCE", group="Text",
                  shell_complete=sources, help=f"{use}: {SOURCES}")  # fmt: skip


def runs_dir_option(group: str = "Run") -> Callable[[Decorated], Decorated]:
    """Where runs are."""
    return option(
        "--runs-dir", type=click.Path(file_okay=False), default="runs", metavar="FOLDER",
        group=group, help="Folder that holds the runs.")  # fmt: skip


def step_option(group: str = "Run") -> Callable[[Decorated], Decorated]:
    """Which of a run's checkpoints."""
    return option(
        "--step", type=Integer(-1), default=None, show_default="the newest", group=group,
        help="Take the run's checkpoint after this many steps; -1: the newest.")  # fmt: skip


def json_option(printed: str = "one JSON object") -> Callable[[Decorated], Decorated]:
    """--json, as `as_json`.

    Args:
        printed: what comes out then.
    """
    return option("--json", "as_json", is_flag=True, group="Output", help=f"Print {printed}.")


def run_options(purpose: str, group: str = "Run", **name: Any) -> Callable[[Decorated], Decorated]:
    """Which run, and where runs are.

    Args:
        purpose: what --run-name does in this command.
        group: heading.
        name: more for --run-name.
    """
    return together(
        option("--run-name", "--run", "run_name", metavar="NAME", group=group,
               callback=_one_folder, shell_complete=_run_names, help=purpose, **name),
        runs_dir_option(group),
    )  # fmt: skip


def _one_folder(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Let pass a name that is one folder."""
    from hipgpt_cli.runs import check_name

    try:
        return value if value is None else check_name(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error


def _run_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """The runs whose names begin so, for the shell's completion."""
    from pathlib import Path

    folder = Path(ctx.params.get("runs_dir") or "runs")
    return sorted(path.parent.name for path in folder.glob("*/config.json")
                  if path.parent.name.startswith(incomplete))  # fmt: skip


def models(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Runs and files whose names begin so, where an option or argument takes either."""
    return _or_files(_run_names(ctx, param, incomplete), incomplete)


def sources(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """What --data takes and begins so."""
    names = [name for name in ("shakespeare", "stdlib") if name.startswith(incomplete)]
    return _or_files(names, incomplete)


def _or_files(names: list[str], incomplete: str) -> list[CompletionItem]:
    """Names and files for the shell; click's bash script forgets what stands before a file."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file"), *map(CompletionItem, names)]


def trained_options(purpose: str) -> Callable[[Decorated], Decorated]:
    """Which trained model; `load.chosen_model` finds it.

    Args:
        purpose: what the model is for: "Run to take".
    """
    group = "Run"
    return together(
        run_options(f"{purpose}; the newest one by default."),
        step_option(group),
        option("--checkpoint", "--ckpt", type=Existing(dir_okay=False),
               metavar="FILE", group=group, help="Take this checkpoint file instead of a run."),
    )  # fmt: skip


def checkpoint_options() -> Callable[[Decorated], Decorated]:
    """Which of a run's checkpoints, where a command takes a run or a file as its argument."""
    group = "Run"
    return together(
        step_option(group),
        runs_dir_option(group),
    )  # fmt: skip


def sampling_options() -> Callable[[Decorated], Decorated]:
    """How the next token is chosen: the fields of SamplingConfig but for where the text ends."""
    group = "Choice"
    return together(
        option("--temp", "--temperature", "temperature", type=Number(0), default=1.0, group=group,
               help="Above 1 more surprising, below 1 less; 0 always takes the likeliest token."),
        option("--top-k", type=Integer(0), default=5, group=group,
               help="Choose among this many likeliest tokens; 0: among all."),
        option("--top-p", type=Number(0, 1, open_low=True), default=1.0, group=group,
               help="Choose among the fewest tokens that have this probability together; 1: all."),
        option("--min-p", type=Number(0, 1), default=0.0, group=group,
               help="Leave out tokens less likely than this part of the likeliest; 0: none."),
        option("--repetition-penalty", "--rep-penalty", "repetition_penalty",
               type=Number(0, open_low=True), default=1.0, group=group,
               help="Above 1 makes tokens that have occurred less likely; 1: off."),
        option("--seed", type=Integer(0, 2**64 - 1), default=None, show_default="random",
               group=group, help="The same seed gives the same text."),
    )  # fmt: skip


def model_size_options() -> Callable[[Decorated], Decorated]:
    """Every field of GPTConfig."""
    group = "Model"
    return together(
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
        option("--activation", type=Choice(["gelu", "gelu_erf", "relu", "swiglu"]),
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
    return together(
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
        option("--schedule", type=Choice(["cosine", "linear", "constant", "wsd"]),
               default=TrainConfig.schedule, group=group,
               help="How the learning rate falls afterwards; wsd: only over --decay-steps."),
        option("--decay-steps", type=Integer(1), default=None, group=group,
               show_default="--steps / 5",
               help="Last steps, over which --schedule wsd lets the learning rate fall."),
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
        option("--patience", type=Integer(0), default=TrainConfig.patience, group=group,
               help="Stop after so many looks in a row without a lower held-out loss; 0: never."),
        option("--ema", type=Number(0, 1, open_high=True), default=TrainConfig.ema, group=group,
               help="Keep a running average of the weights with this decay, such as 0.999, and "
                    "evaluate and generate with it; 0 is off."),
        option("--skip-outliers", type=Number(0), metavar="FACTOR",
               default=TrainConfig.skip_outliers, group=group,
               help="Skip an update whose gradient norm is above FACTOR times its running mean, "
                    "and say so; 0 is off."),
        option("--seed", type=Integer(0, 2**64 - 1), default=TrainConfig.seed, group=group,
               help="Decides initial weights, order of the text and dropout."),
        option("--dtype", type=Choice(["float32", "bf16", "fp16"]),
               default=TrainConfig.dtype, group=group,
               help="What a GPU computes in; the optimizer keeps float32 weights in any case."),
        option("--checkpoint-activations/--no-checkpoint-activations",
               default=TrainConfig.checkpoint_activations, group=group,
               help="Compute activations anew in the backward: less memory, a third more work."),
    )  # fmt: skip


def tokenizer_path_option() -> Callable[[Decorated], Decorated]:
    """Which tokenizer a trained model has; `load.Trained.tokenizer` takes it."""
    return option(
        "--tokenizer-path", type=Existing(dir_okay=False), metavar="FILE",
        show_default="beside the checkpoint", group="Run",
        help="Tokenizer of the model.")  # fmt: skip


def dtype_option() -> Callable[[Decorated], Decorated]:
    """What a trained model computes in; `load.Trained.load` takes it."""
    return option(
        "--dtype", type=Choice(["float32", "bf16", "fp16"]), default="float32",
        group="Device", help="What the model computes in; bf16 and fp16 are for GPUs.")  # fmt: skip


def decode_weights_option() -> Callable[[Decorated], Decorated]:
    """How the CPU reads weights while it writes; `device.set_decode_weights` takes it."""
    return option(
        "--decode-weights", type=Choice(["float32", "bf16", "int8"]), default="float32",
        group="Device",
        help="What the CPU reads the weights as while it writes: rounded copies take less memory "
        "traffic, so tokens come faster, and the text may differ.")  # fmt: skip


def device_options() -> Callable[[Decorated], Decorated]:
    """Where to compute."""
    group = "Device"
    return together(
        option("--device", type=Choice(["auto", "cpu", "hip"], OTHER_DEVICES), default="auto",
               group=group,
               help="hip is a GPU of AMD or NVIDIA; auto is a GPU where one works, else the CPU."),
        option("--threads", type=Integer(1), default=None, show_default="all cores", group=group,
               help="CPU threads."),
    )  # fmt: skip
