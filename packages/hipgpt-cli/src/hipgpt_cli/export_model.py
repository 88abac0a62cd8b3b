"""What every export needs: the model by name, its weights, its tokenizer, the facts of its run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from hipgpt_cli.load import named_model
from hipgpt_cli.options import Integer, option, together
from hipgpt_cli.runs import run_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

    from hipgpt_cli.load import Trained
    from hipgpt_cli.options import Decorated
    from hipgpt_model.config import GPTConfig
    from hipgpt_tokenizer import Tokenizer


@dataclass(frozen=True)
class Exported:
    """A model on its way out.

    Attributes:
        trained: where it is.
        tokenizer: its own.
        facts: what its run keeps, {} for a checkpoint outside of a run.
    """

    trained: Trained
    tokenizer: Tokenizer
    facts: dict[str, Any]

    @property
    def config(self) -> GPTConfig:
        """Its sizes and options."""
        return self.trained.header.model

    def tensors(self) -> Iterator[tuple[str, np.ndarray]]:
        """Name and float32 values of every tensor, with progress."""
        from hipgpt_cli.progress import stages
        from hipgpt_kernels import load_backend
        from hipgpt_model.checkpoint import load_parameters

        _, parameters = load_parameters(self.trained.checkpoint, load_backend("cpu"))
        total, done = self.config.num_parameters(), 0
        with stages() as show:
            for name in parameters.names():
                array = parameters[name]  # the CPU's arrays are NumPy's
                yield name, array
                done += array.size
                show("export", done, total)


def which_model() -> Callable[[Decorated], Decorated]:
    """The options beside RUN that say which model goes out."""
    group = "Run"
    return together(
        option("--runs-dir", type=click.Path(file_okay=False), default="runs", metavar="FOLDER",
               group=group, help="Folder that holds the runs."),
        option("--step", type=Integer(-1), default=None, show_default="the newest", group=group,
               help="Take the run's checkpoint after this many steps; -1: the newest."),
        option("--tokenizer-path", type=click.Path(exists=True, dir_okay=False), metavar="FILE",
               show_default="beside the checkpoint", group=group, help="Tokenizer of the model."),
    )  # fmt: skip


def open_export(params: dict[str, Any]) -> Exported:
    """The model that RUN and the options mean.

    Raises:
        UserError: there is none, or no tokenizer of it.
        CheckpointError: the checkpoint is damaged.
    """
    trained = named_model(params["run"], params["runs_dir"], params["step"])
    run = run_of(trained.checkpoint)
    return Exported(
        trained, trained.tokenizer(params["tokenizer_path"]), run.read_config() if run else {}
    )
