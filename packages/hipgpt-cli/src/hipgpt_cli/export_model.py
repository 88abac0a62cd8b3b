"""What every export needs: the model by name, its weights, its tokenizer, the facts of its run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hipgpt_cli import human, option_sets, say
from hipgpt_cli.errors import UserError
from hipgpt_cli.load import named_model
from hipgpt_cli.nearest import Existing
from hipgpt_cli.options import option, together
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
        wide: whether it goes out wider, without its bias of the output.
    """

    trained: Trained
    tokenizer: Tokenizer
    facts: dict[str, Any]
    wide: bool

    @property
    def config(self) -> GPTConfig:
        """Its sizes and options as they go out."""
        from hipgpt_model.interop.widen import widened

        model = self.trained.header.model
        return widened(model) if self.wide else model

    def tensors(self) -> Iterator[tuple[str, np.ndarray]]:
        """Name and float32 values of every tensor as it goes out, with progress."""
        from hipgpt_model.interop.widen import widen

        stored = self._stored()
        return widen(self.trained.header.model, stored) if self.wide else stored

    def _stored(self) -> Iterator[tuple[str, np.ndarray]]:
        from hipgpt_cli.progress import stages
        from hipgpt_kernels import load_backend
        from hipgpt_model.checkpoint import load_parameters

        _, parameters = load_parameters(self.trained.checkpoint, load_backend("cpu"))
        total, done = self.trained.header.model.num_parameters(), 0
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
        option_sets.runs_dir_option(group),
        option_sets.step_option(group),
        option("--tokenizer-path", type=Existing(dir_okay=False), metavar="FILE",
               show_default="beside the checkpoint", group=group, help="Tokenizer of the model."),
        option("--widen", is_flag=True, group="Output",
               help="Do without a bias of the output: the same function by a wider model."),
    )  # fmt: skip


def open_export(params: dict[str, Any]) -> Exported:
    """The model that RUN and the options mean.

    Raises:
        UserError: there is none, or no tokenizer of it.
        CheckpointError: the checkpoint is damaged.
    """
    trained = named_model(params["run"], params["runs_dir"], params["step"])
    model = trained.header.model
    if params["widen"] and not (model.output_bias and model.final_norm):
        what = "no bias of the output" if model.final_norm else "no norm before the output"
        raise UserError(f"--widen cannot help: {trained.name} has {what}")
    run = run_of(trained.checkpoint)
    exported = Exported(
        trained,
        trained.tokenizer(params["tokenizer_path"]),
        run.read_config() if run else {},
        params["widen"],
    )
    if exported.wide:
        wide = exported.config
        say.note(
            f"without the bias of the output the model is {wide.embed_dim} numbers wide instead of "
            f"{model.embed_dim}, and has {human.short(wide.num_parameters())} parameters instead "
            f"of {human.short(model.num_parameters())}"
        )
    return exported
